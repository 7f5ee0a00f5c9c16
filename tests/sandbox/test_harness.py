"""What stands around a candidate where it runs."""

from __future__ import annotations

import random
import socket
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from agentopt.core import wire
from agentopt.core.task import Parameter, Score
from agentopt.sandbox.harness import Harness, Work, failure_of, numpy_array, seed_everything, serve
from agentopt.sandbox.program import pieces_of, pieces_to_json


def pieces(source: str = "def f(x):\n    return x\n", **parameters):
    parameters = {"f": Parameter("f", "code", source)} | parameters
    return pieces_of(parameters, {name: parameter.initial for name, parameter in parameters.items()})


def call(program, input):
    return program.f(input)


WORK = Work(call)


def harness(tmp_path, source="def f(x):\n    return x\n", work=WORK, output_cap=10_000, private=True, **parameters):
    return Harness(work, pieces(source, **parameters), lambda: tmp_path, output_cap, private)


def rollout(made, value=None, rng_seed=1):
    with made.on():
        loaded = made.load()
        if loaded.status != "ok":
            return loaded
        return made.rollout(wire.encode(value), rng_seed)


def value_of(outcome):
    assert outcome.status == "ok", outcome
    return wire.decode(outcome.output, numpy_array, finite=False)


def test_run_gets_the_input_and_gives_the_output(tmp_path):
    outcome = rollout(harness(tmp_path, "def f(x):\n    return x['a'] * 2\n"), {"a": np.arange(3)})
    assert value_of(outcome).tolist() == [0, 2, 4]
    assert failure_of(outcome) is None


@pytest.mark.parametrize("run", [lambda program, input, ctx: str(ctx.scratch), lambda *given: str(given[2].scratch)])
def test_run_may_take_a_context(tmp_path, run):
    assert value_of(rollout(harness(tmp_path, work=Work(run)))) == str(tmp_path)


def test_run_may_be_something_without_a_signature(tmp_path):
    made = harness(tmp_path, "f = 5\n", work=Work(getattr))
    assert value_of(rollout(made, "f")) == 5


def test_without_run_the_values_are_the_output(tmp_path):
    made = harness(tmp_path, "never loaded: (", work=Work(), n=Parameter("n", "value", 3))
    assert value_of(rollout(made)) == {"f": "never loaded: (", "n": 3}


@pytest.mark.parametrize("result", [0.5, {"s": 0.5}])
def test_evaluate_reports_itself(tmp_path, result):
    assert value_of(rollout(harness(tmp_path, work=Work(evaluate=lambda program: result)))) == result


def test_evaluate_may_give_a_score(tmp_path):
    made = harness(tmp_path, work=Work(evaluate=lambda program: Score(s=1, feedback="good", measures={"m": 2})))
    assert value_of(rollout(made)) == {"s": 1, "feedback": "good", "measures": {"m": 2}}


def test_random_numbers_are_the_same_for_equal_seeds(tmp_path):
    source = "import random, numpy\ndef f(x):\n    return [random.random(), float(numpy.random.rand())]\n"
    made = harness(tmp_path, source)
    state, numpy_state = random.getstate(), np.random.get_state()
    try:
        first, again, other = (value_of(rollout(made, None, seed)) for seed in (7, 7, 2**32 + 8))
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        (
            "def f(x):\n    return helper(x)\n\ndef helper(x):\n    return 1 / 0\n",
            "crash",
            'File "f.py", line 5, in helper\n    return 1 / 0',
        ),
        ("def f(x):\n    raise SystemExit(3)\n", "crash", "SystemExit: 3"),
        ("def f(x):\n    raise KeyboardInterrupt\n", "crash", "KeyboardInterrupt"),
        ("def f(x):\n    raise MemoryError\n", "memory", "memory limit"),
        ("def f(x):\n    return f(x)\n", "crash", "RecursionError"),
        ("def f(x):\n    return {1, 2}\n", "wrong", "a set cannot cross"),
        ("def f(x):\n    return 'x' * 20_000\n", "oversize", "larger than limits.output_mb: 10000 bytes"),
        ("1 / 0", "build", "ZeroDivisionError"),
        ("import nowhere_to_be_found", "build", "No module named 'nowhere_to_be_found'"),
        ("raise SystemExit", "build", "SystemExit"),
        ("g = 1", "build", "f.py defines no 'f'"),
        ("def f(:", "syntax", 'File "f.py", line 1'),
        ("x = [0] * 10\nraise MemoryError", "memory", "memory limit"),
        ("class E(Exception):\n    def __str__(self): return '\\x1b[2Jevil'\ndef f(x):\n    raise E\n", "crash", "[2Jevil"),
        ("class E(Exception):\n    def __str__(self): raise SystemExit\ndef f(x):\n    raise E\n", "crash", "E: <exception str() failed>"),
    ],
)
def test_failures_are_outcomes(tmp_path, source, kind, words):
    outcome = rollout(harness(tmp_path, source))
    assert outcome.status == kind
    assert words in outcome.message
    assert "\x1b" not in outcome.message
    assert "harness.py" not in outcome.message
    failure = failure_of(outcome)
    assert failure is not None
    assert (failure.kind, failure.message) == (kind, outcome.message)


