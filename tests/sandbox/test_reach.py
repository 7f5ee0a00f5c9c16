"""What a box may read, in made-up trees and in this machine's own."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from agentopt.sandbox import landlock, reach
from agentopt.sandbox.reach import readable_paths, seen_places, without
from tests.boxes import make_task
from tests.children import in_child


def make(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return root


def covers(paths: list[str], path: Path | str) -> bool:
    return any(Path(path).is_relative_to(other) for other in paths)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of which we know all files: a Python, its packages with agentopt among them, and a working folder with runs."""
    root = make(
        tmp_path,
        *("usr/lib/libc.so", "usr/share/words", "usr/src/app/runs/run.db", "usr/src/app/tasks/other/task.py"),
        *("python/bin/python", "python/lib/os.py", "python/lib/site-packages/numpy/__init__.py", "python/lib/site-packages/handy.py"),
        *("python/lib/site-packages/agentopt/core/task.py", "python/lib/site-packages/agentopt/_bundled/tasks/line/task.py"),
        *("python/lib/site-packages/agentopt/_bundled/tasks/other/task.py", "work/notes"),
    )
    packages = root / "python" / "lib" / "site-packages"
    monkeypatch.setattr(reach, "_PACKAGE", packages / "agentopt")
    monkeypatch.setattr(reach, "_SYSTEM", (str(root / "usr"), str(root / "not" / "there")))
    for files in ("_SETTINGS", "_DEVICES", "_MACHINE"):
        monkeypatch.setattr(reach, files, ())
    for name in ("prefix", "base_prefix", "exec_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, str(root / "python"))
    monkeypatch.setattr(sys, "path", [str(root / "work"), str(packages)])
    monkeypatch.setattr(reach, "find_spec", lambda name: None)
    monkeypatch.chdir(root / "work")
    return root


def read(task, root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in readable_paths(task)]


def test_libraries_and_packages_are_read_but_no_bundled_task(machine):
    expected = ["python/bin", "python/lib/os.py", "python/lib/site-packages/agentopt/core", "python/lib/site-packages/handy.py"]
    assert read(make_task(), machine) == [*expected, "python/lib/site-packages/numpy", "usr"]


@pytest.mark.parametrize("name", ["line", "other"])
def test_a_bundled_task_is_not_read_by_itself_nor_by_others(machine, name):
    folder = machine / "python/lib/site-packages/agentopt/_bundled/tasks" / name
    assert read(make_task(folder=folder), machine) == read(make_task(), machine)


def test_a_task_inside_the_environment_is_cut_out(machine):
    make(machine, "python/share/tasks/mine/task.py", "python/share/tasks/mine/answers.csv", "python/share/doc")
    found = read(make_task(folder=machine / "python" / "share" / "tasks" / "mine"), machine)
    assert "python/share/doc" in found
    assert not covers(found, "python/share/tasks/mine/answers.csv")


def test_a_task_folder_that_contains_the_environment_is_not_read_but_the_environment_is(machine):
    make(machine, "task.py", "answers.csv")
    found = read(make_task(folder=machine), machine)
    assert covers(found, "python/bin/python")
    assert covers(found, "python/lib/site-packages/numpy")
    for name in ("task.py", "answers.csv", "work/notes", "python/lib/site-packages/agentopt/_bundled"):
        assert not covers(found, name)


def test_a_task_folder_that_is_a_link_is_hidden_where_it_really_lies(machine):
    make(machine, "usr/share/mine/task.py")
    (machine / "link").symlink_to(machine / "usr" / "share" / "mine")
    found = read(make_task(folder=machine / "link"), machine)
    assert not covers(found, "usr/share/mine/task.py")
    assert covers(found, "usr/share/words")


def test_links_lead_to_where_things_really_lie(machine, monkeypatch):
    (machine / "environment").symlink_to(machine / "python")
    monkeypatch.setattr(sys, "prefix", str(machine / "environment"))
    assert read(make_task(), machine)[0] == "python/bin"


def test_beside_what_is_hidden_links_are_passed_over(machine):
    """What they point at is read if it may be read where it lies."""
    make(machine, "usr/share/mine/task.py")
    for name, target in (("to-the-task", "usr/share/mine"), ("to-the-notes", "work"), ("to-words", "usr/share/words")):
        (machine / "usr" / "share" / name).symlink_to(machine / target)
    found = read(make_task(folder=machine / "usr" / "share" / "mine"), machine)
    assert found[-3:] == ["usr/lib", "usr/share/words", "usr/src"]


def test_runs_in_the_working_folder_are_not_read(machine, monkeypatch):
    monkeypatch.chdir(machine / "usr" / "src" / "app")
    found = read(make_task(), machine)
    assert found[-2:] == ["usr/lib", "usr/share"]


def test_who_works_in_the_environment_itself_can_still_use_it(machine, monkeypatch):
    monkeypatch.chdir(machine / "python")
    assert covers(read(make_task(), machine), "python/lib/os.py")


def test_what_a_task_imports_is_read_wherever_it_lies(machine, monkeypatch):
    make(machine, "library/package/__init__.py", "library/module.py", "library/private.py", "work/own/__init__.py")
    monkeypatch.setattr(reach, "find_spec", find_spec)
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))
    monkeypatch.setattr(sys, "path", [str(machine / "library"), *sys.path])
    imports = ("package.part", "module", "numpy.linalg", "sys", "not_there", "made_by_hand", "own")
    found = readable_paths(make_task(imports=imports))
    assert covers(found, machine / "library" / "package" / "__init__.py")
    assert covers(found, machine / "library" / "module.py")
    assert covers(found, np.__file__)
    assert not covers(found, machine / "library" / "private.py")
    assert covers(found, machine / "work" / "own" / "__init__.py"), "what is asked for by name is read, also in the working folder"
    assert not covers(found, machine / "work" / "notes")


