"""What is read of a folder: program, goal, limits, budget, models, and what is said of the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import agentopt
from agentopt import loading
from agentopt.adapters.above import beside, entries, levels_above, linked
from agentopt.adapters.config import seconds_of
from agentopt.assembly import adjust
from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.regions import open_spans
from agentopt.settings import validate
from tests.adapters.judging import FOLDERS, folder


def write(place: Path, **files: str) -> Path:
    """``a__b_py`` stands for ``a/b.py``."""
    for name, text in files.items():
        path = place / (name.replace("__", "/")[::-1].replace("_", ".", 1)[::-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


EVALUATOR = "def evaluate(path):\n    return {'combined_score': 1.0}\n"


class TestSettings:
    def test_of_a_config(self):
        task = folder("points")
        assert (task.name, task.goal, task.budget) == ("points", "Guess three numbers.", "21evals")
        assert task.limits.seconds == 30
        assert task.self_reported
        models, ignored = task.notes
        assert models.endswith("--model openai:some-model@0.8,openai:other-model@0.2 --base-url http://127.0.0.1:9/v1")
        rest = "llm (temperature), database (num_islands), evaluator (parallel_evaluations)"
        assert ignored == f"config.yaml: without a meaning here, and so ignored: {rest}"

    def test_stages_share_the_time(self):
        task = folder("stages")
        assert (task.limits.seconds, task.limits.memory_mb) == (30, 2048)

    def test_dimensions_that_the_evaluator_reports_are_measures(self):
        task = folder("mean")
        assert [(m.name, m.low, m.high, m.bins) for m in task.measures] == [("letters", 0.0, 1.0, 5)]
        assert task.resolved["initial_program"].kind == "prompt"

    def test_of_two_models_by_their_old_names(self, tmp_path):
        text = "llm:\n  primary_model: a\n  primary_model_weight: 0.5\n  secondary_model: b\n  api_base: https://api.openai.com/v1\n"
        place = write(tmp_path / "f", initial_program_py="x = 1\n", evaluator_py=EVALUATOR, config_one_yaml=text)
        assert loading.load_task(place).notes[0].endswith("--model openai:a@0.5,openai:b")

    def test_of_shinka_in_python_and_yaml(self):
        task = folder("repeats")
        assert (task.goal, task.budget, task.limits.seconds) == ("Guess a number.", "8evals", 20)
        assert '"words": ["--workers", "2"]' in task.command[-1]
        models, ignored = task.notes
        assert models == "the folder names the models some-model; name those to ask with --model"
        assert ignored == "shinka.yaml: without a meaning here, and so ignored: db_config (num_islands)"

    def test_of_reevo(self):
        task = folder("ours/problems/line")
        assert task.goal == "Find a line.\nThe slope function takes a number."
        assert (task.budget, task.limits.seconds, task.objectives[0].direction) == ("10evals", 45, "min")
        assert task.notes == ["config.yaml: without a meaning here, and so ignored: algorithm, pop_size"]

    def test_of_a_declared_command(self):
        task = folder("declared")
        assert (task.goal, task.budget, task.limits.seconds, list(task.needs)) == ("Come near 10.", "8evals", 20, [])

    @pytest.mark.parametrize(("text", "seconds"), [("00:05:00", 300), ("90", 90), ("1:30", 90), ("soon", None)])
    def test_times(self, text, seconds):
        assert seconds_of(text) == seconds


class TestFinding:
    def test_what_is_no_folder_of_anybody(self, tmp_path):
        with pytest.raises(TaskError, match="the folder has no task"):
            loading.load_task(tmp_path)
        (tmp_path / "notes.txt").write_text("x")
        with pytest.raises(TaskError, match="not a Python file"):
            loading.load_task(tmp_path / "notes.txt")

    def test_a_task_py_of_somebody_else_is_no_task_of_ours(self, tmp_path):
        place = write(tmp_path / "f", task_py="name = 1\n", initial_program_py="x = 1\n", evaluator_py=EVALUATOR)
        assert loading.load_task(place).name == "f"
        (place / "evaluator.py").unlink()
        with pytest.raises(TaskError, match="there is no 'task' in it"):
            loading.load_task(place)

    def test_metadata_that_is_older_than_the_code(self, monkeypatch):
        monkeypatch.setattr(loading, "entry_points", lambda group: [])
        assert folder("points").name == "points"

    def test_the_program_in_a_folder_below(self, tmp_path):
        place = write(tmp_path / "f", start__initial_program_rs="fn main() {}", evaluator_py=EVALUATOR)
        (parameter,) = loading.load_task(place).resolved.values()
        assert (parameter.path, parameter.language, parameter.initial) == ("start/initial_program.rs", "rust", "fn main() {}\n")

    def test_other_names_that_say_what_they_are(self, tmp_path):
        place = write(tmp_path / "f", initial_content_txt="words", my_evaluator_py=EVALUATOR)
        task = loading.load_task(place)
        assert [p.path for p in task.resolved.values()] == ["initial_content.txt"]
        assert '"evaluator": "my_evaluator.py"' in task.command[-1]

    @pytest.mark.parametrize("text", ["file_suffix: .rs\n", "language: rust\n"])
    def test_of_two_programs_the_settings_name_one(self, tmp_path, text):
        place = write(tmp_path / "f", initial_program_py="x = 1\n", initial_program_rs="x", evaluator_py=EVALUATOR, config_yaml=text)
        assert [p.path for p in loading.load_task(place).resolved.values()] == ["initial_program.rs"]

    def test_links_that_leave_the_folder_are_seen(self, tmp_path):
        place = write(tmp_path / "f", initial_program_py="x = 1\n", evaluator_py=EVALUATOR)
        (tmp_path / "data").mkdir()
        (place / "data").symlink_to(tmp_path / "data")
        (place / "again.py").symlink_to(place / "evaluator.py")
        (place / "home").symlink_to("/")
        assert linked(place) == [str(tmp_path / "data")]
        assert str(tmp_path / "data") in loading.load_task(place).sees

    def test_keys_and_runs_in_the_folder_are_neither_seen_nor_looked_at(self, tmp_path):
        place = write(tmp_path / "f", initial_program_py="x = 1\n", evaluator_py=EVALUATOR)
        before = loading.load_task(place)
        write(place, runs__one__run_db="x", out__run_db="x")
        (place / ".env").write_text("KEY=1")
        after = loading.load_task(place)
        assert entries(place) == [str(place / "evaluator.py"), str(place / "initial_program.py")]
        assert (before.command, before.sees) == (after.command, after.sees)

    def test_a_program_that_is_a_folder(self, tmp_path):
        place = write(tmp_path / "f", initial_program__a_py="x = 1\n", initial_program__b_cpp="int x;\n", evaluator_py=EVALUATOR)
        task = loading.load_task(place)
        assert [p.path for p in task.resolved.values()] == ["initial_program/a.py", "initial_program/b.cpp"]
        assert '"passed": "initial_program"' in task.command[-1]

    def test_a_name_without_letters_gets_that_of_the_folder_above(self, tmp_path):
        place = write(tmp_path / "packing" / "13", initial_program_py="x = 1\n", evaluator_py=EVALUATOR)
        assert loading.load_task(place).name == "packing_13"

    def test_a_file_that_changes_changes_the_fingerprint(self, tmp_path):
        place = shutil.copytree(FOLDERS / "points", tmp_path / "points")
        first, second = (loading.load_task(place) for _ in range(2))
        (place / "weights.json").write_text("[1, 1, 1]")
        third = loading.load_task(place)
        marks = [loading.fingerprint(task, loading.make_cases(task)) for task in (first, second, third)]
        assert marks[0] == marks[1] != marks[2]


class TestRefusals:
    @pytest.mark.parametrize(
        ("files", "reason"),
        [
            ({"evaluator_py": EVALUATOR}, "nothing to start from"),
            ({"evaluator_py": "x = 1\n", "initial_program_py": "x = 1\n"}, r"defines no function evaluate\(path\)"),
            ({"evaluator_py": "def (\n", "initial_program_py": "x = 1\n"}, "not Python"),
            ({"evaluator_py": EVALUATOR, "initial_program_py": "x", "config_yaml": "a: [\n"}, "config.yaml: not a YAML file"),
            ({"evaluator_py": EVALUATOR, "initial_program_py": "x", "config_yaml": "- a\n"}, "it is to hold keys and values"),
            ({"evaluator_py": EVALUATOR, "initial_program_py": "x", "config_yaml": "evaluator: {timeout: soon}\n"}, "evaluator.timeout is"),
            ({"instruction_md": "x", "tests__test_sh": "x"}, "a container of their own"),
            ({"evaluate_py": "# --program_path --results_dir\n"}, "write initial.py beside it"),
            (
                {"evaluate_py": "# --program_path --results_dir\n", "initial_py": "x", "initial_rs": "x"},
                "initial.py and initial.rs are both",
            ),
            (
                {"evaluator_py": EVALUATOR, "initial_program_py": "x", "initial_program_rs": "x"},
                "write file_suffix in config",
            ),
            ({"agentopt_toml": "x = 1\n"}, "the key 'x' is unknown"),
            ({"agentopt_toml": "command = [\n"}, "agentopt.toml: not a TOML file"),
            ({"agentopt_toml": "program = 'a'\n"}, "command is None; write for example"),
            ({"agentopt_toml": "command = 'x'\n"}, "program is None"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\n"}, "names 'a.py', which is no file"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\ngoal = 3\n", "a_py": "x"}, "goal is 3; it is a text"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\nobjectives = {a = 'up'}\n", "a_py": "x"}, "objectives is"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\nmeasures = {a = 1}\n", "a_py": "x"}, "measures.a is 1"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\nlimits = {a = 1}\n", "a_py": "x"}, "limits.a is 1"),
            ({"agentopt_toml": "command = 'x'\nprogram = 'a.py'\nfork_free = true\n", "a_py": "x"}, "fork_free is True"),
        ],
    )
    def test_one_sentence_names_the_file(self, tmp_path, files, reason):
        with pytest.raises(TaskError, match=reason):
            loading.load_task(write(tmp_path / "f", **files))

    def test_thresholds_that_are_no_numbers(self, tmp_path):
        place = shutil.copytree(FOLDERS / "stages", tmp_path / "stages")
        (place / "config.yaml").write_text("evaluator: {cascade_thresholds: [high]}\n")
        with pytest.raises(TaskError, match="a list of numbers"):
            loading.load_task(place)

    @pytest.mark.parametrize(
        ("gone", "reason"), [("cfg/problem/line.yaml", "its settings are not at"), ("prompts/line/seed_func.txt", "there is no gpt.py")]
    )
    def test_a_problem_that_is_not_complete(self, tmp_path, gone, reason):
        place = shutil.copytree(FOLDERS / "ours", tmp_path / "ours")
        (place / gone).unlink()
        with pytest.raises(TaskError, match=reason):
            loading.load_task(place / "problems" / "line")

    def test_a_problem_that_wants_neither_the_least_nor_the_most(self, tmp_path):
        place = shutil.copytree(FOLDERS / "ours", tmp_path / "ours")
        (place / "cfg/problem/line.yaml").write_text("obj_type: best\n")
        with pytest.raises(TaskError, match="obj_type is 'best'"):
            loading.load_task(place / "problems" / "line")

    def test_the_candidate_that_lies_there_is_the_seed(self, tmp_path):
        place = shutil.copytree(FOLDERS / "ours", tmp_path / "ours")
        (place / "problems/line/gpt.py").write_text("def slope(x):\n    return 3 * x\n")
        assert loading.load_task(place / "problems" / "line").seed_values["gpt"].startswith("def slope(x)")


class TestAbove:
    @pytest.mark.parametrize(
        ("text", "levels"),
        [
            ("open('data.txt')\n", 0),
            ("from pathlib import Path\nHERE = Path(__file__).resolve().parent\nHERE / 'x'\n", 0),
            ("from pathlib import Path\nROOT = Path(__file__).parent.parent\n", 1),
            ("from pathlib import Path\nROOT = Path(__file__).resolve().parents[2]\n", 2),
            ("import os\nhere = os.path.dirname(os.path.abspath(__file__))\nup = os.path.dirname(here)\n", 1),
            ("import os\nx = os.path.join(os.path.dirname(__file__), '..', '..', 'data')\n", 2),
            ("from pathlib import Path\nx = Path(__file__).parent / '../data'\n", 1),
            ("open('../../data.txt')\n", 2),
            ("def broken(:\n", 0),
        ],
    )
    def test_how_far_programs_reach(self, tmp_path, text, levels):
        place = tmp_path / "a" / "b" / "c" / "d"
        place.mkdir(parents=True)
        (place / "evaluator.py").write_text(text)
        assert levels_above(place) == levels

    def test_of_a_shell_script_in_a_folder_below(self, tmp_path):
        place = tmp_path / "a" / "b"
        (place / "evaluator").mkdir(parents=True)
        (place / "evaluator" / "evaluate.sh").write_text("cat ../../data.txt\n")
        assert levels_above(place) == 1

    def test_never_to_where_everybodys_files_lie(self, tmp_path, monkeypatch):
        place = tmp_path / "project"
        place.mkdir()
        (place / "evaluator.py").write_text("open('../../x')\n")
        monkeypatch.setattr(Path, "home", lambda: tmp_path)
        assert levels_above(place) == 0

    def test_hidden_files_are_not_seen(self, tmp_path):
        place = tmp_path / "project"
        place.mkdir()
        for name in (".secret", "data.txt"):
            (tmp_path / name).write_text("x")
        assert beside(place, 1) == [str(tmp_path / "data.txt")]


class TestPython:
    def test_an_environment_takes_the_place_of_ours(self, tmp_path):
        venv.create(tmp_path / "env", symlinks=True, with_pip=False)
        task = folder("points")
        changed = adjust(task, validate({"box": {"python": str(tmp_path / "env")}}))
        assert changed.command == [str(tmp_path / "env" / "bin" / "python"), *task.command[1:]]
        assert str(tmp_path / "env") in changed.sees
        assert str(FOLDERS / "points" / "evaluator.py") in changed.sees

    @pytest.mark.parametrize(("given", "reason"), [("nowhere", "no program that can be started"), ("/bin/true", "does not answer")])
    def test_what_is_no_python(self, given, reason):
        with pytest.raises(ConfigError, match=reason):
            adjust(folder("points"), validate({"box": {"python": given}}))

    def test_a_task_without_a_command_has_no_use_for_it(self):
        with pytest.raises(ConfigError, match="no command that starts a Python"):
            adjust(loading.load_task("circle_packing"), validate({"box": {"python": sys.executable}}))

    def test_an_unknown_key_beside_it(self):
        with pytest.raises(ConfigError, match="the keys are: python"):
            validate({"box": {"pyhton": "x"}})


def test_only_what_lies_between_the_markers_is_edited(level_3):
    result = agentopt.evolve(FOLDERS / "points", budget="12evals", out=None, workers=1)
    frozen = result.seed.values["initial_program"].partition("# EVOLVE-BLOCK-START")[0]
    assert result.best.values["initial_program"].startswith(frozen)
    assert result.best.values["initial_program"].endswith("return [SCALE / 7.0 * value for value in guess(3)]\n")
    assert result.best.scores["combined_score"] > result.seed.scores["combined_score"]
    assert result.summary["self_reported"]


def test_spans_are_bytes():
    text = "ä = 1\n# EVOLVE-BLOCK-START\nö = 2\n# EVOLVE-BLOCK-END\n"
    ((start, end),) = open_spans(text)
    assert text.encode()[start:end] == "ö = 2\n".encode()
    assert open_spans("x") == [(0, 1)]


def test_the_command_line_scores_a_folder(level_3):
    command = [sys.executable, "-m", "agentopt", "score", str(FOLDERS / "points"), "--python", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=FOLDERS.parents[2])
    assert done.returncode == 0, done.stderr
    assert "combined_score 0.133333" in done.stdout
    assert "self-reported" in done.stdout
    assert "the evaluator on all: error_sum 6.5, first 0" in done.stdout
    assert "note: config.yaml: without a meaning here" in done.stdout
