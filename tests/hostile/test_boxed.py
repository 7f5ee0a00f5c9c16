"""Candidates that mean harm, against level L1: each is stopped with the right word and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from agentopt.core.task import Case, Limits, Score
from agentopt.executors.boxed import Boxed
from agentopt.sandbox import client
from tests.boxes import DOUBLE, candidate, context, descriptors, make_task, once

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "expected-canary-" + os.urandom(4).hex()
ENVIRONMENT = "environment-canary-" + os.urandom(4).hex()
LIMITS = Limits(seconds=1.0, memory_mb=256, printed_mb=1.0, output_mb=1.0, file_mb=1.0)


def our_task():
    cases = [Case("two", {"x": 2}, 4), Case("secret", {"x": SECRET[::-1]}, SECRET), Case("large", {"x": "x" * (4 << 20)}, 4 << 20)]
    task = make_task(limits=LIMITS, cases={"train": cases}, imports=("numpy",))

    @task.score
    def score(case, output, measured):
        return Score(right=float(output == case.expected), feedback=repr(output)[:2000])

    return task


class Arena:
    """One executor for all attacks, and what must be as it was after each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task = our_task()
        self.executor = Boxed(context(self.task))

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with our temporary folder in its environment, however it was detached."""
        mark = f"TMPDIR={self.folder}".encode()
        found = []
        for process in psutil.process_iter():
            try:
                if mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (OSError, psutil.NoSuchProcess):
                continue
        return found

    async def attack(self, source: str, case: str = "two"):
        rollout = await once(self.executor, self.task, source, case)
        await self.clean()
        return rollout

    def kept_open(self) -> int:
        """Descriptors, but for the one of each scorer: sessions that overlap take a scorer each, which are kept for later ones."""
        return descriptors() - len(self.executor._boxes.scorers._all)

    async def clean(self, seconds: float = 0.5) -> None:
        """Nothing but the zygote is left; a guard may still be on its last step, which is to end."""
        deadline = time.monotonic() + seconds
        while {process.pid for process in self.processes()} - {self.executor._boxes.zygote.pid} or any(self.folder.iterdir()):
            assert time.monotonic() < deadline, (self.processes(), list(self.folder.iterdir()))
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def arena(tmp_path_factory):
    before_folder, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("arena"))
    os.environ["AGENTOPT_TEST_API_KEY"] = ENVIRONMENT
    made = Arena(Path(tempfile.tempdir))
    try:
        assert (await made.attack(DOUBLE)).scores == {"right": 1.0}
        before = made.kept_open()
        yield made
        deadline = time.monotonic() + 2.0
        while made.kept_open() > before:  # a transport that was closed gives its descriptor back in one of the loop's next turns
            assert time.monotonic() < deadline, (made.kept_open(), before)
            await asyncio.sleep(0.01)
        assert [(await made.attack(DOUBLE)).scores["right"] for _ in range(20)] == [1.0] * 20
        session = await made.executor.open(candidate(made.task, f=DOUBLE))
        assert [(await session.rollout("two", repeat, 1)).scores["right"] for repeat in range(100)] == [1.0] * 100
    finally:
        await made.executor.close()
        del os.environ["AGENTOPT_TEST_API_KEY"]
        tempfile.tempdir = before_folder
    deadline = time.monotonic() + 1.0
    while made.processes():  # the last guard may still be on its last step
        assert time.monotonic() < deadline, made.processes()
        await asyncio.sleep(0.01)


P = "import os, sys, time, signal, ctypes, gc\n"
ATTACKS = {
    "endless loop": ("def f(x):\n while True: pass", "timeout", "no answer within"),
    "endless loop at import": ("while True: pass", "timeout", "no answer within"),
    "holding the interpreter in C": ("def f(x): return 3 ** (10 ** 9) % 7", "timeout", ""),
    "ignoring every signal": (
        P + "def f(x):\n for s in range(1, 32):\n  if s not in (9, 19): signal.signal(s, signal.SIG_IGN)\n while True: pass",
        "timeout",
        "",
    ),
    "sleeping": (P + "def f(x): time.sleep(60)", "timeout", ""),
    "half a reply, then sleep": (P + "def f(x):\n os.write(3, b'aopt' + b'\\1'); time.sleep(60)", "timeout", ""),
    "4 GB": ("def f(x): return len(bytearray(4 << 30))", "memory", "memory limit"),
    "4 GB at import": ("x = bytearray(4 << 30)\ndef f(x): return 4", "memory", "memory limit"),
    "4 GB of numpy": ("import numpy\ndef f(x): return float(numpy.ones(1 << 29).sum())", "memory", ""),
    "shared maps": ("import mmap\ndef f(x): return len([mmap.mmap(-1, 100 << 20) for _ in range(9)])", "memory", ""),
    "os._exit(0)": (P + "def f(x): os._exit(0)", "crash", "exit status 0 instead of an answer"),
    "sys.exit": (P + "def f(x): sys.exit(0)", "crash", "SystemExit"),
    "segfault": (P + "def f(x): ctypes.string_at(0)", "crash", "SIGSEGV"),
    "abort": (P + "def f(x): os.abort()", "crash", "SIGABRT"),
    "killing itself": (P + "def f(x): os.kill(os.getpid(), 9)", "memory", "the system killed"),
    "exit at import": (P + "os._exit(0)", "crash", "exit status 0"),
    "no file descriptors left": (P + "def f(x):\n while True: os.dup(0)", "crash", "Too many open files"),
    "a large file": ("def f(x): open('big', 'wb').write(b'x' * (3 << 20))", "crash", "File too large"),
    "printing 200 MB": ("def f(x):\n for _ in range(200): print('x' * (1 << 20))\n return 4", "oversize", "limits.printed_mb"),
    "writing 200 MB to stdout": (
        P + "def f(x):\n for _ in range(200): os.write(1, b'x' * (1 << 20))\n return 4",
        "oversize",
        "limits.printed_mb",
    ),
    "200 MB of text": ("def f(x): return 'x' * (200 << 20)", "oversize", "limits.output_mb"),
    "200 MB of numbers": ("import numpy\ndef f(x): return numpy.zeros(25 << 20)", "oversize", "limits.output_mb"),
    "NaN": ("def f(x): return float('nan')", "nonfinite", ""),
    "a forged 1e999": (
        "import agentopt.core.wire as w\nw.encode = lambda *a: b'\\5\\0\\0\\0\\0\\0\\0\\0001e999'\ndef f(x): return 1",
        "nonfinite",
        "1e999",
    ),
    "forged brackets": (
        "import agentopt.core.wire as w\nw.encode = lambda *a: (200_000).to_bytes(8, 'little') + b'[' * 200_000\ndef f(x): return 1",
        "cheat",
        "",
    ),
    "a pickle for an answer": (
        "import agentopt.core.wire as w, pickle\nw.encode = lambda *a: pickle.dumps(print)\ndef f(x): return 1",
        "cheat",
        "",
    ),
    "deep nesting": ("def f(x):\n r = []\n for _ in range(10_000): r = [r]\n return r", "wrong", "nested deeper"),
    "a giant frame": (
        P + "def f(x):\n os.write(3, b'aopt' + (2).to_bytes(4, 'little') + (1 << 60).to_bytes(8, 'little')); time.sleep(60)",
        "oversize",
        "",
    ),
    "rubbish on the socket": (P + "def f(x):\n os.write(3, b'x' * 100); return 4", "cheat", "no reply"),
    "a long control": (P + "def f(x):\n os.write(3, b'aopt' + (1 << 19).to_bytes(4, 'little') + bytes(8)); return 4", "cheat", "no reply"),
    "forged frames on every descriptor": (
        P
        + "from agentopt.core import wire\ndef f(x):\n"
        + " frame = wire.pack({'nonce': '0' * 16, 'status': 'ok', 'message': ''}, wire.encode(4))\n"
        + " for fd in range(300):\n  try: os.write(fd, frame)\n  except OSError: pass\n return 0",
        "cheat",
        "nobody had asked for",
    ),
    "an unknown status": (
        "import agentopt.sandbox.harness as h\nh.Harness.rollout = lambda *a: h.Outcome('infrastructure', 'not me')\ndef f(x): return 1",
        "cheat",
        "unknown status",
    ),
    "closing the socket": (P + "def f(x): os.close(3); time.sleep(60)", "crash", "closed its connection"),
    "closing stdout": (
        "import sys\ndef f(x):\n sys.stdout.close(); sys.stderr.close(); raise ValueError('still heard')",
        "crash",
        "still heard",
    ),
    "an error that paints the terminal": (
        "class E(Exception):\n def __str__(self): return '\\x1b]0;owned\\x07\\x1b[2J score=999'\ndef f(x): raise E",
        "crash",
        "E: ]0;owned[2J score=999",
    ),
    "an error of 50 MB": ("def f(x): raise ValueError('A' * (50 << 20))", "crash", "..."),
    "a locked scratch folder": (
        P
        + "def f(x):\n os.makedirs('a/b/c'); os.symlink('/etc', 'a/link')\n"
        + " for folder in ('a/b', 'a', '.'): os.chmod(folder, 0)\n raise ValueError",
        "crash",
        "ValueError",
    ),
    "deaf to a large question": (
        "import sys, time, agentopt.core.wire as w\nw.receive = lambda c: time.sleep(60)\ndef f(x): return 4",
        "timeout",
        "",
    ),
    "a child that holds the socket": (P + "def f(x):\n if os.fork() == 0: time.sleep(60)\n os._exit(1)", "crash", "exit status 1"),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks_are_failures_of_the_candidate(arena, name):
    source, kind, words = ATTACKS[name]
    begun = time.monotonic()
    rollout = await arena.attack(source, "large" if "large question" in name else "two")
    assert rollout.failure is not None
    assert (rollout.failure.kind, rollout.scores) == (kind, {})
    assert words in rollout.failure.message
    assert len(rollout.failure.message) <= 4000
    assert "\x1b" not in rollout.failure.message
    assert time.monotonic() - begun < 5
    assert (await arena.attack(DOUBLE)).scores == {"right": 1.0}


async def test_recursion_without_an_end(arena):
    rollout = await arena.attack("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f(x) + 1")
    assert rollout.failure is not None
    assert rollout.failure.kind in ("memory", "crash", "timeout")


OFFSPRING = {
    "a child": "if os.fork() == 0: time.sleep(600)",
    "a daemon": "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\n os.wait()",
    "ten daemons that ignore signals": (
        "for _ in range(10):\n  if os.fork() == 0:\n   os.setsid()\n   signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "   if os.fork() == 0: time.sleep(600)\n   os._exit(0)"
    ),
    "a program": "import subprocess\n subprocess.Popen(['sleep', '600'], start_new_session=True)",
}


@pytest.mark.parametrize("end", ["return x * 2", "time.sleep(600)", "os._exit(0)"])
@pytest.mark.parametrize("name", OFFSPRING)
async def test_offspring_dies_with_the_box(arena, name, end):
    rollout = await arena.attack(f"{P}def f(x):\n {OFFSPRING[name]}\n {end}\n")
    assert rollout.scores == ({"right": 1.0} if end.startswith("return") else {})


async def test_a_printed_score_is_only_print(arena):
    rollout = await arena.attack('def f(x):\n print(\'{"scores": {"right": 1.0}}\')\n return 0')
    assert (rollout.scores, rollout.failure) == ({"right": 0.0}, None)


async def test_an_answer_sent_twice_is_found_out_at_the_next_question(arena):
    forger = (
        "import sys\nfrom agentopt.core import wire\ndef f(x):\n frame = sys._getframe()\n"
        " while 'control' not in frame.f_locals: frame = frame.f_back\n"
        " reply = {'nonce': frame.f_locals['control']['nonce'], 'status': 'ok', 'message': ''}\n"
        " frame.f_locals['connection'].sendall(wire.pack(reply, wire.encode(0)))\n return 4\n"
    )
    session = await arena.executor.open(candidate(arena.task, f=forger))
    first = await session.rollout("two", 0, 1)
    assert first.scores == {"right": 0.0}
    second = await session.rollout("two", 1, 1)
    assert second.failure is not None
    assert second.failure.kind == "cheat"
    await session.close()
    await arena.clean()


async def test_answers_nobody_asked_for(arena):
    early = (
        "import threading, time, os\nfrom agentopt.core import wire\ndef later():\n time.sleep(0.2); os.write(3, b'x')\n"
        "def f(x):\n threading.Thread(target=later, daemon=True).start(); return x * 2\n"
    )
    session = await arena.executor.open(candidate(arena.task, f=early))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
    await asyncio.sleep(0.5)
    failure = (await session.rollout("two", 1, 1)).failure
    assert (failure.kind, failure.message) == ("cheat", "the box answered before it was asked")
    assert (await session.rollout("two", 2, 1)).scores == {"right": 1.0}
    await session.close()
    await arena.clean()


@pytest.mark.parametrize(("deed", "kind"), [("os._exit(3)", "crash"), ("os.write(1, b'x' * (2 << 20))", "oversize")])
async def test_what_it_does_between_two_questions(arena, deed, kind):
    start = "threading.Thread(target=later, daemon=True).start()"
    source = f"import threading, time, os\ndef later():\n time.sleep(0.2); {deed}\ndef f(x):\n {start}; return x * 2\n"
    session = await arena.executor.open(candidate(arena.task, f=source))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
    await asyncio.sleep(0.5)
    assert (await session.rollout("two", 1, 1)).failure.kind == kind
    await session.close()
    await arena.clean()


SEARCH = """
import gc, os, sys

