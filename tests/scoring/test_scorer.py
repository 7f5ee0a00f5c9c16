"""The scorer process and its client."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import signal
import socket
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from agentopt.core import wire
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured
from agentopt.core.task import Case, Objective, Task
from agentopt.sandbox.payload import pickle_for_scorer, trusted_path
from agentopt.scoring import process
from agentopt.scoring.client import Scorers
from agentopt.scoring.judge import Judge
from agentopt.scoring.process import answer

CASES = {"c": Case("c", None, 2), "loop": Case("loop", None), "die": Case("die", None), "print": Case("print", None)}


def make_scorers(score, seconds: float = 5.0) -> Scorers:
    task = Task("t", objectives=[Objective("s")])
    task.score(score)
    return Scorers(pickle_for_scorer(task, (Judge.of(task), CASES)), trusted_path(task), seconds)


async def judge(scorer, case_id, data, measured):
    (verdict,) = await scorer.judge([(case_id, data, measured)])
    return verdict


def score(case, output, measured):
    import os
    import time

    if case.id == "loop":
        time.sleep(60)
    if case.id == "die":
        os._exit(3)
    if case.id == "print":
        print("a word from score")
    return float(output == case.expected) + measured.wall + measured.rng_seed


async def test_it_judges_encoded_outputs():
    scorers = make_scorers(score)
    scorer = scorers.borrow()
    assert (await judge(scorer, "c", wire.encode(2), Measured(wall=0.5))).scores == {"s": 1.5}
    assert (await judge(scorer, "c", wire.encode(3), Measured())).scores == {"s": 0.0}
    assert (await judge(scorer, "c", b"rubbish", Measured())).failure == Failure(
        "cheat", "the output is not usable: these bytes are not a value"
    )
    await scorers.close()


async def test_it_judges_many_in_their_order():
    scorers = make_scorers(score)
    outputs = [("c", wire.encode(value), Measured(wall=value)) for value in (1, 2, 3)]
    assert [verdict.scores for verdict in await scorers.borrow().judge(outputs)] == [{"s": 1.0}, {"s": 3.0}, {"s": 3.0}]
    await scorers.close()


async def test_score_is_told_the_rng_seed():
    scorers = make_scorers(score)
    assert (await judge(scorers.borrow(), "c", wire.encode(3), Measured(rng_seed=2**53 - 1))).scores == {"s": 2.0**53 - 1}
    await scorers.close()


async def test_one_that_takes_too_long_among_many_fails_alone():
    scorers = make_scorers(score, seconds=0.5)
    scorer = scorers.borrow()
    await judge(scorer, "c", wire.encode(2), Measured())
    verdicts = await scorer.judge([(case_id, wire.encode(2), Measured()) for case_id in ("c", "loop", "c")])
    assert [verdict.scores for verdict in verdicts] == [{"s": 1.0}, {}, {"s": 1.0}]
    assert "limits.score_seconds" in verdicts[1].failure.message
    await scorers.close()


async def test_a_score_that_takes_too_long_is_stopped_and_the_next_one_is_judged():
    scorers = make_scorers(score, seconds=0.3)
    scorer = scorers.borrow()
    await judge(scorer, "c", wire.encode(2), Measured())
    slow = scorer.pid
    begun = time.monotonic()
    failure = (await judge(scorer, "loop", wire.encode(2), Measured())).failure
    assert failure is not None
    assert (failure.kind, failure.scorer_error) == ("wrong", True)
    assert "limits.score_seconds" in failure.message
    assert time.monotonic() - begun < 2
    assert not psutil.pid_exists(slow)
    assert (await judge(scorer, "c", wire.encode(2), Measured())).scores == {"s": 1.0}
    await scorers.close()


async def test_a_scorer_that_dies_is_replaced_once():
    scorers = make_scorers(score)
    scorer = scorers.borrow()
    await judge(scorer, "c", wire.encode(2), Measured())
    os.kill(scorer.pid, signal.SIGKILL)
    assert (await judge(scorer, "c", wire.encode(2), Measured())).scores == {"s": 1.0}
    with pytest.raises(InfrastructureError, match="died twice"):
        await judge(scorer, "die", wire.encode(2), Measured())
    assert (await judge(scorer, "c", wire.encode(2), Measured())).scores == {"s": 1.0}
    await scorers.close()


async def test_a_cancelled_judgement_leaves_no_reply_behind():
    scorers = make_scorers(score)
    scorer = scorers.borrow()
    await judge(scorer, "c", wire.encode(2), Measured())
    waiting = asyncio.create_task(judge(scorer, "loop", wire.encode(2), Measured()))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await judge(scorer, "c", wire.encode(2), Measured())).scores == {"s": 1.0}
    await scorers.close()


async def test_scorers_are_shared_and_closed_with_their_owner():
    scorers = make_scorers(score)
    first, second = scorers.borrow(), scorers.borrow()
    assert first is not second
    assert first.pid is None  # nothing starts before it is needed
    for scorer in (first, second):
        await judge(scorer, "c", wire.encode(2), Measured())
    pids = [first.pid, second.pid]
    first.give_back()
    assert scorers.borrow() is first
    await scorers.close()
    await scorers.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_what_score_prints_stays_off_stdout(capfd):
    scorers = make_scorers(score)
    await judge(scorers.borrow(), "print", wire.encode(2), Measured())
    await scorers.close()
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "a word from score" in captured.err


class Unloadable:
    def __reduce__(self):
        return (eval, ("1 / 0",))


async def test_a_score_that_cannot_be_loaded_is_the_tasks_mistake():
    task = Task("t", objectives=[Objective("s")])
    scorers = Scorers(pickle_for_scorer(task, Unloadable()), [], 5.0)
    with pytest.raises(TaskError, match="ZeroDivisionError"):
        await judge(scorers.borrow(), "c", wire.encode(2), Measured())
    await scorers.close()


async def test_a_scorer_that_never_starts_is_ours(monkeypatch):
    monkeypatch.setattr("agentopt.scoring.client.boot_command", lambda *arguments: ["/bin/true"])
    scorers = make_scorers(score)
    with pytest.raises(InfrastructureError, match="did not start"):
        await judge(scorers.borrow(), "c", wire.encode(2), Measured())
    await scorers.close()


def test_the_process_answers_until_its_controller_hangs_up():
    ours, theirs = socket.socketpair()
    judge = Judge((Objective("s"),), (), score)
    thread = threading.Thread(target=answer, args=(wire.FrameSocket(theirs), judge, CASES))
    thread.start()
    with ours:
        frames = wire.FrameSocket(ours)
        frames.send({"calls": [["c", len(wire.encode(2)), 0.25, 0, 0]]}, wire.encode(2))
        reply = frames.receive()
    thread.join(5)
    theirs.close()
    assert not thread.is_alive()
    assert reply is not None
    assert reply[0]["verdicts"][0]["scores"] == {"s": 1.25}


def run_main(monkeypatch, orders: bytes) -> tuple[socket.socket, threading.Thread]:
    """Runs the process's main in a thread; its end of the connection is closed when it is done."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(process, "_die_with", lambda controller: None)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(orders)))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "path", list(sys.path))
    thread = threading.Thread(target=process.main, args=(str(theirs.detach()), "0"))
    thread.start()
    return ours, thread