def test_without():
    assert list(without("/a", [])) == ["/a"]
    assert list(without("/a", ["/b", "/ab", "/"])) == ["/a"]
    assert list(without("/a/b", ["/a"])) == ["/a/b"], "what is asked for inside of something hidden"
    assert list(without("/a", ["/a"])) == []


def test_on_this_machine_nothing_of_the_users_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = make_task(folder=Path(__file__).parents[2] / "tasks" / "online_bin_packing", imports=("numpy",))
    found = readable_paths(task)
    assert len(set(found)) == len(found)
    assert all(os.path.exists(path) for path in found)
    for path in (np.__file__, os.__file__, reach.__file__, "/usr/lib", "/dev/urandom"):
        assert covers(found, os.path.realpath(path)), path
    for path in ("/etc/passwd", os.path.expanduser("~/.ssh"), tmp_path, task.folder, Path(__file__), "/proc/self", "/dev/shm"):
        assert not covers(found, path), path


@pytest.mark.skipif(landlock.abi() < 1, reason="this kernel has no landlock")
def test_what_is_hidden_is_hidden_by_the_kernel_too(machine):
    answers = make(machine, "python/share/mine/answers.csv", "python/share/words") / "python" / "share" / "mine" / "answers.csv"
    paths = readable_paths(make_task(folder=answers.parent))

    def tried() -> list[str]:
        landlock.Rules(paths).apply([])
        found = []
        for path in (answers, answers.parent.parent / "words", machine / "python/lib/site-packages/agentopt/_bundled/tasks/line/task.py"):
            try:
                found.append(path.read_text() or "read")
            except PermissionError:
                found.append("hidden")
        return found

    assert in_child(tried) == ["hidden", "read", "hidden"]


def test_what_programs_see_beside_the_systems(tmp_path):
    real = tmp_path / "real"
    (real / "inner").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(real)
    assert seen_places([str(link), str(real / "inner"), "/usr/lib", str(tmp_path / "gone")]) == [
        (str(real), str(link)),
        (str(real), str(real)),
    ]
    assert seen_places([(str(real), "/data")]) == [(str(real), "/data")]