def f(x):
    wanted = x[::-1]
    found = []
    frame = sys._getframe(1)
    while frame:
        found += [k for k, v in list(frame.f_locals.items()) + list(frame.f_globals.items()) if k != "wanted" and wanted in repr(v)]
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (dict, list, tuple)) and thing is not found:
            members = list(thing.values()) if isinstance(thing, dict) else list(thing)
            found += [type(thing).__name__ for member in members if type(member) is str and member == wanted]
    found += [k for k, v in vars(sys.modules["__main__"]).items() if wanted in repr(v)]
    return found
"""
MEMORY = """
def f(x):
    start, rest = b"expected-canary", x[:9].encode()
    found = []
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights = line.split()[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if not rights.startswith("rw"):
                continue
            try:
                memory.seek(low)
                data = memory.read(high - low)
            except (OSError, OverflowError):
                continue
            place = data.find(start)
            while place >= 0:
                if data[place + len(start) : place + len(start) + 9][::-1] == rest:
                    found.append(line)
                place = data.find(start, place + 1)
    return found
"""


@pytest.mark.parametrize("source", [SEARCH, MEMORY], ids=["objects", "memory"])
async def test_the_expected_answer_is_nowhere_in_the_box(arena, source):
    rollout = await arena.attack(source, "secret")
    assert rollout.failure is None
    assert rollout.feedback == "[]"


async def test_the_search_through_memory_would_find_it(arena):
    planted = MEMORY.replace("    found = []", "    found = []; planted = b'expected-canary' + rest[::-1]")
    assert (await arena.attack(planted, "secret")).feedback != "[]"


async def test_the_users_environment_is_not_there(arena):
    read = "open('/proc/self/environ').read(), open('/proc/%d/environ' % os.getppid()).read()"
    source = f"import os\ndef f(x): return [sorted(os.environ), {read}]"
    rollout = await arena.attack(source)
    assert "TMPDIR" in rollout.feedback
    assert "AGENTOPT_TEST_API_KEY" not in rollout.feedback
    assert ENVIRONMENT not in rollout.feedback


async def test_it_inherits_no_descriptor_but_its_own(arena):
    rollout = await arena.attack("import os\ndef f(x): return sorted(int(n) for n in os.listdir('/proc/self/fd'))")
    assert rollout.feedback == "[0, 1, 2, 3, 4]"  # 4 is the listing itself


async def test_its_home_is_its_scratch_folder(arena):
    source = "import os, tempfile\ndef f(x): return len({os.getcwd(), os.environ['HOME'], os.environ['TMPDIR'], tempfile.gettempdir()})"
    assert (await arena.attack(source)).feedback == "1"


async def test_a_candidate_that_kills_its_guard_takes_nothing_with_it(arena):
    daemon = OFFSPRING["a daemon"]
    rollout = await once(arena.executor, arena.task, f"{P}def f(x):\n {daemon}\n os.kill(os.getppid(), 9)\n time.sleep(600)\n")
    assert rollout.failure.kind == "infrastructure"
    await arena.clean(1.0)
    assert (await arena.attack(DOUBLE)).scores == {"right": 1.0}


async def test_a_candidate_that_stops_its_guard_is_ended_by_the_second_clock(arena, monkeypatch):
    monkeypatch.setattr(client, "_GRACE_SECONDS", 0.5)
    rollout = await once(arena.executor, arena.task, f"{P}def f(x):\n os.kill(os.getppid(), signal.SIGSTOP)\n while True: pass\n")
    assert (rollout.failure.kind, rollout.failure.message) == ("infrastructure", "the guard of a box does not answer")
    await arena.clean(1.0)


async def test_the_zygote_is_replaced_when_it_is_killed(arena):
    session = await arena.executor.open(candidate(arena.task, f=DOUBLE))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
    before = arena.executor._boxes.zygote.pid
    os.kill(before, signal.SIGKILL)
    assert (await session.rollout("two", 1, 1)).scores == {"right": 1.0}  # an open box needs no zygote
    await session.close()
    rollouts = await asyncio.gather(*(once(arena.executor, arena.task, DOUBLE) for _ in range(4)))
    assert [rollout.scores for rollout in rollouts] == [{"right": 1.0}] * 4
    assert arena.executor._boxes.zygote.pid not in (before, None)


async def test_a_cancelled_rollout_ends_with_its_session(arena):
    session = await arena.executor.open(candidate(arena.task, f=f"{P}def f(x):\n {OFFSPRING['a daemon']}\n time.sleep(600)\n"))
    rollout = asyncio.create_task(session.rollout("two", 0, 1))
    await asyncio.sleep(0.3)
    rollout.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rollout
    begun = time.monotonic()
    await session.close()
    assert time.monotonic() - begun < 1
    await arena.clean()


CONTROLLER = """
import asyncio, sys
from agentopt.executors.boxed import Boxed
from tests.boxes import candidate, context, make_task

SOURCE = '''
import os, time
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(600)
        os._exit(0)
    os.wait()
    if x == 2: time.sleep(600)
    return x * 2
'''

async def main():
    task = make_task()
    executor = Boxed(context(task))
    session = await executor.open(candidate(task, f=SOURCE))
    await session.rollout("one", 0, 1)
    print("ready", flush=True)
    await (session.rollout("two", 0, 1) if sys.argv[1] == "busy" else asyncio.sleep(600))

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
async def test_nothing_outlives_a_killed_controller(arena, tmp_path, state):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    controller = subprocess.Popen([sys.executable, "-c", CONTROLLER, state], env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
    with controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"ready\n"
        await asyncio.sleep(0.2)
        family = Arena.processes(type("Family", (), {"folder": tmp_path})())
        assert len(family) >= 6  # controller, scorer, zygote, guard, box, daemon
        controller.kill()
    begun = time.monotonic()
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family) or any(tmp_path.iterdir()):
        assert time.monotonic() - begun < 1, [process.cmdline() for process in family if process.is_running()]
        await asyncio.sleep(0.01)
