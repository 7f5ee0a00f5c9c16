"""The controller's side: what happens when the processes behind it cannot start, do not answer or end."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from dataclasses import replace

import psutil
import pytest

from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Measured, Rollout
from agentopt.core.task import Case, Limits, Objective
from agentopt.executors.boxed import Boxed
from agentopt.executors.inline import Inline
from agentopt.executors.worker import Worker
from agentopt.sandbox import client
from tests.boxes import DOUBLE, candidate, context, make_task, once, opened


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("not_there_at_all", None, "imports: 'not_there_at_all' cannot be imported in the box: ModuleNotFoundError"),
        ("broken_on_import", "1 / 0", "imports: 'broken_on_import' cannot be imported in the box: ZeroDivisionError"),
        (
            "starts_a_thread",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "start 1 threads",
        ),
    ],
)
async def test_unusable_imports_are_the_tasks_mistake(tmp_path, monkeypatch, module, source, words):
    if source is not None:
        (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    task = make_task(imports=(module,))
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        with pytest.raises(TaskError, match=words.split(":")[0]) as error:
            await session.rollout("one", 0, 1)
        assert words in str(error.value)


async def test_a_module_beside_the_task_travels_along(tmp_path, monkeypatch):
    (tmp_path / "beside_the_task.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import beside_the_task

    task = make_task(folder=tmp_path)
    task.run(lambda program, input: beside_the_task.double(input["x"]))
    async with opened(Boxed, task) as executor:
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


async def test_a_module_from_elsewhere_is_named_with_its_remedy(tmp_path, monkeypatch):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "task"
    for place in (elsewhere, folder):
        place.mkdir()
    (elsewhere / "from_elsewhere.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    import from_elsewhere

    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry != str(elsewhere)])
    task = make_task(folder=folder)
    task.run(lambda program, input: from_elsewhere.double(input["x"]))
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert failure.kind == "build"
        assert "No module named 'from_elsewhere'; name the file in box_files" in failure.message
    (folder / "from_elsewhere.py").write_text((elsewhere / "from_elsewhere.py").read_text())
    task = make_task(folder=folder, box_files=("from_elsewhere.py",))
    task.run(lambda program, input: from_elsewhere.double(input["x"]))
    async with opened(Boxed, task) as executor:
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


async def test_a_zygote_that_never_starts_is_infrastructure(monkeypatch):
    monkeypatch.setattr(client, "boot_command", lambda *arguments: ["/bin/sh", "-c", "echo no such interpreter; exit 3"])
    task = make_task()
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, "no such interpreter" in failure.message) == ("infrastructure", True)


async def test_imports_that_take_too_long_are_infrastructure(monkeypatch):
    monkeypatch.setattr(client, "boot_command", lambda *arguments: ["/bin/sleep", "60"])
    monkeypatch.setattr(client, "_IMPORT_SECONDS", 0.1)
    task = make_task()
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, failure.message) == ("infrastructure", "the task's imports took longer than 0.1 s")


async def test_a_zygote_that_stops_answering_is_infrastructure(monkeypatch):
    monkeypatch.setattr(client, "_OPEN_SECONDS", 0.3)
    task = make_task()
    async with opened(Boxed, task) as executor:
        first = await executor.open(candidate(task))
        assert (await first.rollout("two", 0, 1)).scores == {"right": 1.0}
        outer = psutil.Process(executor._boxes.zygote.pid)
        for process in (outer, *outer.children()):
            process.suspend()
        monkeypatch.setattr(client, "_GRACE_SECONDS", 0.1)
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, failure.message) == ("infrastructure", "a box did not open within 0.3 s")
        await first.close()


async def test_a_guard_serves_one_candidate_after_another():
    task = make_task()
    async with opened(Boxed, task, capacity=2) as executor:
        first, second = [await executor.open(candidate(task, f=DOUBLE + comment)) for comment in ("# 1", "# 2")]
        for session in (first, second):
            assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
        pids = {first._box.guard_pid, second._box.guard_pid}
        assert len(pids) == 2
        for session in (first, second):
            await session.close()
        for _ in range(3):
            session = await executor.open(candidate(task))
            await session.rollout("one", 0, 1)
            assert session._box.guard_pid in pids
            await session.close()


async def test_a_guard_that_does_not_let_go_takes_the_zygote_along(monkeypatch):
    task = make_task()
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        await session.rollout("two", 0, 1)
        zygote = executor._boxes.zygote.pid
        for process in psutil.Process(zygote).children(recursive=True):
            process.suspend()
        with monkeypatch.context() as patched:
            patched.setattr(client, "_GRACE_SECONDS", 0.1)
            await session.close()
        assert not psutil.pid_exists(zygote)
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


SHORT = {"train": [Case(str(k), {"x": k}, 2 * k) for k in range(100)]}


async def test_short_rollouts_share_the_way():
    task = make_task(cases=SHORT, limits=Limits(seconds=5.0))
    jobs = [(str(k), 0, k) for k in range(100)]
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        assert len(await session.rollouts(jobs)) == 1  # nothing is known of the pace yet
        together = await session.rollouts(jobs[1:])
        assert 1 < len(together) <= 64
        assert [(r.case, r.rng_seed, r.scores) for r in together] == [(c, s, {"right": 1.0}) for c, _, s in jobs[1 : 1 + len(together)]]
        await session.close()


async def test_the_first_failure_ends_what_shares_the_way():
    task = make_task("def f(x): return 1 / 0 if x == 5 else print(x) or x * 2", cases=SHORT)
    kept: list[bytes] = []
    async with opened(Boxed, task, kept=kept) as executor:
        session = await executor.open(candidate(task))
        await session.rollout("0", 0, 1)
        jobs = [(str(k), 0, 1) for k in (1, 2, 5, 6, 7)]
        session._pace = 1e-4
        rollouts = await session.rollouts(jobs)
        assert [rollout.case for rollout in rollouts] == ["1", "2", "5"]
        assert rollouts[-1].failure.kind == "crash"
        assert (await session.rollout("6", 0, 1)).scores == {"right": 1.0}
        assert kept == [b"0\n", b"1\n", b"2\n", b"6\n"]
        await session.close()


async def test_artifacts_come_back_as_named_bytes():
    task = make_task(cases=SHORT)

    def run(program, input, ctx):
        if input["x"] == 2:
            ctx.artifact("left", b"over")
            raise ValueError
        ctx.artifact("table.csv", b"1,2")
        ctx.artifact("picture.png", bytes(input["x"]))
        return program.f(input["x"])

    task.run(run)
    kept: list[bytes] = []
    for executor_class in (Boxed, Inline):
        kept.clear()
        async with opened(executor_class, task, kept=kept) as executor:
            session = await executor.open(candidate(task))
            first, failed, last = [await session.rollout(case, 0, 1) for case in ("1", "2", "3")]
            assert first.artifacts == {"table.csv": "printed-3", "picture.png": "printed-1"}
            assert failed.artifacts == {}
            assert last.scores == {"right": 1.0}
            assert kept == [b"1,2", b"\0", b"1,2", bytes(3)]
            assert Rollout.from_json(first.to_json()) == replace(first, measured=Measured(*first.to_json()["measured"]))
            await session.close()


@pytest.mark.parametrize(
    ("deed", "kind", "words"),
    [
        ("ctx.artifact('../x', b'')", "crash", "the artifact name '../x' is not usable"),
        ("[ctx.artifact(str(k), b'') for k in range(33)]", "crash", "at most 32 artifacts"),
        ("ctx.artifact('big', bytes(1 << 20))", "oversize", "limits.output_mb"),
        ("[ctx.artifact(str(k), bytes(150_000)) for k in range(4)]", "oversize", "limits.artifacts_mb: 524288 bytes"),
    ],
)
async def test_artifacts_have_their_limits(deed, kind, words):
    task = make_task(limits=Limits(output_mb=1.0, artifacts_mb=0.5))
    source = f"def run(program, input, ctx):\n    {deed}\n    return 4\n"
    names: dict = {}
    exec(source, names)
    task.run(names["run"])
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, words in failure.message) == (kind, True), failure


FORGED = (
    "[['a', 99999]]",
    "[['../a', 0]]",
    "[['a', -1]]",
    "[['a', True]]",
    "'a'",
    "[['a']]",
    "[[str(k), 0] for k in range(33)]",
)


@pytest.mark.parametrize("forged", FORGED)
async def test_forged_artifacts_are_found_out(forged):
    source = (
        "import agentopt.core.wire as w\nplain = w.pack_head\n"
        f"def f(x):\n w.pack_head = lambda control, length: plain({{**control, 'artifacts': {forged}}}, length)\n return x * 2\n"
    )
    task = make_task()
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, source)).failure
        assert (failure.kind, failure.message) == ("cheat", "the box sent artifacts that are none")


async def test_large_ones_do_not_share_the_way_and_neither_do_timed_ones():
    cases = {"train": [Case(str(k), {"x": "x" * (600 << 10)}, "xx" * (600 << 10)) for k in range(4)]}
    jobs = [(str(k), 0, 1) for k in range(4)]
    for changes, sizes in (
        ({"limits": Limits(output_mb=10)}, [1, 1]),
        ({"cases": SHORT, "fresh_per_case": True}, [1, 1]),
        ({"cases": SHORT, "objectives": [Objective("right"), Objective("seconds", "min", source="outside")]}, [1, 1]),
    ):
        task = make_task(**{"cases": cases, **changes})
        async with opened(Boxed, task) as executor:
            session = await executor.open(candidate(task))
            for size in sizes:
                assert len(await session.rollouts(jobs)) == size
                session._pace = 1e-4
            await session.close()


async def test_many_bytes_of_answers_come_in_turns():
    task = make_task("def f(x): return 'y' * (700 << 10)", cases=SHORT, limits=Limits(output_mb=10))
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        await session.rollout("0", 0, 1)
        session._pace = 1e-4
        rollouts = await session.rollouts([(str(k), 0, 1) for k in range(10)])
        assert [rollout.case for rollout in rollouts] == ["0", "1"]
        await session.close()


async def test_a_zygote_that_dies_with_every_request_is_given_up(monkeypatch):
    task = make_task()
    async with opened(Boxed, task) as executor:
        zygote = executor._boxes.zygote
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
        request = zygote._request

        async def killing(door, spec):
            outer = psutil.Process(zygote.pid)
            doomed = [outer, *outer.children(recursive=True)]
            outer.kill()
            psutil.wait_procs(doomed, 5)
            return await request(door, spec)

        monkeypatch.setattr(zygote, "_request", killing)
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, failure.message) == ("infrastructure", "the process that opens boxes died twice in a row")


async def test_a_box_that_cannot_be_set_up_is_infrastructure(tmp_path):
    (tmp_path / "table.txt").write_text("1")
    task = make_task(folder=tmp_path, box_files=("table.txt",))
    async with opened(Boxed, task) as executor:
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
        (tmp_path / "table.txt").unlink()
        failure = (await once(executor, task, DOUBLE)).failure
        assert failure.kind == "infrastructure"
        assert "the box could not be set up: [Errno 2]" in failure.message


async def test_walls_that_cannot_be_raised_keep_the_candidate_out(monkeypatch):
    task = make_task()
    async with opened(Boxed, task) as executor:
        plan = executor._boxes.zygote._plan
        object.__setattr__(plan, "caps", (*plan.caps[:1], None, *plan.caps[2:]))
        failure = (await once(executor, task, DOUBLE)).failure
        assert failure.kind == "infrastructure"
        assert "TypeError" in failure.message


async def test_closing_ends_a_rollout_that_is_under_way():
    task = make_task("import time\ndef f(x): return 4 if x == 2 else time.sleep(60)", limits=Limits(seconds=60))
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
        rollout = asyncio.create_task(session.rollout("one", 0, 1))
        await asyncio.sleep(0.1)
        begun = time.monotonic()
        await executor.close()
        assert time.monotonic() - begun < 1
        assert (await rollout).failure.kind == "infrastructure"


async def test_a_cancelled_start_leaves_no_process():
    task = make_task()
    async with opened(Boxed, task) as executor:
        session = await executor.open(candidate(task))
        rollout = asyncio.create_task(session.rollout("one", 0, 1))
        await asyncio.sleep(0.02)
        rollout.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rollout
        assert (await session.rollout("one", 0, 1)).scores == {"right": 1.0}


@pytest.mark.parametrize(("executor_class", "seen"), [(Worker, "here"), (Boxed, None)])
async def test_only_a_worker_has_the_users_environment(monkeypatch, executor_class, seen):
    monkeypatch.setenv("AGENTOPT_TEST_VARIABLE", "here")
    task = make_task("import os\ndef f(x): return os.environ.get('AGENTOPT_TEST_VARIABLE')")
    task.score(lambda case, output, measured: {"right": 1, "feedback": str(output)})
    async with opened(executor_class, task) as executor:
        assert (await once(executor, task, task.seed_values["f"])).feedback == str(seen)


async def test_a_worker_keeps_deadlines_but_has_no_memory_limit():
    task = make_task("def f(x):\n    return len(bytes(300 << 20)) and x * 2 if x == 1 else f(1) and max(iter(int, 1))")
    async with opened(Worker, task) as executor:
        session = await executor.open(candidate(task))
        assert (await session.rollout("one", 0, 1)).scores == {"right": 1.0}
        assert (await session.rollout("two", 0, 1)).failure.kind == "timeout"


async def test_the_first_question_includes_loading_in_its_deadline():
    task = make_task("import time\ntime.sleep(1.2)\ndef f(x): time.sleep(1.2)")
    async with opened(Boxed, task) as executor:
        begun = time.monotonic()
        assert (await once(executor, task, task.seed_values["f"])).failure.kind == "timeout"
        assert time.monotonic() - begun < 3.5


async def test_an_executor_that_was_never_used_starts_nothing():
    executor = Boxed(context(make_task()))
    assert psutil.Process().children() == []
    await executor.close()


async def test_a_scorer_that_is_killed_while_it_judges_twice_is_infrastructure():
    task = make_task()

    @task.score
    def score(case, output, measured):
        __import__("os").kill(__import__("os").getpid(), 9)

    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, failure.message) == ("infrastructure", "the scorer process died twice in a row")


async def test_large_arrays_cross_both_ways():
    import numpy as np

    array = np.arange(1 << 20, dtype=float)
    task = make_task(cases={"train": [Case("a", {"x": array})]}, limits=Limits(output_mb=10), imports=("numpy",))
    task.score(lambda case, output, measured: float((output == case.input["x"] * 2).all()))
    async with opened(Boxed, task) as executor:
        assert (await once(executor, task, DOUBLE, "a")).scores == {"right": 1.0}


class Failing:
    """A line to a guard that fails between two rollouts."""

    def send(self, control, body=b""): ...

    async def receive(self, seconds):
        return {"error": "no such process"}, memoryview(b"")


async def test_a_guard_that_fails_between_two_rollouts_is_infrastructure():
    lost = []

    async def lose(line):
        lost.append(line)

    line = Failing()
    box = client.Box(line, lost.append, lose, 1)
    with pytest.raises(InfrastructureError, match="no such process"):
        await box.rollouts(1.0, [(1, b"")])
    assert not box.usable
    await box.close()
    assert lost == [line]


async def test_what_modules_print_while_they_are_imported_is_not_the_candidates(tmp_path, monkeypatch):
    (tmp_path / "talks_on_import.py").write_text("print('half a line', end='')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    task = make_task(imports=("talks_on_import",))
    async with opened(Boxed, task, kept=(kept := [])) as executor:
        for _ in range(2):
            assert (await once(executor, task, "def f(x):\n    print('mine')\n    return x * 2\n")).scores == {"right": 1.0}
    assert kept == [b"mine\n"] * 2


async def test_random_numbers_drawn_while_a_candidate_is_loaded_are_the_same_in_every_box():
    source = "import random, numpy\ndrawn = [random.random(), float(numpy.random.rand())]\ndef f(x): return drawn\n"
    task = make_task(imports=("numpy",))
    outputs = []
    for _ in range(2):
        async with opened(Boxed, task) as executor:
            outputs += [(await once(executor, task, source)).output for _ in range(2)]
    assert len(set(outputs)) == 1


async def test_streams_of_a_box_lead_to_its_guard():
    source = "import sys\ndef f(x):\n    sys.stderr.write('told')\n    return len(sys.stdin.read()) + len(sys.argv) + 3\n"
    task = make_task()
    async with opened(Boxed, task, kept=(kept := [])) as executor:
        assert (await once(executor, task, source)).scores == {"right": 1.0}
    assert kept == [b"told"]


async def test_a_guard_that_was_killed_while_it_waited_is_passed_over():
    task = make_task()
    async with opened(Boxed, task) as executor:
        zygote = executor._boxes.zygote
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
        before = zygote.pid
        family = psutil.Process(before).children(recursive=True)
        for process in reversed(family[-2:]):  # the guard after its spare, which ends when it does
            process.kill()
        psutil.wait_procs(family[-2:], timeout=5)
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
        assert zygote.pid == before


@pytest.mark.parametrize("what", ["socketpair", "folder", "process"])
async def test_what_the_system_refuses_the_controller_is_infrastructure(monkeypatch, what):
    def refuse(*arguments, **settings):
        raise OSError(24, "Too many open files")

    task = make_task()
    async with opened(Boxed, task) as executor:
        with monkeypatch.context() as patch:
            owner, name = {
                "socketpair": (client.socket, "socketpair"),
                "folder": (client, "make_folder"),
                "process": (client.subprocess, "Popen"),
            }[what]
            patch.setattr(owner, name, refuse)
            failure = (await once(executor, task, DOUBLE)).failure
        assert (failure.kind, failure.message) == ("infrastructure", "[Errno 24] Too many open files")
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


def test_a_door_is_closed_when_nobody_is_behind_it():
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            assert not client._is_closed(ours)
        assert client._is_closed(ours)
    assert client._is_closed(ours)
