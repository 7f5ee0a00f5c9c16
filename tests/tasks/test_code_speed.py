"""The code_speed task: an independent judge, the seed, and the figures of the README."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentopt import Reject, Task, load_task
from agentopt.core.evaluation import Measured
from agentopt.core.task import Case, Parameter
from agentopt.inspection import check_task, score_candidate
from tests.tasks import bundled

FILE = "code_speed/task.py"
FOLDER = bundled.TASKS / "code_speed"
SOURCES = ("solve.cpp", "known/bit_parallel.cpp")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task(FOLDER / "task.py")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built here, without any box."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ to build with")
    folder = tmp_path_factory.mktemp("built")
    made = {source: folder / str(k) for k, source in enumerate(SOURCES)}
    for source, program in made.items():
        subprocess.run(["g++", "-O2", "-std=c++17", "-Wall", "-Werror", "-o", program, FOLDER / source], check=True)
    return made


def distance(a: str, b: str) -> int:
    """Once more, and as plainly as can be."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b[1:]) + (a[0] != b[0]), distance(a[1:], b) + 1, distance(a, b[1:]) + 1)


def small(seed: int, words: int = 12, queries: int = 5) -> str:
    """A dictionary of very short words, so that there are ties."""
    rng = Random(seed)
    found = sorted({"".join(rng.choice("abc") for _ in range(rng.randrange(1, 5))) for _ in range(4 * words)})
    rng.shuffle(found)
    found = found[:words]
    asked = ["".join(rng.choice("abcd") for _ in range(rng.randrange(1, 6))) for _ in range(queries)]
    return "\n".join([f"{len(found)} {queries}", *found, *asked]) + "\n"


def score(task: Task, text: str, output: Any) -> Any:
    return task.functions["score"](Case("a", text), output, Measured(cpu=0.5, peak_bytes=4 << 20))


def test_the_task_is_complete(task: Task) -> None:
    task.check()
    assert task.goal
    assert task.budget
    assert task.needs == ("no_processes",)
    assert [(o.name, o.direction, o.source, o.quantity) for o in task.objectives] == [("seconds", "min", "outside", "cpu")]


def test_cases_are_the_same_every_time_and_all_different(task: Task) -> None:
    first, again = task.make_cases(), task.make_cases()
    assert first == again
    assert {split: len(members) for split, members in first.items()} == {"train": 3, "validation": 3, "test": 5}
    inputs = [case.input for members in first.values() for case in members]
    assert len(set(inputs)) == len(inputs)
    assert all(case.expected is None for members in first.values() for case in members)
    for text in inputs:
        words, queries = map(int, text.split(maxsplit=2)[:2])
        rest = text.split()[2:]
        assert len(rest) == words + queries
        assert len(set(rest[:words])) == words
        assert all(re.fullmatch("[a-z]{1,40}", word) for word in rest)


@pytest.mark.parametrize("seed", range(20))
def test_the_judge_knows_the_right_lines(task: Task, programs: dict[str, Path], seed: int) -> None:
    text = small(seed)
    count, queries, *rest = text.split()
    words, lines = rest[: int(count)], []
    for query in rest[int(count) :]:
        distances = [distance(query, word) for word in words]
        lines.append(f"{min(distances)} {distances.count(min(distances))} {distances.index(min(distances))}")
    assert len(lines) == int(queries)
    right = "\n".join(lines) + "\n"
    assert score(task, text, right).feedback.startswith("right; ")
    for program in programs.values():
        assert subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout == right


def test_wrong_answers_are_rejected_with_a_sentence(task: Task, programs: dict[str, Path]) -> None:
    text = small(3)
    right = subprocess.run([programs["solve.cpp"]], input=text, capture_output=True, text=True, check=True).stdout
    lines = right.splitlines()
    score(task, text, " \n".join(lines) + "\n\n")
    changed = [*lines[:2], "0" + lines[2], *lines[3:]]
    with pytest.raises(Reject, match=rf"1 of 5 lines are wrong, the first of them line 3: '{changed[2]}'"):
        score(task, text, "\n".join(changed))
    for output in ("", "\n".join(lines[:-1]), right + "0 1 0\n", None, 3, ["a"], b"bytes", float("nan")):
        with pytest.raises(Reject, match=r"there are \d lines; it must be 5, one per query"):
            score(task, text, output)
    with pytest.raises(Reject, match="5 of 5 lines are wrong"):
        score(task, text, "\n".join(reversed("abcde")))


@pytest.mark.thorough
@pytest.mark.usefixtures("level_3")
def test_the_seed_and_the_best_known_have_the_figures_of_the_readme(task: Task) -> None:
    readme = (FOLDER / "README.md").read_text()
    measured = {}
    for source, row in zip(SOURCES, ("the seed", "`known/bit_parallel.cpp`"), strict=True):
        found = score_candidate(task, {"solve": (FOLDER / source).read_text()}, "train")
        assert found.failure is None
        assert found.sandbox.startswith("L3/")
        measured[source] = found.scores["seconds"]
        cells = next(line for line in readme.splitlines() if line.startswith(f"| {row} |")).split("|")
        assert float(cells[2]) / 6 < measured[source] < float(cells[2]) * 6
    assert measured["solve.cpp"] > 25 * measured["known/bit_parallel.cpp"]


@pytest.mark.thorough
@pytest.mark.usefixtures("level_3")
def test_the_look_before_a_run_finds_nothing_wrong(task: Task) -> None:
    fast = Parameter("solve", "code", (FOLDER / SOURCES[1]).read_text(), language="cpp")
    assert {finding.verdict for finding in check_task(replace(task, parameters={"solve": fast}))} == {"ok"}
