"""Faults of ours and of the machine, planted: never blamed on a candidate, repeated, and nothing is lost when they do not go away."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

import agentopt as ao
from agentopt.core.errors import RunFailed
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.events import canonical
from agentopt.sandbox import client
from agentopt.store.sqlite import SqliteStore
from tests.hostile import users
from tests.hostile.arena import ALONE, LEVELS, at, why_not
from tests.hostile.test_sessions import CONTROLLER, family
from tests.toys import write_task
from tests.untraced import untraced

TASK = """
from agentopt import Case, Objective, Score, Task

task = Task(
    name="line",
    goal="Find the slope.",
    parameters={"f": "seed.py"},
    objectives=[Objective("error", "min")],
    cases={s: [Case(f"{s}-{k}", 0.5 * k + 0.1, 1.5 * k + 0.3) for k in range(2)] for s in ("train", "validation", "test")},
)

@task.run
def run(program, input):
    return program.f(input)

@task.score
def score(case, output, measured):
    return Score(error=abs(output - case.expected))
"""
CANDIDATES = 6
STRUCK = 2
"""The fault begins when so many candidates have been told."""


class Slopes:
    """Proposes slopes; the candidate that is struck takes its time, so that a fault can come in the middle of it."""

    def __init__(self, context: Any) -> None:
        self.told = 0

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        nap = "if x == 0.1: time.sleep(0.3)" if self.told == STRUCK else "pass"
        return [ao.Proposal({"f": f"import time\ndef f(x):\n    {nap}\n    return {rng.uniform(0, 5):.3f} * x\n"}, (), "slopes", "draw")]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.told += 1


class Fault:
    """Does nothing yet. ``begin`` and ``end`` are called while the run goes on, ``end`` also after it."""

    in_the_middle = False
    """Whether it begins while a candidate is at work, and not between two of them."""

    def __init__(self, flags: Path, word: str = "") -> None:
        self.flags, self.word = flags, word

    def begin(self) -> None: ...
    def end(self) -> None: ...


class Job:
    """A run that is struck by a fault, and the log that it has without."""

    def __init__(self, folder: Path, level: str) -> None:
        self.folder, self.level = folder, level
        self.notes: list[str] = []
        self._told = 0
        self.task = write_task(folder / "task", TASK, "def f(x):\n    return 1.0 * x\n")

    def evolve(self, out: str | Path, fault: Fault, lasting: bool = False, budget: str = f"{CANDIDATES}evals") -> ao.Result:
        watch, level = self.watch(fault, lasting), self.level[:2]
        with at(self.level):
            return ao.evolve(
                self.task, optimizer=Slopes, budget=budget, workers=1, rng_seed=3, sandbox=level, out=self.folder / out, on_event=watch
            )

    def resume(self, out: str | Path, budget: str | None = None) -> ao.Result:
        with at(self.level):
            return ao.resume(self.folder / out, optimizer=Slopes, budget=budget)

    def watch(self, fault: Fault, lasting: bool) -> Callable[[Any, Any], None]:
        """Begins the fault when its time has come; one that does not last ends as soon as it was noticed."""
        begun = False

        def observe(event: Any, state: Any) -> None:
            nonlocal begun
            if event.kind == "note":
                self.notes.append(event.data["text"])
                if not lasting:
                    fault.end()
            if not begun and state.told == STRUCK and event.kind == ("proposed" if fault.in_the_middle else "admitted"):
                begun = True
                if fault.in_the_middle:
                    asyncio.get_running_loop().call_later(0.15, fault.begin)
                else:
                    fault.begin()

        return observe

    def log(self, out: str | Path) -> list[Any]:
        with SqliteStore.open(self.folder / out, read_only=True) as store:
            store.verify()
            return canonical(store.read())


@pytest.fixture(scope="module", params=["L2"])
def level(request: pytest.FixtureRequest) -> str:
    if why := why_not(request.param):
        pytest.skip(why)
    return request.param


@pytest.fixture(scope="module")
def undisturbed(level: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    job = Job(tmp_path_factory.mktemp("undisturbed"), level)
    assert job.evolve("run", Fault(job.folder)).status == "budget"
    assert job.notes == []
    return job.log("run")


@pytest.fixture
def job(level: str, tmp_path: Path) -> Iterator[Job]:
    yield Job(tmp_path, level)
    assert psutil.Process().children(recursive=True) == []


# --- the faults


def zygotes() -> list[psutil.Process]:
    """What forks guards: in namespaces the child of the process that was started."""
    started = [child for child in psutil.Process().children() if "agentopt.sandbox.zygote" in child.cmdline()]
    return [inner for outer in started for inner in (_inside(outer) or [outer])]


def _inside(outer: psutil.Process) -> list[psutil.Process]:
    """Children that have a second number, in a namespace of theirs."""
    numbers = ((child, Path(f"/proc/{child.pid}/status").read_text().partition("NSpid:")[2].split("\n")[0]) for child in outer.children())
    return [child for child, found in numbers if len(found.split()) > 1]


def guards() -> list[psutil.Process]:
    return [guard for zygote in zygotes() for guard in zygote.children()]


def end_guards() -> None:
    found = guards()
    assert found
    for guard in found:
        guard.kill()
    psutil.wait_procs(found, timeout=5)


class KilledGuard(Fault):
    in_the_middle = True

    def begin(self) -> None:
        end_guards()


class KilledZygote(Fault):
    in_the_middle = True

    def begin(self) -> None:
        for zygote in zygotes():
            zygote.kill()


class KilledGuards(Fault):
    """Each of them, as soon as it is there."""

    in_the_middle = True
    _alarm: Any = None

    def begin(self) -> None:
        with suppress(psutil.Error):
            for guard in guards():
                guard.kill()
        self._alarm = asyncio.get_running_loop().call_later(0.005, self.begin)

    def end(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()


class Refused(Fault):
    """The system refuses something to one of our processes; ``word`` is what, and the error."""

    def begin(self) -> None:
        what, name = self.word.split()
        (self.flags / what).write_text(str(getattr(errno, name)))
        if what in ("guard", "folder", "files"):
            end_guards()  # the next candidate needs a new one

    def end(self) -> None:
        for flag in self.flags.iterdir():
            flag.unlink()


class FewDescriptors(Fault):
    """``word`` says which process may open nothing more. One that takes its place may."""

    def begin(self) -> None:
        for process in {"zygote": zygotes, "guard": guards}[self.word]():
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, 3))
        if self.word == "zygote":
            end_guards()


class FewProcesses(Fault):
    """The zygote may fork nothing more."""

    def begin(self) -> None:
        (self._zygote,) = zygotes()
        self._before = resource.prlimit(self._zygote.pid, resource.RLIMIT_NPROC, (1, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
        end_guards()

    def end(self) -> None:
        resource.prlimit(self._zygote.pid, resource.RLIMIT_NPROC, self._before)


class NoDescriptors(Fault):
    """The controller can open nothing more."""

    def begin(self) -> None:
        end_guards()
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, self._before[1]))

    def end(self) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)


PLANTED = """
    import os
    from agentopt.sandbox import guard, kernel, scratch, spare
    def refusing(what, real):
        def act(*arguments):
            path = os.path.join({flags!r}, what)
            if os.path.exists(path):
                with open(path) as flag:
                    number = int(flag.read())
                raise OSError(number, os.strerror(number))
            return real(*arguments)
        return act
    kernel.plain_fork = refusing("guard", kernel.plain_fork)
    spare.plain_fork = refusing("box", spare.plain_fork)
    guard.socket.socketpair = refusing("socket", guard.socket.socketpair)
    scratch.os.mkdir = refusing("folder", scratch.os.mkdir)
    scratch.copy_files = refusing("files", scratch.copy_files)
    import time
    real = time.time
    time.time = lambda: real() + 36000 * os.path.exists(os.path.join({flags!r}, "clock"))
