"""score and check outside of a run."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from agentopt import Case, Objective, Task, load_task
from agentopt.core.errors import ConfigError, TaskError
from agentopt.inspection import check_task, read_candidate, score_candidate
from agentopt.loading import complete
from agentopt.sandbox import levels
from tests.toys import SEED, TASK_FILE, number_task, write_task


def verdicts(task: Task) -> dict[str, str]:
    return {finding.what: finding.verdict for finding in check_task(task)}


def test_scoring_a_file_on_a_split(tmp_path: Path):
    task = load_task(write_task(tmp_path / "line"))
    better = tmp_path / "better.py"
    better.write_text("def f(x):\n    return 3.0 * x\n")
    values = read_candidate(task, better)
    found = score_candidate(task, values, "test")
    assert found.scores["error"] == pytest.approx(0.0)
    assert found.to_json()["cases"] == {f"test-{k}": {"error": pytest.approx(0.0)} for k in range(3)}
    assert levels.level_of(found.sandbox) in levels.LEVELS[1:]
    assert score_candidate(task, task.seed_values, "train").scores["error"] > 1
    better.write_text("def f(x):\n    raise ValueError('no')\n")
    broken = score_candidate(task, read_candidate(task, better), "validation")
    assert broken.failure is not None
    assert broken.failure.kind == "crash"
    assert broken.to_json()["failure"]["kind"] == "crash"
    with pytest.raises(ConfigError, match="--split holdout: the task has no such split; it has train, validation, test"):
        score_candidate(task, values, "holdout")


def test_reading_candidates(tmp_path: Path):
    two = complete(number_task(parameters={"x": 1.0, "f": SEED}))
    (tmp_path / "x.json").write_text("2.5")
    (tmp_path / "f.py").write_text("def f(x): return x")
    assert read_candidate(two, tmp_path) == {"x": 2.5, "f": "def f(x): return x"}
    with pytest.raises(ConfigError, match=r"2 trainable parameters; give a folder with x.json, f.py"):
        read_candidate(two, tmp_path / "f.py")
    one = complete(number_task())
    (tmp_path / "x.json").write_text("not json")
    with pytest.raises(ConfigError, match=r"x.json: cannot be read as the parameter 'x'"):
        read_candidate(one, tmp_path / "x.json")


def test_check_praises_a_good_task(tmp_path: Path):
    found = verdicts(load_task(write_task(tmp_path / "line")))
    assert found["cases"] == "ok"
    assert found["only 3 test cases"] == "note"
    assert found["the order of cases does not matter"] == "ok"
    assert found["no canary was found from inside a box"] == "ok"
    assert "wrong" not in found.values()


def test_check_finds_a_failing_seed_first(tmp_path: Path):
    task = load_task(write_task(tmp_path / "line", seed="def f(x):\n    return x / 0\n"))
    first = check_task(task)[0]
    assert (first.verdict, first.what) == ("wrong", "the seed fails (crash)")
    assert "ZeroDivisionError" in first.detail


def test_check_finds_noise_and_the_order_of_cases(tmp_path: Path):
    leaky = "calls = []\ndef f(x):\n    calls.append(x)\n    return float(len(calls))\n"
    found = verdicts(load_task(write_task(tmp_path / "leaky", seed=leaky)))
    assert found["the order of cases matters"] == "note"
    noisy = TASK_FILE.replace("return Score(error=", "import os\n    return Score(error=os.urandom(1)[0] + ")
    findings = check_task(load_task(write_task(tmp_path / "noisy", noisy)))
    assert any("three scores of the seed differ" in finding.detail and finding.verdict == "note" for finding in findings)


def test_check_says_what_is_missing(tmp_path: Path):
    slow = number_task(goal="", cases={"train": [Case("a", 0)]})
    found = verdicts(complete(slow))
    assert {"no goal", "no held-out split", "no code runs in a box"} <= set(found)
    self_reported = Task("self", "goal", {"f": SEED}, [Objective("s")])
    self_reported.evaluate(lambda program: {"s": program.f(1.0)})
    assert verdicts(complete(self_reported))["self-reported"] == "note"
    text = TASK_FILE.replace("cases=", 'limits=__import__("agentopt").Limits(seconds=0.5), cases=')
    sleepy = load_task(write_task(tmp_path / "slow", text, seed="import time\ndef f(x):\n    time.sleep(0.15)\n    return x\n"))
    assert any("slower candidates will time out" in finding.detail for finding in check_task(sleepy))


def test_check_finds_a_canary_that_leaks(tmp_path: Path):
    """As if an answer had found its way into what run brings along."""
    leaking = TASK_FILE.replace("@task.run", 'KEPT = "agentopt" + "-canary-" + "0" * 32\n\n@task.run').replace(
        "return [program.f(x)", "len(KEPT)\n    return [program.f(x)"
    )
    first = check_task(load_task(write_task(tmp_path / "line", leaking)))[0]
    assert (first.verdict, first.what) == ("wrong", "the box can reach a canary")
    assert "-canary-000" in first.detail
    assert "searched at level L" in first.detail


def test_check_says_what_it_searched_and_leaves_nothing_behind(tmp_path: Path):
    folder = write_task(tmp_path / "line").parent
    (found,) = (finding for finding in check_task(load_task(folder)) if "canary" in finding.what)
    assert "MB of its own memory, its environment, 0 files of 2 folders, the memory of 0 of" in found.detail
    assert (
        "the answer of a case, the input of another case, the answer of another case, a file beside the task, the environ" in found.detail
    )
    assert [path.name for path in folder.iterdir() if path.name.startswith(".agentopt")] == []
    assert "AGENTOPT_CHECK" not in os.environ


def test_check_finds_a_file_that_a_box_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write_task(tmp_path / "line").parent
    readable = levels.readable_paths
    monkeypatch.setattr(levels, "readable_paths", lambda task: [*readable(task), str(folder)])
    first = check_task(load_task(folder))[0]
    assert (first.verdict, first.what) == ("wrong", "the box can reach a canary")
    assert first.detail.startswith(f"a file beside the task in {folder}")


def test_check_says_what_a_weak_level_does_not_hide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    machine = replace(levels.look_at(), without_landlock="not here")
    monkeypatch.setattr(levels, "look_at", lambda: machine)
    (found,) = (finding for finding in check_task(load_task(write_task(tmp_path / "line"))) if "searched at level L1" in finding.detail)
    assert (found.verdict, found.what) == ("note", "level L1 does not hide your files and processes from a box")
    assert "a file beside the task in" in found.detail


def test_check_does_without_a_file_where_it_cannot_write_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    task = load_task(write_task(tmp_path / "line"))

    def refuse(path: Path, text: str) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    (found,) = (finding for finding in check_task(task) if "canary" in finding.what)
    assert found.verdict == "ok"
    assert "a file beside the task" not in found.detail


def test_check_says_when_the_search_cannot_work(tmp_path: Path):
    ending = TASK_FILE.replace("return [program.f(x)", "import os\n    if input != [0.1, 1.0]: os._exit(0)\n    return [program.f(x)")
    quick = ending.replace("[0.5 * k + 0.1, 1.0]", "[0.1, 1.0]")
    found = verdicts(load_task(write_task(tmp_path / "quick", quick)))
    assert found["no canary was found from inside a box"] == "ok"
    always = TASK_FILE.replace("return [program.f(x)", "import os\n    os._exit(0)\n    return [program.f(x)")
    found = verdicts(load_task(write_task(tmp_path / "always", always)))
    assert found["the search for canaries could not work"] == "note"


def test_a_run_function_that_names_the_cases_is_refused(tmp_path: Path):
    leaking = TASK_FILE.replace("return [program.f(x)", "task.cases\n    return [program.f(x)")
    with pytest.raises(TaskError, match="would bring expected answers into the box"):
        check_task(load_task(write_task(tmp_path / "line", leaking)))


@pytest.mark.usefixtures("level_3")
def test_check_tries_whole_programs_and_says_where_seconds_can_hide():
    from tests.hostile.programs import make_task

    timed = [Objective("seconds", "min", source="outside", quantity="cpu")]
    task = make_task("python", objectives=timed)
    task.functions["score"] = lambda case, output, measured: {}
    found = verdicts(task)
    assert found["every run is a program of its own"] == "ok"
    assert found["CPU seconds (seconds) can be hidden"] == "note"
    assert "the order of cases matters" not in found
    alone = make_task("python", objectives=timed, needs=("no_processes",))
    alone.functions["score"] = lambda case, output, measured: {}
    assert "CPU seconds (seconds) can be hidden" not in verdicts(alone)
