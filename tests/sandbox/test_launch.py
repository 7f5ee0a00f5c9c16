"""One program in a box: what it is given, how it ends, and what is measured of it."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from pathlib import Path

import psutil
import pytest

from agentopt.sandbox import kernel
from agentopt.sandbox.bwrap import View, find_bwrap
from agentopt.sandbox.door import Abandoned, Ended
from agentopt.sandbox.launch import Bounds, Launch
from agentopt.sandbox.programs import spare_uid

pytestmark = pytest.mark.usefixtures("level_3", "adopting")

BOUNDS = Bounds(seconds=10.0, memory=512 << 20, file=1 << 20, output=1 << 20, processes=64)


@pytest.fixture
def make(level_3: Path):
    """A Launch whose /box holds the given files."""

    def make(bounds: Bounds = BOUNDS, bwrap: str | None = None, folder: str | None = None, **files: str) -> Launch:
        box = level_3 / "box"
        box.mkdir(exist_ok=True)
        for name, text in files.items():
            (box / name).write_text(text)
            (box / name).chmod(0o755)
        return Launch(bwrap or find_bwrap() or "", View(folder or str(box), 1 << 20), bounds, spare_uid(os.getpid()))

    return make


def assert_nothing_lives() -> None:
    """Whoever adopts reaps, so what is dead may still be there."""
    deadline = time.monotonic() + 2
    while [pid for pid in kernel.children() if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def run(launch: Launch, *words: str, stdin: bytes = b"", rng_seed: int = 7, seconds: float = 10.0) -> str:
    return launch.run(words, stdin, rng_seed, time.monotonic() + seconds).decode()


def test_stdin_arguments_seed_and_folder(make):
    launch = make(file="content")
    script = 'cat; echo "$AGENTOPT_RNG_SEED $1 $(pwd) $(cat file)"; echo word >&2; exit 3'
    assert run(launch, "sh", "-c", script, "sh", "an argument", stdin=b"asked\n") == "asked\n7 an argument /box content\n"
    assert (launch.status, launch.said) == (3, b"word\n")


def test_a_signal_is_told_by_the_status(make):
    launch = make()
    run(launch, "sh", "-c", "kill -SEGV $$")
    assert launch.status == 128 + signal.SIGSEGV


def test_a_program_that_is_not_there_or_not_one_is_the_candidates_fault(make):
    for name, words in (("missing", "No such file"), ("text", "Permission denied")):
        launch = make(text="no program")
        (Path(launch.view.folder) / "text").chmod(0o644)
        with pytest.raises(Ended, match=words) as end:
            run(launch, f"./{name}")
        assert end.value.kind == "build"
        assert end.value.message.startswith(f"the program cannot be started: ./{name}: ")


@pytest.mark.parametrize(("bwrap", "folder", "words"), [(None, "/nowhere", "nowhere"), ("/bin/true", None, "it gave no reason")])
def test_a_box_that_cannot_be_set_up_is_infrastructure(make, bwrap, folder, words):
    with pytest.raises(Ended, match=words) as end:
        run(make(bwrap=bwrap, folder=folder), "true")
    assert end.value.kind == "infrastructure"


def test_bubblewrap_that_is_killed_is_infrastructure_and_takes_the_program_along(make):
    launch = make()
    killer = threading.Timer(0.5, lambda: os.kill(launch._process.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(Ended) as end:
        run(launch, "sleep", "60")
    killer.join()
    assert end.value.kind == "infrastructure"
    assert_nothing_lives()


def test_the_deadline_ends_the_box_before_and_while_the_program_runs(make):
    for seconds in (0.0, 0.5):
        begun = time.monotonic()
        with pytest.raises(Ended, match=r"no end within limits.seconds: 10 s") as end:
            run(make(), "sleep", "60", seconds=seconds)
        assert end.value.kind == "timeout"
        assert time.monotonic() - begun < seconds + 2
        assert_nothing_lives()


def test_the_controller_ends_it_before_and_while_the_program_runs(make):
    for delay in (0.0, 0.5):
        read, write = os.pipe()
        launch = make()
        launch.controllers = [read]
        timer = threading.Timer(delay, lambda write=write: os.write(write, b"x"))
        timer.start()
        if not delay:
            timer.join()
        with pytest.raises(Abandoned):
            run(launch, "sleep", "60")
        timer.join()
        os.close(read)
        os.close(write)
        assert_nothing_lives()


def test_who_hears_and_who_looks_may_end_it(make):
    def object_to(*_):
        raise Ended("oversize", "enough")

    for name in ("hear", "look"):
        launch = make()
        setattr(launch, name, object_to)
        with pytest.raises(Ended, match="enough"):
            run(launch, "sh", "-c", "echo x >&2; sleep 60")
        assert_nothing_lives()


def test_what_outlives_the_program_ends_with_it_and_holds_nothing_up(make):
    begun = time.monotonic()
    assert run(make(), "sh", "-c", "setsid sleep 60 & echo done") == "done\n"
    assert time.monotonic() - begun < 5
    assert_nothing_lives()


def test_the_limits_hold_inside(make):
    launch = make(BOUNDS._replace(processes=9))
    shown = run(launch, "cat", "/proc/self/limits")
    rows = {line[:26].strip(): line[26:].split()[:2] for line in shown.splitlines()}
    assert rows["Max address space"] == [str(BOUNDS.memory)] * 2
    assert rows["Max file size"] == [str(BOUNDS.file)] * 2
    assert rows["Max core file size"] == ["0", "0"]
    assert int(rows["Max processes"][0]) in (9, 10)
    assert run(make(), "cat", "/proc/self/oom_score_adj") == "1000\n"


SPIN = """
import sys, time
block = bytearray(b"x") * (int(sys.argv[2]) << 20)
while time.process_time() < float(sys.argv[1]): pass
print(time.process_time())
"""


def test_cpu_seconds_are_those_of_the_program(make):
    """It reads its own clock last thing; what it takes to end and what bubblewrap takes to begin it is the error."""
    errors = []
    for seconds in (0.05, 0.2) * 5:
        launch = make(**{"spin.py": SPIN})
        own = float(run(launch, "python3", "spin.py", str(seconds), "0"))
        errors.append(launch.measure.cpu - own)
    assert min(errors) > -0.001
    assert statistics.median(errors) < 0.02


def test_the_way_to_the_program_does_not_count(make):
    launch = make()
    begun = time.monotonic()
    run(launch, "sleep", "0.2")
    assert 0.2 <= launch.measure.wall < time.monotonic() - begun


def test_the_peak_is_exact_for_one_process_and_shared_out_among_several(make):
    launch = make(**{"spin.py": SPIN})
    run(launch, "true")
    assert 1 << 19 < launch.measure.peak < 6 << 20
    run(launch, "python3", "spin.py", "0", "64")
    small = launch.measure.peak - (64 << 20)
    assert 0 < small < 32 << 20
    run(launch, "sh", "-c", "python3 spin.py 0.6 64 & python3 spin.py 0.6 64; wait")
    assert 128 << 20 < launch.measure.peak < 192 << 20


def test_what_is_cut_off_was_still_measured(make):
    launch = make(**{"spin.py": SPIN})
    with pytest.raises(Ended):
        run(launch, "python3", "spin.py", "60", "32", seconds=1.0)
    assert 0.1 < launch.measure.cpu < 2
    assert launch.measure.peak > 32 << 20
    assert launch.measure.wall > 0.5
