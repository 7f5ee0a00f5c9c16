"""Code parameters behind the walls: what comes back, what hostile code reaches, and how many may call at once."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest

from agentopt.core.errors import ConfigError, ConsentError, InfrastructureError, TaskError
from agentopt.core.protocols import Wish
from agentopt.core.running import CodeCall, CodeFailed, Import, Source
from agentopt.core.task import Limits
from agentopt.sandbox import levels
from agentopt.sandbox.code_runner import Room, open_runner
from agentopt.sandbox.probe import Machine
from tests.boxes import descriptors, scratch_folders

STRANGERS = Wish(strangers=True)
LIMITS = Limits(seconds=5.0, memory_mb=256, output_mb=1.0, printed_mb=1.0)
FIRST = "def f(x):\n    return x\n"


@pytest.fixture(scope="module")
def runner():
    """One for all tests that leave nothing behind in it but boxes of their own code."""
    with open_runner(STRANGERS, LIMITS) as opened:
        yield opened


@pytest.fixture
def fresh():
    """Opens runners that must leave nothing behind."""
    before, folders, threads, others = descriptors(), scratch_folders(), threading.active_count(), children()
    opened = []

    def make(limits=LIMITS, **options):
        opened.append(open_runner(STRANGERS, limits, **options))
        return opened[-1]

    yield make
    for runner in opened:
        runner.close()
        runner.close()
    assert scratch_folders() == folders
    assert children() == others
    assert (descriptors(), threading.active_count()) == (before, threads)


def children():
    return set(psutil.Process().children(recursive=True))


def failure(runner, source, *args, **more):
    with pytest.raises(CodeFailed) as caught:
        runner.call(CodeCall(source, "f", args, **more))
    return caught.value.kind, caught.value.message


def pid_of(runner, source):
    return runner.call(CodeCall(source + "\nimport os\ndef pid():\n    return os.getpid()\n", "pid"))


def test_values_come_back(runner):
    import numpy

    source = "def f(a, *, b=b'', **more):\n    print('words')\n    return [a, b, more, (1, None), a.sum() if hasattr(a, 'sum') else 0]\n"
    a, b, more, pair, total = runner.call(CodeCall(source, "f", (numpy.arange(4.0),), {"b": b"\0", "c": {"d": "e"}}))
    assert a.tolist() == [0, 1, 2, 3]
    assert (b, more, pair, total) == (b"\0", {"c": {"d": "e"}}, [1, None], 6.0)
    assert runner.sandbox.startswith("L")


def test_infinite_numbers_are_values(runner):
    low, odd = runner.call(CodeCall("def f():\n    return [float('-inf'), float('nan')]\n", "f"))
    assert low == float("-inf")
    assert odd != odd


def test_code_finds_what_it_uses(runner):
    uses = {
        "LIMIT": 3,
        "twice": Source("def double(x):\n    return 2 * x + LIMIT\n", "double"),
        "m": Import("math"),
        "root": Import("math", "sqrt"),
    }
    source = "def f(x: Unknown, y=LIMIT) -> Nothing:\n    return [twice(x), y, m.floor(2.5), root(4)]\n"
    assert runner.call(CodeCall(source, "f", (1,), uses=uses)) == [5, 3, 2, 2.0]
    assert runner.call(CodeCall(source, "f", (1,), uses=uses | {"LIMIT": 10})) == [12, 10, 2, 2.0]


def test_a_coroutine_is_run_to_its_end(runner):
    assert runner.call(CodeCall("import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1\n", "f", (1,))) == 2


def test_modules_are_at_hand_in_every_box(fresh):
    runner = fresh(imports=["statistics"])
    assert runner.call(CodeCall("import sys\nhere = 'statistics' in sys.modules\ndef f():\n    return here\n", "f"))
    with pytest.raises(TaskError, match="not_there_at_all"):
        fresh(imports=["not_there_at_all"]).call(CodeCall(FIRST, "f", (1,)))


def test_random_numbers_follow_from_the_callers(runner):
    call = CodeCall("import random\ndef f():\n    return random.random()\n", "f")
    random.seed(7)
    first = [runner.call(call), runner.call(call)]
    random.seed(7)
    assert [runner.call(call), runner.call(call)] == first
    assert first[0] != first[1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (CodeCall(FIRST, "f", (1, [{2}])), r"f\(\): argument 2\[0\]: a set cannot cross"),
        (CodeCall(FIRST, "f", (), {"x": object()}), r"f\(\): argument x: a object cannot cross"),
        (CodeCall(FIRST, "f", (1,), uses={"THINGS": {"a": {1}}}), r"f\(\): THINGS\['a'\]: a set cannot cross"),
    ],
)
def test_what_cannot_be_sent_is_named(runner, call, words):
    with pytest.raises(TypeError, match=words):
        runner.call(call)


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("def f(:\n", "syntax", "trainable.py, line 1"),
        ("def g(): pass\n", "build", "defines no 'f'"),
        ("import not_there_at_all\ndef f(): pass\n", "build", "No module named"),
        ("def f():\n    return 1 / 0\n", "crash", 'File "trainable.py", line 2, in f'),
        ("def f():\n    raise SystemExit(0)\n", "crash", "SystemExit: 0"),
        ("def f():\n    raise KeyboardInterrupt\n", "crash", "KeyboardInterrupt"),
        ("class Odd(BaseException):\n    def __str__(self):\n        raise self\ndef f():\n    raise Odd\n", "crash", "Odd"),
        ("import os\ndef f():\n    os._exit(0)\n", "crash", "exit status 0 instead of an answer"),
        ("import os\ndef f():\n    os.kill(os.getpid(), 11)\n", "crash", "SIGSEGV"),
        ("def f():\n    return {1, 2}\n", "wrong", "a set cannot cross"),
        ("def f():\n    return lambda: 0\n", "wrong", "cannot cross"),
        ("def f():\n    yield 1\n", "wrong", "a generator cannot cross"),
        ("def f():\n    return 'a' * (2 << 20)\n", "oversize", "limits.output_mb"),
        ("def f():\n    for _ in range(64):\n        print('a' * (1 << 16))\n", "oversize", "printed"),
        ("def f():\n    return bytearray(1 << 34)\n", "memory", "memory limit"),
        ("def f():\n    x = []\n    x.append(x)\n    return x\n", "wrong", "nested deeper"),
        ("def f():\n    return f()\n", "crash", "RecursionError"),
    ],
)
def test_a_fault_of_the_code_is_data(runner, source, kind, words):
    found, message = failure(runner, source)
    assert (found, words in message) == (kind, True), message
    assert runner.call(CodeCall(FIRST, "f", (1,))) == 1


def test_code_that_never_ends_is_ended_and_the_next_call_gets_a_new_box(fresh):
    runner = fresh(Limits(seconds=0.5, memory_mb=256))
    source = "def f(x):\n    while x:\n        pass\n    return 'out'\n"
    began = time.monotonic()
    assert failure(runner, source, True)[0] == "timeout"
    assert time.monotonic() - began < 5
    assert runner.call(CodeCall(source, "f", (False,))) == "out"


REACHES = [
    ("files of the user", "def f(path):\n    return open(path).read()\n"),
    ("folders of the user", "import os\ndef f(path):\n    return os.listdir(os.path.dirname(path))\n"),
    ("the network", "import socket\ndef f(path):\n    return str(socket.create_connection(('127.0.0.1', 9), 1))\n"),
    ("processes", "import os\ndef f(path):\n    return os.fork()\n"),
    ("programs", "import subprocess\ndef f(path):\n    return subprocess.check_output(['/bin/ls'])\n"),
    ("its guard", "import os\ndef f(path):\n    return os.kill(os.getppid(), 9)\n"),
    ("the caller", "import os\nCALLER = PID\ndef f(path):\n    return open(f'/proc/{CALLER}/environ').read()\n"),
]


@pytest.mark.parametrize(("what", "source"), REACHES, ids=[what for what, _ in REACHES])
def test_the_walls_stand_around_code_parameters(runner, tmp_path, what, source):
    if levels.level_of(runner.sandbox) != "L2":
        (pytest.fail if os.environ.get("AGENTOPT_CI") else pytest.skip)(f"only level L2 has these walls; here it is {runner.sandbox}")
    secret = tmp_path / "secret"
    secret.write_text("the expected answers")
    kind, message = failure(runner, source.replace("PID", str(os.getpid())), str(secret))
    assert kind in ("crash", "cheat"), message
    assert "answers" not in message
    assert runner.call(CodeCall(FIRST, "f", (1,))) == 1


def test_no_key_of_the_users_is_in_a_box(fresh, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    assert "SOME_API_KEY" not in fresh().call(CodeCall("import os\ndef f():\n    return dict(os.environ)\n", "f"))


def test_what_code_leaves_in_its_module_it_alone_finds_again(runner):
    counting = "import builtins, json\nseen = []\ndef f(x):\n    seen.append(x)\n    builtins.shared = json.shared = x\n    return seen\n"
    looking = "import builtins, json\ndef f(x):\n    return [hasattr(builtins, 'shared'), hasattr(json, 'shared')]\n"
    assert [runner.call(CodeCall(counting, "f", (n,))) for n in (1, 2)] == [[1], [1, 2]]
    assert runner.call(CodeCall(looking, "f", (0,))) == [False, False]
    assert runner.call(CodeCall(counting, "f", (3,), uses={"another": 1})) == [3]


def test_a_box_that_lies_about_its_answer_is_caught(runner):
    lying = (
        "import os, socket\ndef f():\n"
        "    line = socket.socket(fileno=3)\n    line.sendall(b'aopt' + bytes(12) + b'garbage' * 9)\n    return 1\n"
    )
    assert failure(runner, lying)[0] in ("cheat", "crash")


def test_output_that_is_no_value_is_the_codes_fault(runner):
    forging = "import agentopt.core.wire as wire\nwire.encode = lambda value, cap=None: b'garbage'\ndef f():\n    return 1\n"
    kind, message = failure(runner, forging)
    assert (kind, "not usable" in message) == ("wrong", True)


def test_calls_share_a_box_and_the_coldest_is_closed(fresh):
    runner = fresh(room=Room(calls=1, idle=2))
    first, second, third = (f"# {n}" for n in range(3))
    pids = [pid_of(runner, source) for source in (first, second, first, third, second, first)]
    assert pids[0] == pids[2]
    assert pids[4] != pids[1]


def test_eight_threads_call_at_once(runner):
    def call(n):
        return [runner.call(CodeCall(f"def f(x):\n    return [{n}, x]\n", "f", (k,))) for k in range(25)]

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(call, range(8)))
    assert results == [[[n, k] for k in range(25)] for n in range(8)]


async def test_two_hundred_tasks_call_at_once(runner):
    calls = [CodeCall(f"def f(x):\n    return [{n % 2}, x]\n", "f", (n,)) for n in range(200)]
    assert await asyncio.gather(*(runner.acall(call) for call in calls)) == [[n % 2, n] for n in range(200)]


async def test_a_call_that_is_cancelled_takes_its_box_along(fresh):
    runner = fresh(Limits(seconds=60.0, memory_mb=256), room=Room(calls=1))
    source = "import time\ndef f(x):\n    time.sleep(x)\n    return 'slept'\n"
    assert await runner.acall(CodeCall(source, "f", (0,))) == "slept"
    task = asyncio.create_task(runner.acall(CodeCall(source, "f", (50,))))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    began = time.monotonic()
    assert await runner.acall(CodeCall(source, "f", (0,))) == "slept"
    assert time.monotonic() - began < 10


def test_closing_ends_calls_that_are_under_way(fresh):
    runner, others = fresh(Limits(seconds=60.0, memory_mb=256)), children()
    begun = threading.Event()
    ended = []

    def call():
        begun.set()
        try:
            runner.call(CodeCall("import time\ndef f():\n    time.sleep(50)\n", "f"))
        except InfrastructureError as error:
            ended.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    while children() == others:
        time.sleep(0.01)
    runner.close()
    thread.join(10)
    assert ended == ["the code runner is closed"]
    with pytest.raises(InfrastructureError, match="closed"):
        runner.call(CodeCall(FIRST, "f", (1,)))


def test_a_runner_that_nobody_called_has_started_nothing(fresh):
    others = children()
    fresh()
    assert children() == others


def test_a_killed_guard_is_ours_and_the_next_call_works(fresh):
    runner, others = fresh(), children()
    assert runner.call(CodeCall(FIRST, "f", (1,))) == 1
    for process in sorted(children() - others, key=lambda process: process.pid, reverse=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    with pytest.raises(InfrastructureError):
        runner.call(CodeCall(FIRST, "f", (1,)))
    assert runner.call(CodeCall(FIRST, "f", (2,))) == 2


def test_want_of_files_or_space_is_ours(fresh, monkeypatch):
    runner = fresh()

    async def lacking(spec):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(runner._boxes._zygote, "open", lacking)
        with pytest.raises(InfrastructureError, match="a box could not be opened: no space left"):
            runner.call(CodeCall(FIRST, "f", (1,)))
    assert runner.call(CodeCall(FIRST, "f", (1,))) == 1


def test_a_forked_process_is_told_to_open_its_own(fresh, monkeypatch):
    runner = fresh()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        with pytest.raises(InfrastructureError, match="belongs to another process"):
            runner.call(CodeCall(FIRST, "f", (1,)))
        runner.close()  # which is its parent's, and stays open
    assert runner.call(CodeCall(FIRST, "f", (1,))) == 1


def test_it_fails_closed(monkeypatch):
    monkeypatch.setattr(levels, "look_at", lambda: Machine(0, "this machine has no landlock", "", "", "Linux"))
    with pytest.raises(ConsentError, match="code from elsewhere would run at level L1"):
        open_runner(STRANGERS)
    with pytest.raises(ConfigError, match="cannot give level L2"):
        open_runner(Wish("L2", strangers=True))
    with open_runner(Wish(strangers=True, allow_weak=True), LIMITS) as weak:
        assert levels.level_of(weak.sandbox) == "L1"
        assert weak.call(CodeCall(FIRST, "f", (1,))) == 1
    with open_runner(Wish(unsafe=True, strangers=True), LIMITS) as open_:
        assert (levels.level_of(open_.sandbox), open_.call(CodeCall(FIRST, "f", (1,)))) == ("L0", 1)
