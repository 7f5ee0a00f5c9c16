"""The folder that a box works in: used again only if nobody touched it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentopt.sandbox.probe import look_at
from agentopt.sandbox.scratch import Scratch
from agentopt.sandbox.walls import Walls
from tests.children import in_child

needs_namespaces = pytest.mark.skipif(bool(look_at().without_namespaces), reason="this machine gives no namespaces")
SIZE = 1 << 20


def walls(namespaces: bool) -> Walls:
    return Walls({"level": "L2" if namespaces else "L1", "namespaces": namespaces, "uid": None, "readable": []})


def paths(folder: Path, *deeds, bounded: bool = True, files: tuple[str, ...] = ()) -> list[tuple[str, list[str]]]:
    """The folder that each deed finds, and what lay in it before."""
    made = walls(bounded)
    made.move()
    scratch = Scratch(folder, made)
    found = []
    for deed in deeds:
        path = scratch.open(SIZE, files)
        found.append((path, sorted(os.listdir(path))))
        deed(Path(path))
        scratch.clear()
    scratch.close()
    scratch.close()
    assert os.listdir(folder) == []
    return found


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def nothing(folder: Path) -> None: ...


def file(folder: Path) -> None:
    (folder / "x").write_text("x")


def file_for_a_moment(folder: Path) -> None:
    file(folder)
    (folder / "x").unlink()


def folders(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)


def another_mode(folder: Path) -> None:
    folder.chmod(0o500)


@needs_namespaces
def test_an_untouched_file_system_is_used_again(place):
    found = in_child(lambda: paths(place, nothing, nothing, nothing), walled=False)
    assert found == [found[0]] * 3
    assert found[0][1] == []


@needs_namespaces
@pytest.mark.parametrize("deed", [file, file_for_a_moment, folders, another_mode])
def test_a_touched_one_is_not(place, deed):
    first, second, third = in_child(lambda: paths(place, deed, nothing, nothing), walled=False)
    assert first[0] != second[0] == third[0]
    assert first[1] == second[1] == third[1] == []


def test_a_folder_without_bounds_is_never_used_again(place):
    found = paths(place, nothing, file, nothing, bounded=False)
    assert len({path for path, _ in found}) == 3
    assert [names for _, names in found] == [[]] * 3


@needs_namespaces
def test_the_tasks_files_lie_in_it_as_they_were(tmp_path, place):
    source = tmp_path / "table.txt"
    source.write_text("1")

    def spoil(folder: Path) -> None:
        assert (folder / "table.txt").read_text() == "1"
        (folder / "table.txt").write_text("2")

    found = in_child(lambda: paths(place, spoil, spoil, files=(str(source),)), walled=False)
    assert [names for _, names in found] == [["table.txt"]] * 2


@needs_namespaces
def test_another_size_is_another_file_system(place):
    def sizes() -> list[int]:
        made = walls(True)
        made.move()
        scratch = Scratch(place, made)
        found = []
        for size in (SIZE, 2 * SIZE):
            held = os.statvfs(scratch.open(size, ()))
            found.append(held.f_blocks * held.f_frsize)
            scratch.clear()
        scratch.close()
        return found

    assert in_child(sizes, walled=False) == [SIZE, 2 * SIZE]


@needs_namespaces
def test_one_that_has_gone_is_made_anew(place):
    def gone(folder: Path) -> None:
        made = walls(True)
        made.clear(str(folder))
        folder.rmdir()

    first, second = in_child(lambda: paths(place, gone, nothing), walled=False)
    assert first != second
