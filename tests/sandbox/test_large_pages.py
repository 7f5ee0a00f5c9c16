"""Large pages for the zygote: what is moved, what is left alone, and that nothing is lost by it."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from agentopt.sandbox import large_pages
from tests.children import in_child

SIZE = 8 << 20


def filled(size: int) -> mmap.mmap:
    """Memory of which ``size`` bytes at the beginning are in use."""
    block = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block[:size] = bytes(range(256)) * (size // 256)
    return block


def in_large_pages() -> int:
    (line,) = (line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("AnonHugePages:"))
    return int(line.split()[1]) << 10


def test_memory_in_use_is_moved_and_keeps_what_is_in_it():
    def moved() -> tuple[int, bool]:
        block = filled(SIZE)
        before = in_large_pages()
        large_pages.collapse()
        return in_large_pages() - before, block[:] == bytes(range(256)) * (SIZE // 256)

    grown, kept = in_child(moved)
    assert kept
    if not grown:
        pytest.skip("this kernel does not move memory on demand")
    assert grown >= SIZE - (4 << 20)  # its ends may lie in large pages with something else


def test_memory_that_is_only_reserved_is_left_alone():
    def size() -> int:
        large_pages.collapse()  # what the tests before left in this process
        block = filled(SIZE // 4)
        taken = resident()
        large_pages.collapse()
        grown = resident() - taken
        block.close()
        return grown

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    assert in_child(size) < SIZE // 2


def test_without_a_list_of_what_there_is_nothing_happens(monkeypatch):
    def refuse(path: Path) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert list(large_pages._filled()) == []
    large_pages.collapse()