"""


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which files make our own processes fail."""
    folder, plain = tmp_path / "flags", client.boot_command
    folder.mkdir()

    def planted(module: str, *arguments: str) -> list[str]:
        code = PLANTED.format(flags=str(folder))
        return [
            part.replace("    importlib.import_module(module)", f"{code}    importlib.import_module(module)")
            for part in plain(module, *arguments)
        ]

    monkeypatch.setattr(client, "boot_command", planted)
    return folder


PASSING = {
    "a guard is killed": (KilledGuard, "", "the guard of a box was killed"),
    "the zygote is killed": (KilledZygote, "", "the guard of a box was killed"),
    "no process for a guard": (Refused, "guard EAGAIN", "a guard could not be forked: [Errno 11]"),
    "no process for a box": (Refused, "box EAGAIN", "the box could not be set up: [Errno 11]"),
    "no memory for a box": (Refused, "box ENOMEM", "the box could not be set up: [Errno 12]"),
    "no descriptor in the guard": (FewDescriptors, "guard", "the box could not be set up: [Errno 24]"),
    "no descriptor in the zygote": (FewDescriptors, "zygote", ""),
    "no descriptor in the controller": (NoDescriptors, "", "[Errno 24] Too many open files"),
    "no file in the whole system": (Refused, "socket ENFILE", "the box could not be set up: [Errno 23]"),
}