def test_the_process_reads_its_orders_from_stdin(monkeypatch):
    orders = wire.pack({"path": ["/some/library"]}, pickle.dumps((Judge((Objective("s"),)), CASES)))
    ours, thread = run_main(monkeypatch, orders)
    with ours:
        frames = wire.FrameSocket(ours)
        assert frames.receive() == ({"ready": True}, b"")
        assert sys.path[0] == "/some/library"
        frames.send({"calls": [["c", len(wire.encode(0.5)), 0, 0, 0]]}, wire.encode(0.5))
        reply = frames.receive()
        assert reply is not None
        assert reply[0]["verdicts"][0]["scores"] == {"s": 0.5}
    thread.join(5)
    assert not thread.is_alive()


def test_orders_that_cannot_be_loaded_are_said_so(monkeypatch):
    ours, thread = run_main(monkeypatch, wire.pack({"path": []}, pickle.dumps(Unloadable())))
    with ours:
        frames = wire.FrameSocket(ours)
        assert frames.receive() == ({"error": "ZeroDivisionError: division by zero"}, b"")
        assert frames.receive() is None
    thread.join(5)


@pytest.mark.parametrize(
    ("platform", "controller", "status"), [("linux", "parent", 0), ("linux", "somebody else", 1), ("darwin", "somebody else", 0)]
)
def test_the_process_dies_with_its_controller(monkeypatch, platform, controller, status):
    monkeypatch.setattr(sys, "platform", platform)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        process._die_with(parent if controller == "parent" else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


async def test_a_scorer_that_is_silent_is_ours(monkeypatch):
    monkeypatch.setattr("agentopt.scoring.client.boot_command", lambda *arguments: ["/bin/sleep", "60"])
    monkeypatch.setattr("agentopt.scoring.client._START_SECONDS", 0.1)
    scorers = make_scorers(score)
    with pytest.raises(InfrastructureError, match="did not start"):
        await judge(scorers.borrow(), "c", wire.encode(2), Measured())
    await scorers.close()


def test_elsewhere_memory_cannot_be_hidden_and_that_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("agentopt.scoring.process.ctypes.CDLL", lambda name: pytest.fail("asked for something that is not there"))
    process._hide_memory()
