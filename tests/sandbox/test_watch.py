"""What is counted now and then because no limit of the kernel bounds it."""

from __future__ import annotations

import os
import threading

import pytest

from agentopt.sandbox import watch
from agentopt.sandbox.watch import Watch, disk_use

KB = 1 << 10
ENTRY = 16 * KB


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def test_each_entry_counts_for_16_kib_at_least(folder):
    (folder / "a").touch()
    (folder / "b").mkdir()
    (folder / "b" / "c").touch()
    assert disk_use(str(folder), 1 << 30) == 3 * ENTRY
    (folder / "large").write_bytes(os.urandom(1 << 20))
    assert 0 <= disk_use(str(folder), 1 << 30) - 3 * ENTRY - (1 << 20) < 64 * KB


def test_counting_ends_when_it_is_enough(folder, monkeypatch):
    for k in range(100):
        (folder / str(k)).touch()
        (folder / f"f{k}").mkdir()
    scanned = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(path) or scan(path))
    assert disk_use(str(folder), 10 * ENTRY) > 10 * ENTRY
    assert scanned == [str(folder)]


def test_what_lies_too_deep_or_cannot_be_looked_into_is_too_much(folder, monkeypatch):
    place = folder
    for _ in range(63):
        place = place / "d"
    place.mkdir(parents=True)
    assert disk_use(str(folder), 1 << 30) == 63 * ENTRY
    (place / "d" / "d" / "d").mkdir(parents=True)
    assert disk_use(str(folder), 1 << 30) == (1 << 30) + 1

    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    assert disk_use(str(folder), 1 << 30) == (1 << 30) + 1


def test_what_goes_away_meanwhile_is_passed_over(folder, monkeypatch):
    (folder / "gone").mkdir()
    (folder / "a").touch()
    scan = os.scandir

    def vanishing(path):
        if path.endswith("gone"):
            raise FileNotFoundError
        return scan(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert disk_use(str(folder), 1 << 30) == 2 * ENTRY
    assert disk_use(str(folder / "none"), 1 << 30) == 0


@pytest.fixture
def clock(monkeypatch):
    """Time that goes on when it is told to."""
    now = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    return now


def test_a_folder_that_takes_too_much(folder, clock):
    seen = Watch(os.getpid(), str(folder), 4 * ENTRY)
    assert seen.look() == ""
    for k in range(5):
        (folder / str(k)).touch()
    assert seen.look() == "", "the last look was a moment ago"
    assert seen.look(at_once=True) == f"its files take more than limits.scratch_mb: {4 * ENTRY} bytes"
    clock[0] += 1
    assert seen.look() != ""


def test_a_folder_that_the_kernel_bounds_is_not_looked_into(folder, clock):
    seen = Watch(os.getpid())
    assert seen.look() == ""
    assert seen.look(at_once=True) == ""


def test_files_without_a_name_count(folder, clock):
    seen = Watch(os.getpid(), str(folder), 1 << 20)
    with open(folder / "a", "wb") as file:
        (folder / "a").unlink()
        file.write(os.urandom(2 << 20))
        file.flush()
        assert seen.look().startswith("its files take more")
    clock[0] += 1
    assert seen.look() == ""


def test_too_many_threads(monkeypatch, clock):
    monkeypatch.setattr(watch, "_THREADS", 8)
    seen = Watch(os.getpid())
    assert seen.look() == ""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    try:
        clock[0] += 1
        assert seen.look() == "it started more than 8 threads"
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert Watch(1 << 30).look() == "", "a process that is gone has no threads"