EVERYWHERE = {"a guard is killed", "the zygote is killed", "no descriptor in the zygote", "no space for the task's files"}
"""The others do not depend on the level."""


def tried(names: Iterable[str]) -> pytest.MarkDecorator:
    pairs = [(level, name) for level in LEVELS for name in names if level == "L2" or name in EVERYWHERE]
    return pytest.mark.parametrize(("level", "name"), pairs, indirect=["level"])


@tried(PASSING)
def test_a_fault_that_passes_leaves_no_trace_but_a_note(job, flags, undisturbed, name):
    make, word, said = PASSING[name]
    if job.level != "L2" and make is KilledZygote:
        said = ""  # a box that is open needs no zygote, and the next one gets a new one
    result = job.evolve("run", make(flags, word))
    assert (result.status, result.failures) == ("budget", {})
    assert [said in note for note in job.notes] == ([True] if said else []), job.notes
    assert result.summary["warnings"] == job.notes
    assert job.log("run") == undisturbed


LASTING = {
    "guards are killed again and again": (KilledGuards, "", "the guard of a box was killed"),
    "no process for a guard": (Refused, "guard EAGAIN", "a guard could not be forked: [Errno 11] Resource temporarily unavailable"),
    "no process for a box": (Refused, "box EAGAIN", "a box could not be forked: [Errno 11] Resource temporarily unavailable"),
    "no memory for a box": (Refused, "box ENOMEM", "a box could not be forked: [Errno 12] Cannot allocate memory"),
    "no descriptor in the controller": (NoDescriptors, "", "[Errno 24] Too many open files"),
    "no space for the scratch folder": (Refused, "folder ENOSPC", "the box could not be set up: [Errno 28] No space left on device"),
    "no space for the task's files": (Refused, "files ENOSPC", "the box could not be set up: [Errno 28] No space left on device"),
}


@pytest.mark.thorough
@tried(LASTING)
def test_a_fault_that_lasts_ends_the_run_in_one_sentence_and_nothing_is_lost(job, flags, undisturbed, name):
    make, word, said = LASTING[name]
    fault = make(flags, word)
    try:
        with pytest.raises(RunFailed) as failed:
            job.evolve("run", fault, lasting=True)
    finally:
        fault.end()
    sentence = str(failed.value)
    assert sentence.startswith("a rollout of candidate ")
    assert "failed 3 times by our own doing: " in sentence
    assert said in sentence
    assert "\n" not in sentence
    assert failed.value.exit_code == 1
    assert len(job.notes) == 1
    stopped = ao.load_run(job.folder / "run")
    assert (stopped.status, stopped.why, stopped.failures) == ("failed", sentence, {})
    result = job.resume("run")
    assert (result.status, result.failures) == ("budget", {})
    assert job.log("run") == undisturbed


def test_a_clock_that_jumps_changes_nothing(job, flags, monkeypatch):
    """By hours, forth and back, in the controller and behind it: deadlines and budgets do not care."""
    real, hours = time.time, count()
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * (next(hours) % 7 - 3))
    (flags / "clock").touch()
    first = job.evolve("run", Fault(flags), budget=f"{CANDIDATES}evals,300s")
    assert (first.status, first.evaluations, job.notes) == ("budget", CANDIDATES, [])
    again = job.resume("run", budget="+2evals")
    assert (again.status, again.evaluations, again.failures) == ("budget", CANDIDATES + 2, {})
    assert 0 < again.summary["spent"]["seconds"] < 300


# --- what takes a place of its own


def by_ordinary_user() -> bool:
    return os.getuid() != 0


@pytest.mark.skipif(not by_ordinary_user(), reason="root may have as many processes as it likes")
def test_an_ordinary_users_last_process(job, flags, undisturbed):
    result = job.evolve("run", FewProcesses(flags))
    assert (result.status, result.failures) == ("budget", {})
    (said,) = job.notes
    assert said.endswith("a guard could not be forked: [Errno 11] Resource temporarily unavailable")
    assert job.log("run") == undisturbed


