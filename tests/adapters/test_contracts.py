"""Every feature of the contracts, on folders made for that, without a box."""

from __future__ import annotations

import math
import os
import shutil

import pytest

from agentopt.loading import load_task
from tests.adapters.judging import FOLDERS, folder, judge

STAGES = {1: (0.2, 1), 2: (0.7, 2), 3: (1.5, 3)}


class TestEvaluate:
    def test_the_seed_with_data_beside_and_above(self, tmp_path):
        found = judge(folder("points"), tmp_path)
        assert found.score.scores == {"combined_score": 1 / (1 + 1 + 1.5 + 4)}
        assert "error_sum 6.5, first 0" in found.score.feedback
        assert "printed, and no result" in found.words
        assert not (FOLDERS / "points" / "trace.txt").exists()
        assert (tmp_path / "work" / "folders" / "points" / "trace.txt").exists()

    def test_a_better_candidate_scores_more(self, tmp_path):
        task = folder("points")
        found = judge(task, tmp_path, initial_program=task.seed_values["initial_program"].replace("step * k", "k + 1.0"))
        assert found.score.scores == {"combined_score": 1.0}

    def test_a_candidate_that_raises_fails_with_its_traceback(self, tmp_path):
        found = judge(folder("points"), tmp_path, initial_program="def run():\n    return 1 / 0\n")
        assert found.status == 1
        assert "ZeroDivisionError" in found.words
        assert "adapters/inside" not in found.words
        assert "without a result" in found.rejected

    def test_a_candidate_that_ends_the_process_gives_no_result(self, tmp_path):
        found = judge(folder("mean"), tmp_path, initial_program="stop")
        assert (found.status, found.score) == (0, None)
        assert "ended without a result" in found.rejected

    def test_one_that_exits_in_good_order_neither(self, tmp_path):
        found = judge(folder("points"), tmp_path, initial_program="import sys\nsys.exit(0)\n")
        assert found.status == 1
        assert "ended itself with status 0" in found.words

    @pytest.mark.parametrize(("level", "score", "stage"), [(level, *both) for level, both in STAGES.items()])
    def test_stages_go_on_as_far_as_the_thresholds_are_reached(self, tmp_path, level, score, stage):
        found = judge(folder("stages"), tmp_path, initial_program=f"LEVEL = {level}\n").score
        assert found.scores == {"combined_score": score}
        assert f"stage {stage}" in found.feedback
        assert ("last: bytes" in found.feedback) == (level == 3)

    def test_a_later_stage_that_raises_keeps_the_first(self, tmp_path):
        found = judge(folder("stages"), tmp_path, initial_program="LEVEL = 4\n").score
        assert found.scores == {"combined_score": 0.6}
        assert "the second stage broke" in found.feedback
        assert "stage2_passed 0" in found.feedback

    def test_a_first_stage_that_raises_is_a_failure(self, tmp_path):
        found = judge(folder("stages"), tmp_path, initial_program="LEVEL = 5\n")
        assert found.status == 1
        assert "level 5 is broken" in found.words

    def test_texts_are_cut(self, tmp_path):
        found = judge(folder("stages"), tmp_path, initial_program="LEVEL = 3\n").score
        assert "[...]" in found.feedback
        assert len(found.feedback) < 5000

    def test_without_a_combined_score_it_is_the_mean_of_the_numbers(self, tmp_path):
        found = judge(folder("mean"), tmp_path).score
        assert found.scores == {"combined_score": (3 + 5) / 2}
        assert found.measures == {"letters": 0.25}
        assert "good True" in found.feedback
        assert "name: mean" in found.feedback

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ("", "there are no words"),
            ("package", "--python VENV"),
            ("late", "ran out of time"),
            ("wrong", "evaluate gave a str"),
        ],
    )
    def test_what_is_no_score_is_a_reason(self, tmp_path, words, reason):
        assert reason in judge(folder("mean"), tmp_path, initial_program=words).rejected

    def test_a_score_that_is_not_finite_is_left_to_the_judge(self, tmp_path):
        assert judge(folder("mean"), tmp_path, initial_program="endless").score.scores["combined_score"] == math.inf


class TestResultsFolder:
    def test_the_seed(self, tmp_path):
        found = judge(folder("repeats"), tmp_path).score
        assert found.scores["combined_score"] == pytest.approx(2 - math.pi)
        assert "runs 3" in found.feedback
        assert "text_feedback: closer to pi" in found.feedback
        assert "kept to itself" not in found.feedback

    def test_one_that_is_not_correct_fails_with_the_error(self, tmp_path):
        found = judge(folder("repeats"), tmp_path, initial="def guess(seed):\n    return -seed\n")
        assert found.rejected.startswith("Validation failed: -1 is below zero")

    def test_one_that_raises(self, tmp_path):
        assert "boom" in judge(folder("repeats"), tmp_path, initial="def guess(seed):\n    raise ValueError('boom')\n").rejected

    def test_one_without_the_function(self, tmp_path):
        assert "no function 'guess'" in judge(folder("repeats"), tmp_path, initial="x = 1\n").rejected

    def test_one_that_is_not_finite(self, tmp_path):
        assert "combined_score is -inf" in judge(folder("repeats"), tmp_path, initial="def guess(seed):\n    return 1e999\n").rejected

    def test_nothing_written(self, tmp_path):
        place = tmp_path / "place"
        place.mkdir()
        (place / "initial.py").write_text("x = 1\n")
        (place / "evaluate.py").write_text("import sys  # --program_path --results_dir\nsys.exit('no way')\n")
        found = judge(folder(str(place)), tmp_path)
        assert found.rejected == "evaluate.py wrote no correct.json and exited with 1"
        assert "no way" in found.words