def test_an_error_of_run_itself_is_named_without_our_frames(tmp_path):
    outcome = rollout(harness(tmp_path, "f = 3"))
    assert outcome.message == "TypeError: 'int' object is not callable"


def test_tracebacks_of_placed_files_name_the_file(tmp_path):
    made = harness(
        tmp_path, g=Parameter("g", "code", "def g():\n    return 1 / 0\n", path="pkg/g.py"), work=Work(lambda program, input: program.g())
    )
    assert 'File "pkg/g.py", line 2, in g\n    return 1 / 0' in rollout(made).message


def test_huge_messages_and_tracebacks_are_cut(tmp_path):
    assert len(rollout(harness(tmp_path, "def f(x):\n    raise ValueError('A' * 10_000_000)\n")).message) <= 4000
    deep = rollout(harness(tmp_path, "def f(x, n=900):\n    return f(x, n - 1) if n else 1 / 0\n"))
    assert "ZeroDivisionError" in deep.message
    assert len(deep.message) <= 4000


def test_in_the_users_own_process_ctrl_c_is_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        rollout(harness(tmp_path, "def f(x):\n    raise KeyboardInterrupt\n", private=False))


def served(tmp_path, load_work, *requests):
    """The replies of a box that runs in a thread."""
    guard, box = socket.socketpair()
    thread = threading.Thread(target=serve, args=(box, load_work, tmp_path, 10_000))
    thread.start()
    replies = []
    frames = wire.FrameSocket(guard)
    with guard:
        for control, body in requests:
            frames.send(control, body)
            replies.append(frames.receive())
    thread.join(5)
    box.close()
    assert not thread.is_alive()
    return replies


def test_a_box_answers_each_request_with_its_nonce(tmp_path):
    spec = wire.encode(pieces_to_json(pieces()))
    loaded, answer = served(tmp_path, lambda: Work(call), ({"nonce": "a"}, spec), ({"nonce": "b", "rng_seed": 1}, wire.encode(3)))
    assert loaded[0] == {"nonce": "a", "status": "ok", "message": ""}
    assert answer[0]["nonce"] == "b"
    assert wire.decode(answer[1], numpy_array) == 3


def test_a_function_that_cannot_be_loaded_says_how_to_mend_it(tmp_path):
    def load_work():
        raise ModuleNotFoundError("No module named 'helper'")

    (reply,) = served(tmp_path, load_work, ({"nonce": "a"}, wire.encode(pieces_to_json(pieces()))))
    assert reply[0]["status"] == "build"
    assert "name the file in box_files or the module in imports" in reply[0]["message"]


def test_torch_is_seeded_on_every_device_it_was_built_for(monkeypatch):
    seeded = []
    default = SimpleNamespace(manual_seed=lambda seed: seeded.append(("default", seed)))
    for built in (False, True):
        cuda = SimpleNamespace(is_built=lambda built=built: built)
        torch = SimpleNamespace(
            manual_seed=lambda seed: seeded.append(("all", seed)), default_generator=default, backends=SimpleNamespace(cuda=cuda)
        )
        monkeypatch.setitem(sys.modules, "torch", torch)
        seed_everything(7)
    assert seeded == [("default", 7), ("all", 7)]
