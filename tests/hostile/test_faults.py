"""Faults of ours and of the machine, planted: never blamed on a candidate, repeated, and nothing is lost when they do not go away."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

import agentopt as ao
from agentopt.core.errors import RunFailed
from agentopt.core.events import canonical
from agentopt.sandbox import client
from agentopt.store.sqlite import SqliteStore
from tests.hostile.arena import why_not
from tests.toys import write_task

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

    def observe(self, entry: ao.Entry, admission: ao.Admission) -> None:
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

    def evolve(self, name: str, fault: Fault, lasting: bool = False) -> ao.Result:
        return ao.evolve(
            self.task,
            optimizer=Slopes,
            budget=f"{CANDIDATES}evals",
            workers=1,
            rng_seed=3,
            sandbox=self.level,
            out=self.folder / name,
            on_event=self.watch(fault, lasting),
        )

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

    def log(self, name: str) -> list[Any]:
        with SqliteStore.open(self.folder / name, read_only=True) as store:
            store.verify()
            return canonical(store.read())


@pytest.fixture(scope="module", params=["L1", "L2"])
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
    return [child for child in outer.children() if os.readlink(f"/proc/{child.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")]


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
    """``word`` says which process gets no more than it has. Those of ours that are replaced get as many as ever."""

    def begin(self) -> None:
        for process in {"zygote": zygotes, "guard": guards}[self.word]():
            held = set(os.listdir(f"/proc/{process.pid}/fd"))
            limit = next(number for number in count() if str(number) not in held)
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, limit))
        if self.word == "zygote":
            end_guards()


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


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_leaves_no_trace_but_a_note(job, flags, undisturbed, name):
    make, word, said = PASSING[name]
    if job.level == "L1" and make is KilledZygote:
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


@pytest.mark.parametrize("name", LASTING)
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
    result = ao.resume(job.folder / "run", optimizer=Slopes)
    assert (result.status, result.failures) == ("budget", {})
    assert job.log("run") == undisturbed
