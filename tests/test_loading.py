"""Task files: every way to name a task, every mistake in one sentence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agentopt import Case, Objective, Parameter, Task, load_task
from agentopt.core.errors import TaskError
from agentopt.loading import bundled_root, bundled_tasks, complete, fingerprint, make_cases

TASK = """
from agentopt import Case, Objective, Task
task = Task("toy", "a goal", {"f": "seed.py"}, [Objective("s")], {"train": [Case("a", 1)]})
other = Task("other", "a goal", {"f": 0.5}, [Objective("s")], {"train": [Case("a", 1)]})
@task.run
def run(program, input): return program.f(input)
@task.score
@other.score
def score(case, output, measured): return output
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "seed.py").write_text("def f(x):\n    return x\n")
    return tmp_path


def test_every_way_to_name_a_task(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for spec in (folder, folder / "task.py", str(folder), f"{folder}/task.py:task"):
        task = load_task(spec)
        assert task.resolved["f"].initial.startswith("def f")
        assert task.resolved["f"].kind == "code"
    assert load_task(f"{folder}/task.py:other").seed_values == {"f": 0.5}
    (folder / "my_tasks.py").write_text(TASK)
    monkeypatch.syspath_prepend(str(folder))
    assert load_task("my_tasks:task").folder == folder
    del sys.modules["my_tasks"]
    assert load_task("online_bin_packing").name == "online_bin_packing"
    assert load_task("online_bin_packing/or3").folder == bundled_root("tasks") / "online_bin_packing"
    assert {"online_bin_packing", "tsp_constructive", "circle_packing"} <= set(bundled_tasks())


def test_helpers_beside_the_task_can_be_imported(folder: Path):
    (folder / "beside_helper.py").write_text("SIZE = 7\n")
    (folder / "task.py").write_text("from beside_helper import SIZE\n" + TASK.replace('Case("a", 1)', 'Case("a", SIZE)'))
    assert make_cases(load_task(folder))["train"][0].input == 7
    assert str(folder) not in sys.path
    del sys.modules["beside_helper"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_like_this", r"task.py: the task file cannot be imported: ModuleNotFoundError"),
        ("1 +", r"task.py: the task file cannot be imported: SyntaxError"),
        ("1 / 0", r"(?s)ZeroDivisionError.*line 1"),
        ("x = 1", r"there is no 'task' in it; write task = agentopt.Task"),
        ("task = 3", r"task is a int; it must be an agentopt.Task"),
        (TASK.replace("@task.run", "").replace("@task.score", ""), r"neither run nor score"),
        (TASK.replace("@task.score", ""), r"has run but no score"),
        (TASK.replace('"seed.py"', '"sead.py"'), r"names 'sead.py', which is not beside the task"),
        (TASK.replace('"seed.py"', "None"), r"parameter 'f' is a NoneType; give a file name"),
        (TASK.replace('{"f": "seed.py"}', "[1]"), r"parameters is a list"),
        (TASK.replace('{"f": "seed.py"}', "{}"), r"no parameters"),
        (TASK.replace('[Objective("s")]', "[]"), r"no objectives"),
        (TASK.replace('[Case("a", 1)]})', '[Case("a", 1)]}, box_files=["data.csv"])'), r"box_files names 'data.csv'"),
    ],
)
def test_mistakes_in_a_task_file(folder: Path, text: str, message: str):
    (folder / "task.py").write_text(text)
    with pytest.raises(TaskError, match=message):
        load_task(folder)


def test_names_that_lead_nowhere(tmp_path: Path):
    with pytest.raises(TaskError, match=r"no such file, folder or bundled task; the bundled tasks are .*circle_packing"):
        load_task("nothing_here")
    with pytest.raises(TaskError, match=r"the folder has no task.py"):
        load_task(tmp_path)
    (tmp_path / "notes.rst").write_text("x")
    with pytest.raises(TaskError, match=r"notes.rst: not a Python file"):
        load_task(tmp_path / "notes.rst")
    with pytest.raises(TaskError, match=r"no_such_module:task: the module cannot be imported"):
        load_task("no_such_module:task")


def test_what_a_parameter_may_be(tmp_path: Path):
    (tmp_path / "prompt.md").write_text("Answer {q}")
    (tmp_path / "options.json").write_text('{"depth": 3}')
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")

    def resolved(value: object, name: str = "p") -> Parameter:
        task = Task("t", parameters={name: value}, objectives=[Objective("s")], cases={"train": [Case("a", 1)]}, folder=tmp_path)
        task.score(lambda case, output, measured: 0.0)
        return complete(complete(task)).resolved[name]

    assert resolved("prompt.md").kind == "prompt"
    assert resolved("prompt.md").initial == "Answer {q}"
    assert resolved("options.json").initial == {"depth": 3}
    assert resolved({"depth": 3}).kind == "config"
    assert resolved(True).kind == resolved(0.5).kind == "value"
    assert resolved("def p(): pass").kind == "code"
    assert resolved("Answer briefly: {q}").kind == "prompt"
    assert resolved("Say hello\nto them").kind == "prompt"
    assert resolved("").kind == "prompt"
    assert resolved(Parameter("other", "prompt", "prompt.md")).initial == "Answer {q}"
    assert resolved(Parameter("other", "code", "x = 1", entry=None)).entry is None
    assert resolved(Parameter("other", "code", "x = 1")).entry == "p"
    assert resolved(Parameter("other", "code", "x = 1", entry="main")).entry == "main"
    with pytest.raises(TaskError, match=r"binary.txt: cannot be read as UTF-8"):
        resolved("binary.txt")


def test_cases_that_fail_or_are_missing(folder: Path):
    (folder / "task.py").write_text(TASK.replace('{"train": [Case("a", 1)]}', "lambda split, rng: [][1]"))
    with pytest.raises(TaskError, match=r"cases function failed: IndexError"):
        make_cases(load_task(folder))
    (folder / "task.py").write_text(TASK.replace('[Case("a", 1)]', "[]"))
    with pytest.raises(TaskError, match=r"no train case"):
        make_cases(load_task(folder))


def test_the_fingerprint_changes_with_what_matters(folder: Path):
    task = load_task(folder)
    before = fingerprint(task, make_cases(task))
    assert before == fingerprint(load_task(folder), make_cases(task))
    (folder / "seed.py").write_text("def f(x):\n    return x + 1\n")
    assert fingerprint(load_task(folder), make_cases(task)) != before
    (folder / "seed.py").write_text("def f(x):\n    return x\n")
    (folder / "task.py").write_text(TASK.replace("return output", "return output + 1"))
    assert fingerprint(load_task(folder), make_cases(task)) != before
    built = [replace(task, command=["./f"], build=build) for build in ([], ["cc", "f.c"])]
    assert len({before, *(fingerprint(each, make_cases(each)) for each in built)}) == 3
    (name, parameter), *_ = task.resolved.items()
    kept = [replace(parameter, constraint="short"), replace(parameter, project=str.strip), replace(parameter, project=str.lower)]
    ruled = [replace(task, parameters={name: each}) for each in kept]
    assert len({before, *(fingerprint(each, make_cases(each)) for each in ruled)}) == 3  # of a projection only that there is one
    for changed in (Case("a", 2), Case("a", 1, expected={3}), Case("b", 1)):
        assert fingerprint(task, {"train": (changed,)}) != before
