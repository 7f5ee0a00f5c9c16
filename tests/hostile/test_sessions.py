"""Harm over several rollouts, offspring, and what happens when processes of ours are killed: at L1 and at L2."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from agentopt.core.protocols import Wish
from agentopt.core.task import Case, Limits, Score
from agentopt.executors.boxed import Boxed
from agentopt.sandbox import client
from tests.boxes import DOUBLE, candidate, context, descriptors, make_task, once
from tests.hostile.arena import why_not

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = Limits(seconds=1.0, memory_mb=256, printed_mb=1.0, output_mb=1.0, file_mb=1.0)


def our_task():
    cases = [Case("two", {"x": 2}, 4), Case("large", {"x": "x" * (4 << 20)}, 4 << 20)]
    task = make_task(limits=LIMITS, cases={"train": cases})

    @task.score
    def score(case, output, measured):
        return Score(right=float(output == case.expected), feedback=repr(output)[:2000])

    return task


def family(pid: int | None = None) -> set[psutil.Process]:
    """Everything that came of a process, zombies excepted: orphans stay in the family, for our processes adopt them."""
    found = psutil.Process(pid).children(recursive=True)
    return {process for process in found if _lives(process)}


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it may end while it is asked
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


class Arena:
    """One executor for all attacks at a level, and what must be as it was after each."""

    def __init__(self, level: str, folder: Path) -> None:
        self.level = level
        self.folder = folder
        self.task = our_task()
        self.executor = Boxed(replace(context(self.task), wish=Wish(level)))

    def files(self) -> list[Path]:
        """What boxes keep at the moment, but for the empty folder of an idle guard; a zygote that was ended keeps nothing."""
        zygote = self.executor._boxes.zygote
        found = [] if zygote._folder is None else list(zygote._folder.iterdir())
        return found[len(zygote._free) :] if self.level == "L2" else found

    async def attack(self, source: str, case: str = "two"):
        rollout = await once(self.executor, self.task, source, case)
        await self.clean()
        return rollout

    async def settle(self) -> None:
        """What there is now may be there after each attack."""
        assert (await once(self.executor, self.task, DOUBLE)).scores == {"right": 1.0}
        self.size = len(family())

    def kept_open(self) -> int:
        """Descriptors, but for the one of each scorer and of each idle guard: sessions that overlap take one each, for later ones."""
        boxes = self.executor._boxes
        return descriptors() - len(boxes.scorers._all) - len(boxes.zygote._free)

    async def clean(self, seconds: float = 5.0) -> None:
        """No process, no file more than before; a guard may still be on its last step, which is to end."""
        deadline = time.monotonic() + seconds
        while len(family()) > self.size or self.files():
            assert time.monotonic() < deadline, (family(), self.files())
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["L1", "L2"])
async def arena(request, tmp_path_factory):
    if why := why_not(request.param):
        pytest.skip(why)
    before_folder, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("arena"))
    made = Arena(request.param, Path(tempfile.tempdir))
    try:
        await made.settle()
        before = made.kept_open()
        yield made
        deadline = time.monotonic() + 2.0
        while made.kept_open() > before:  # a transport that was closed gives its descriptor back in one of the loop's next turns
            assert time.monotonic() < deadline, (made.kept_open(), before)
            await asyncio.sleep(0.01)
        session = await made.executor.open(candidate(made.task, f=DOUBLE))
        assert [(await session.rollout("two", repeat, 1)).scores["right"] for repeat in range(100)] == [1.0] * 100
    finally:
        await made.executor.close()
        tempfile.tempdir = before_folder
    assert family() == set()
    assert list(made.folder.iterdir()) == []


with_children = pytest.mark.parametrize("arena", ["L1"], indirect=True)
"""At L2 none of this can be done."""
P = "import os, sys, time, signal, threading\n"


# --- one box, and the next


async def test_what_is_set_on_standard_input_is_not_set_for_the_next(arena):
    source = P + "import fcntl\ndef f(x): return str(fcntl.fcntl(0, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND))"
    before = (await arena.attack(source)).feedback
    set_it = P + "import fcntl\ndef f(x):\n fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)\n return x * 2"
    assert (await arena.attack(set_it)).scores == {"right": 1.0}
    assert (await arena.attack(source)).feedback == before == "'0'"


async def test_one_that_prints_too_much_between_two_questions_is_ended_at_once(arena):
    """By a thread, while nobody asks: it may not go on until the next question."""
    noise = "def noise():\n time.sleep(0.3)\n while True: os.write(1, b'x' * 4096)\n"
    noisy = P + noise + "def f(x):\n threading.Thread(target=noise).start()\n return x * 2"
    session = await arena.executor.open(candidate(arena.task, f=noisy))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
    busy, deadline = len(family()), time.monotonic() + 5.0
    while len(family()) == busy:
        assert time.monotonic() < deadline, family()
        await asyncio.sleep(0.01)
    assert (await session.rollout("two", 1, 1)).failure.kind == "oversize"
    await session.close()
    await arena.clean()


# --- one answer, several questions


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


async def test_a_late_answer_to_the_last_question_is_none_to_this_one(arena):
    late = (
        "import sys, threading, time\nfrom agentopt.core import wire\nnonces = []\ndef f(x):\n frame = sys._getframe()\n"
        " while 'control' not in frame.f_locals: frame = frame.f_back\n nonces.append(frame.f_locals['control']['nonce'])\n"
        " if len(nonces) == 1: return 0\n"
        " frame.f_locals['connection'].sendall(wire.pack({'nonce': nonces[0], 'status': 'ok', 'message': ''}, wire.encode(4)))\n return 0\n"
    )
    session = await arena.executor.open(candidate(arena.task, f=late))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 0.0}
    failure = (await session.rollout("two", 1, 1)).failure
    assert (failure.kind, failure.message) == ("cheat", "the box sent a reply that nobody had asked for")
    await session.close()
    await arena.clean()


BETWEEN = {
    "os._exit(3)": "crash",
    "os.write(1, b'x' * (2 << 20))": "oversize",
    "[threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(600)]": "oversize",
    "os.write(3, b'x')": "cheat",
    "os.close(3)": "crash",
}


async def test_what_it_does_between_two_questions(arena):
    async def kind(deed):
        start = "threading.stack_size(1 << 16); threading.Thread(target=later, daemon=True).start()"
        source = P + f"def later():\n time.sleep(0.2); {deed}\ndef f(x):\n {start}; return x * 2\n"
        session = await arena.executor.open(candidate(arena.task, f=source))
        assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
        await asyncio.sleep(1.0)
        found = (await session.rollout("two", 1, 1)).failure
        assert (await session.rollout("two", 2, 1)).scores == {"right": 1.0}
        await session.close()
        return found and found.kind

    assert dict(zip(BETWEEN, await asyncio.gather(*map(kind, BETWEEN)), strict=True)) == BETWEEN
    await arena.settle()


async def test_a_thread_that_works_on_between_two_questions_is_measured_in_the_next(arena):
    source = P + (
        "def work():\n while True: pass\n"
        "def f(x):\n if threading.active_count() == 1: threading.Thread(target=work, daemon=True).start()\n time.sleep(0.2); return x * 2\n"
    )
    session = await arena.executor.open(candidate(arena.task, f=source))
    rollouts = [await session.rollout("two", repeat, 1) for repeat in range(2)]
    assert [rollout.scores for rollout in rollouts] == [{"right": 1.0}] * 2
    assert rollouts[1].measured.cpu > 0.05
    await session.close()
    await arena.clean()


async def test_deaf_to_a_large_question_and_recursion_without_an_end(arena):
    deaf = "import sys, time, agentopt.core.wire as w\nw.FrameSocket.receive = lambda self: time.sleep(60)\ndef f(x): return 4"
    deep = "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return f(x) + 1"
    asked = (once(arena.executor, arena.task, deaf, "large"), once(arena.executor, arena.task, deep))
    deaf_one, deep_one = (rollout.failure.kind for rollout in await asyncio.gather(*asked))
    assert deaf_one == "timeout"
    assert deep_one in ("memory", "crash", "timeout")
    await arena.settle()


async def test_a_scratch_folder_behind_locks(arena):
    source = (
        P + "def f(x):\n os.makedirs('a/b/c')\n for folder in ('a/b', 'a', '.'): os.chmod(folder, 0)\n"
        " os.umask(0o777); os.mkdir('none') if os.getuid() == 0 else None\n raise ValueError"
    )
    assert (await arena.attack(source)).failure.kind == "crash"


async def test_guards_serve_on_after_many_attacks(arena):
    """One guard after another kind of end; the honest in between see an empty folder and their own memory."""
    honest = "import os\nseen = len(os.listdir('.'))\ndef f(x):\n open('mark', 'w').close(); return x * 2 if not seen else seen\n"
    for end in ("os._exit(1)", "open('left', 'w').close()", "os.mkdir('deep')", "raise MemoryError"):
        await arena.attack(f"{P}def f(x):\n {end}\n")
        assert (await arena.attack(honest)).scores == {"right": 1.0}


# --- offspring: at L1 there is some, and it dies with the box


OFFSPRING = {
    "a child": "if os.fork() == 0: time.sleep(600)",
    "a daemon": "if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(600)\n  os._exit(0)\n os.wait()",
    "ten daemons that ignore signals": (
        "for _ in range(10):\n  if os.fork() == 0:\n   os.setsid()\n   signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "   if os.fork() == 0: time.sleep(600)\n   os._exit(0)"
    ),
    "a program": "import subprocess\n subprocess.Popen(['sleep', '600'], start_new_session=True)",
}


@with_children
@pytest.mark.parametrize(("end", "scores"), [("return x * 2", {"right": 1.0}), ("time.sleep(600)", {}), ("os._exit(0)", {})])
async def test_offspring_dies_with_the_box(arena, end, scores):
    sources = [f"{P}def f(x):\n {start}\n {end}\n" for start in OFFSPRING.values()]
    rollouts = await asyncio.gather(*(once(arena.executor, arena.task, source) for source in sources))
    assert [rollout.scores for rollout in rollouts] == [scores] * len(OFFSPRING)
    await arena.settle()
    assert not [process for process in family() if process.name() == "sleep" or process.num_threads() > 1]
    zygote = psutil.Process(arena.executor._boxes.zygote.pid)
    assert len(zygote.children(recursive=True)) == 2 * len(arena.executor._boxes.zygote._free)  # per guard the guard and its spare


@with_children
async def test_a_child_that_holds_the_socket(arena):
    failure = (await arena.attack(f"{P}def f(x):\n if os.fork() == 0: time.sleep(60)\n os._exit(1)")).failure
    assert (failure.kind, "exit status 1" in failure.message) == ("crash", True)


@with_children
async def test_a_candidate_that_kills_its_guard_takes_nothing_with_it(arena):
    daemon = OFFSPRING["a daemon"]
    rollout = await once(arena.executor, arena.task, f"{P}def f(x):\n {daemon}\n os.kill(os.getppid(), 9)\n time.sleep(600)\n")
    assert rollout.failure.kind == "infrastructure"
    await arena.clean(2.0)
    assert (await arena.attack(DOUBLE)).scores == {"right": 1.0}


@with_children
async def test_a_candidate_that_kills_the_next_one_before_it_is_born(arena):
    source = P + (
        "def f(x):\n children = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        " for child in children: os.kill(int(child), 9)\n return x * 2\n"
    )
    assert (await arena.attack(source)).scores == {"right": 1.0}
    assert (await arena.attack(DOUBLE)).failure.kind == "infrastructure"
    assert (await arena.attack(DOUBLE)).scores == {"right": 1.0}


STOPS = {
    "its guard, and computes on": "os.kill(os.getppid(), signal.SIGSTOP)\n while True: pass",
    "its guard, and sleeps": "os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)",
    "the zygote and its guard": (
        "guard = os.getppid()\n for line in open(f'/proc/{guard}/status'):\n  if 'PPid' in line: os.kill(int(line.split()[1]), 19)\n"
        " os.kill(guard, 19); time.sleep(600)"
    ),
}


@with_children
@pytest.mark.parametrize("whom", STOPS)
async def test_a_candidate_that_stops(arena, monkeypatch, whom):
    """The controller has a clock of its own, and what cannot end by itself is ended, with everything that came of it."""
    monkeypatch.setattr(client, "_GRACE_SECONDS", 0.2)
    monkeypatch.setattr(client, "_PATIENCE", 0.5)
    before = family()
    source = f"{P}def f(x):\n {OFFSPRING['a daemon']}\n {STOPS[whom]}\n"
    rollout = await once(arena.executor, arena.task, source)
    assert (rollout.failure.kind, rollout.failure.message) == ("infrastructure", "the guard of a box does not answer")
    await arena.clean(2.0)
    assert not [process for process in psutil.process_iter() if process.pid not in before and _is_ours(process, arena.folder)]
    await arena.settle()


def _is_ours(process: psutil.Process, folder: Path) -> bool:
    """Whatever it became a child of: it works in a folder of ours, or what is left of one."""
    try:
        return process.cwd().startswith(str(folder))
    except (psutil.Error, OSError):
        return False


# --- our own processes


async def test_the_zygote_is_replaced_when_it_is_killed(arena):
    session = await arena.executor.open(candidate(arena.task, f=DOUBLE))
    assert (await session.rollout("two", 0, 1)).scores == {"right": 1.0}
    before = arena.executor._boxes.zygote.pid
    guards = family(before)
    os.kill(before, signal.SIGKILL)
    if arena.level == "L2":
        psutil.wait_procs(guards, timeout=5)
    then = await session.rollout("two", 1, 1)
    if arena.level == "L1":
        assert then.scores == {"right": 1.0}  # an open box needs no zygote
    else:
        assert then.failure.kind == "infrastructure"  # its namespaces ended with it
    await session.close()

    async def patiently():
        rollout = await once(arena.executor, arena.task, DOUBLE)
        if (
            rollout.failure and rollout.failure.kind == "infrastructure"
        ):  # an idle guard lost its folder with the zygote: the engine repeats it
            rollout = await once(arena.executor, arena.task, DOUBLE)
        return rollout

    rollouts = await asyncio.gather(*(patiently() for _ in range(4)))
    assert [rollout.failure for rollout in rollouts] == [None] * 4
    assert [rollout.scores for rollout in rollouts] == [{"right": 1.0}] * 4
    assert arena.executor._boxes.zygote.pid not in (before, None)
    await arena.settle()


async def test_a_cancelled_rollout_ends_with_its_session(arena):
    source = f"{P}def f(x):\n {OFFSPRING['a daemon'] if arena.level == 'L1' else ''}\n time.sleep(600)\n"
    session = await arena.executor.open(candidate(arena.task, f=source))
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
from dataclasses import replace
from agentopt.core.protocols import Wish
from agentopt.executors.boxed import Boxed
from tests.boxes import candidate, context, make_task

SOURCE = '''
import os, time
def f(x):
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: time.sleep(600)
            os._exit(0)
        os.wait()
    except OSError:
        pass
    open("left", "w").close()
    if x == 2: time.sleep(600)
    return x * 2
'''

async def main():
    task = make_task()
    executor = Boxed(replace(context(task), wish=Wish(sys.argv[2])))
    session = await executor.open(candidate(task, f=SOURCE))
    await session.rollout("one", 0, 1)
    print("ready", flush=True)
    await (session.rollout("two", 0, 1) if sys.argv[1] == "busy" else asyncio.sleep(600))

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
async def test_nothing_outlives_a_killed_controller(arena, tmp_path, state):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", CONTROLLER, state, arena.level]
    controller = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: ASYNC220
    with controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"ready\n"
        await asyncio.sleep(0.2)
        left = family(controller.pid)
        assert len(left) >= 5  # scorer, zygote, guard, box, spare; at L1 a daemon
        controller.kill()
    begun = time.monotonic()
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left) or any(tmp_path.iterdir()):
        assert time.monotonic() - begun < 2, [process.cmdline() for process in left if process.is_running()]
        await asyncio.sleep(0.01)
