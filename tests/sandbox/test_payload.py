"""What enters the box, and what is kept out of it."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from agentopt.core.errors import TaskError
from agentopt.core.task import Case, Task
from agentopt.sandbox.payload import box_files, box_path, pickle_for_box, pickle_for_scorer, trusted_path

SECRET = "the expected answer is 42"
CASES = [Case("a", None, SECRET)]
FACTOR = 3
TASK = Task("global")


def helper(x):
    return x * FACTOR


def make(run, **settings) -> Task:
    task = Task("t", **settings)
    task.run(run)
    return task


def test_a_function_takes_the_globals_it_names_and_no_others():
    data = pickle_for_box(make(lambda program, input: helper(input)))
    assert SECRET.encode() not in data
    run, evaluate, warm = pickle.loads(data)
    assert run(None, 2) == 6
    assert evaluate is warm is None


def test_functions_travel_by_value():
    run, _, _ = pickle.loads(pickle_for_box(make(helper)))
    assert run is not helper
    assert run(2) == 6


@pytest.mark.parametrize("run", [lambda program, input: CASES[0].input, lambda program, input: TASK.name])
def test_a_function_that_would_bring_the_answers_along_is_refused(run):
    with pytest.raises(TaskError, match="expected answers into the box"):
        pickle_for_box(make(run))


def test_a_function_that_cannot_be_pickled_is_the_tasks_mistake():
    lock = __import__("threading").Lock()
    with pytest.raises(TaskError, match="run cannot be sent to another process: TypeError"):
        pickle_for_box(make(lambda program, input: lock))


def test_the_scorer_gets_its_cases():
    task = make(helper)
    assert pickle.loads(pickle_for_scorer(task, CASES)) == CASES


def test_the_registry_of_modules_by_value_is_left_as_it_was():
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        pickle_for_box(make(helper))
        assert __name__ in cloudpickle.list_registry_pickle_by_value()
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    pickle_for_box(make(helper))
    assert __name__ not in cloudpickle.list_registry_pickle_by_value()


def test_the_box_imports_from_packages_but_not_from_around_the_task(tmp_path, monkeypatch):
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "handy.py").write_text("")
    (tmp_path / "beside.py").write_text("")
    for folder in (tmp_path, tmp_path / "library"):
        monkeypatch.syspath_prepend(str(folder))
    folder = tmp_path / "tasks" / "t"
    folder.mkdir(parents=True)
    task = Task("t", imports=("handy", "numpy.linalg", "beside", "sys", "not_there", "agentopt.core"), folder=folder)
    path = box_path(task)
    assert str(tmp_path / "library") in path
    assert str(Path(np.__file__).parent.parent) in path
    assert str(tmp_path) not in path
    assert os.getcwd() not in path or not folder.is_relative_to(os.getcwd())
    assert len(set(path)) == len(path)


def test_a_trusted_process_imports_like_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/some/library"])
    assert trusted_path(Task("t", folder=tmp_path)) == [str(tmp_path), os.getcwd(), "/some/library"]
    assert trusted_path(Task("t")) == [os.getcwd(), "/some/library"]


def test_box_files_lie_beside_the_task(tmp_path):
    (tmp_path / "table.csv").write_text("1")
    assert box_files(Task("t", box_files=("table.csv",), folder=tmp_path)) == [str(tmp_path / "table.csv")]
    assert box_files(Task("t")) == []
    for name in ("missing.csv", "../outside.csv"):
        (tmp_path.parent / "outside.csv").write_text("1")
        with pytest.raises(TaskError, match=f"box_files names '{name}'"):
            box_files(Task("t", box_files=(name,), folder=tmp_path))
    with pytest.raises(TaskError, match="needs a task that lies in a folder"):
        box_files(Task("t", box_files=("a",)))