TINY = os.environ.get("AGENTOPT_TEST_TINY", "")
"""A file system of a few megabytes, mounted for ``test_full_disks``."""
on_a_tiny_disk = pytest.mark.skipif(not TINY, reason="needs a small file system; test_full_disks mounts one")


class FullDisk(Fault):
    """``word`` is what runs out: names or bytes."""

    def begin(self) -> None:
        if self.word == "names":
            end_guards()
            while any(Path(TINY).glob("agentopt-boxes-*/*")):
                time.sleep(0.01)  # the zygote cleans up after them
        with suppress(OSError):
            for number in count():
                with open(f"{TINY}/full-{number}", "wb", buffering=0) as file:
                    while self.word == "bytes":
                        file.write(bytes(1 << 12))

    def end(self) -> None:
        for file in Path(TINY).glob("full-*"):
            file.unlink()


@on_a_tiny_disk
@pytest.mark.parametrize("struck", ["a guard", "the zygote"])
def test_a_full_disk_under_the_scratch_folders(job, flags, undisturbed, monkeypatch, struck):
    class Full(FullDisk):
        def begin(self) -> None:
            super().begin()
            if struck == "the zygote":
                for zygote in zygotes():
                    zygote.kill()
                    zygote.wait(5)

    monkeypatch.setattr(tempfile, "tempdir", TINY)
    fault = Full(flags, "names")
    try:
        with pytest.raises(RunFailed, match=r"failed 3 times by our own doing: .*\[Errno 28\] No space left on device: '" + TINY):
            job.evolve("run", fault, lasting=True)
    finally:
        fault.end()
    assert job.resume("run").status == "budget"
    assert job.log("run") == undisturbed
    assert os.listdir(TINY) == []


@on_a_tiny_disk
def test_a_full_disk_under_the_run(job, flags, undisturbed):
    fault, out = FullDisk(flags, "bytes"), Path(TINY) / "run"
    with pytest.raises(RunFailed) as failed:
        job.evolve(out, fault, lasting=True)
    assert re.search("run.db could not be read or written; check the disk|[Nn]o space left", str(failed.value))
    fault.end()
    assert job.resume(out).status == "budget"
    assert job.log(out) == undisturbed
    shutil.rmtree(out)


def no_root() -> str:
    return users.why_not() if os.getuid() == 0 else "only root can mount, or be somebody else"


takes_root = pytest.mark.skipif(bool(no_root()), reason=no_root())


def of_this_file(choice: str) -> list[str]:
    plain = ["-p", "no:xdist", "-p", "no:cacheprovider", "-rs", "-k", choice]
    return [sys.executable, "-m", "pytest", *plain, "tests/hostile/test_faults.py"]


@pytest.mark.thorough
@takes_root
def test_full_disks(tmp_path):
    disk = tmp_path / "tiny"
    disk.mkdir()
    script = f"mount -t tmpfs -o size=3m,nr_inodes=60,mode=755 tiny {disk} && exec {shlex.join(of_this_file('full_disk_'))}"
    environment = untraced() | {"AGENTOPT_TEST_TINY": str(disk), "PYTHONPATH": str(users.ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-c", script]
    done = subprocess.run(command, cwd=users.ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) == 3


@pytest.mark.thorough
@takes_root
def test_the_faults_of_an_ordinary_user():
    done = users.run(of_this_file("ordinary_users_last or without_namespaces or (without and not lasts)"), 300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 6


# --- nothing outlives a controller


@pytest.mark.skipif(bool(why_not(ALONE)), reason=why_not(ALONE))
@pytest.mark.parametrize("state", ["busy", "idle"])
def test_nothing_outlives_a_killed_controller_without_namespaces(tmp_path, state):
    (tmp_path / "own").mkdir()
    code = f"from tests.hostile.arena import ALONE, at\nwalls = at(ALONE)\nwalls.__enter__()\n{CONTROLLER}"
    environment = untraced() | {"TMPDIR": str(tmp_path / "own"), "PYTHONPATH": str(users.ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, state, "L2"], env=environment, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 5
        while len(left := family(controller.pid)) < 5:  # scorer, zygote, guard, box, spare
            assert time.monotonic() < deadline, left
            time.sleep(0.01)
        controller.kill()
    begun = time.monotonic()
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left) or any((tmp_path / "own").iterdir()):
        assert time.monotonic() - begun < 2, [process.cmdline() for process in left if process.is_running()]
        time.sleep(0.01)