class TestPrinted:
    def test_the_seed_comes_from_the_prompts(self, tmp_path):
        task = folder("ours/problems/line")
        assert task.seed_values["gpt"].startswith("import numpy as np\n\ndef slope_v2(")
        found = judge(task, tmp_path)
        assert found.score.scores == {"score": 1 + 4}
        assert "Running" in found.score.feedback
        assert not (FOLDERS / "ours/problems/line/gpt.py").exists()
        assert not (FOLDERS / "ours/problems/line/dataset").exists()

    def test_a_traceback_is_the_reason(self, tmp_path):
        found = judge(folder("ours/problems/line"), tmp_path, gpt="def slope(x):\n    return 1 / 0\n")
        assert found.rejected.startswith("Traceback")
        assert "ZeroDivisionError" in found.rejected

    def test_a_last_line_that_is_no_number(self, tmp_path):
        found = judge(folder("ours/problems/line"), tmp_path, gpt="import sys\nsys.exit(4)\n")
        assert found.rejected.startswith("the last line is to be the score and exited with 4")

    def test_data_made_anew_are_the_same_for_every_candidate(self, tmp_path):
        place = shutil.copytree(FOLDERS / "ours", tmp_path / "ours") / "problems/line"
        made = "import random\nimport numpy\nimport gpt\nvalues = [random.random(), numpy.random.random()]\n"
        (place / "eval.py").write_text(made + "print(sum(values))\n")
        found = [judge(load_task(place), tmp_path / name, gpt=f"x = {name!r}\n").score.scores["score"] for name in ("one", "two")]
        assert found[0] == found[1] != 0


class TestCommand:
    def test_two_objectives_and_a_measure(self, tmp_path):
        found = judge(folder("declared"), tmp_path).score
        assert found.scores == {"distance": 6.0, "size": 12.0}
        assert found.measures == {"value": 4.0}
        assert "hint: go on" in found.feedback

    @pytest.mark.parametrize(
        ("value", "reason"), [(-1, "VALUE is below zero"), (17, "the last line is to be a JSON object"), (13, "without")]
    )
    def test_what_is_no_score_is_a_reason(self, tmp_path, value, reason):
        found = judge(folder("declared"), tmp_path, solver=f"VALUE = {value}\n")
        assert reason in found.rejected
        assert found.status == (3 if value == 13 else 0)

    def test_several_files_take_the_places_of_the_folders_own(self, tmp_path):
        task = folder("several")
        assert list(task.resolved) == ["main", "part"]
        assert judge(task, tmp_path / "a").score.scores == {"score": 2.0}
        assert judge(task, tmp_path / "b", part="PART = 5\n").score.scores == {"score": 6.0}

    def test_a_program_that_is_not_there(self, tmp_path):
        place = tmp_path / "place"
        place.mkdir()
        (place / "agentopt.toml").write_text('command = "no-such-program {program}"\nprogram = "a.txt"\n')
        (place / "a.txt").write_text("a")
        assert "no-such-program cannot be started" in judge(folder(str(place)), tmp_path).rejected


def test_a_package_that_is_missing_is_named_before_the_evaluator_begins(tmp_path):
    found = judge(folder("points"), tmp_path, initial_program="import no_such_package\n")
    assert "the package 'no_such_package' is missing in" in found.words
    assert "--python VENV" in found.words


def test_what_stands_in_says_that_it_does(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "initial_program.py").write_text("x = 1\n")
    (place / "evaluator.py").write_text("from openevolve.llm import Model\n\n\ndef evaluate(path):\n    return {}\n")
    found = judge(folder(str(place)), tmp_path)
    assert "the package 'openevolve' is missing" in found.words
    (place / "evaluator.py").write_text("import skydiscover\n\n\ndef evaluate(path):\n    return skydiscover.run()\n")
    assert "skydiscover is not installed here" in judge(folder(str(place)), tmp_path / "again").words


def test_large_files_and_links_are_linked(tmp_path):
    place = tmp_path / "place"
    (place / "__pycache__").mkdir(parents=True)
    (place / "initial_program.py").write_text("x = 1\n")
    (place / "large.bin").write_bytes(bytes(2 << 20))
    os.symlink(place / "large.bin", place / "link.bin")
    text = "import os\n\n\ndef evaluate(path):\n    return {'size': sum(os.path.getsize(f) for f in ('large.bin', 'link.bin'))}\n"
    (place / "evaluator.py").write_text(text)
    assert judge(folder(str(place)), tmp_path).score.scores == {"combined_score": 4 << 20}
    copied = {path.name: path.is_symlink() for path in (tmp_path / "work" / "place").iterdir()}
    assert copied == {"initial_program.py": False, "evaluator.py": False, "large.bin": True, "link.bin": True}
