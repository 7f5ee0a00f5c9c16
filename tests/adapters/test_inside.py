"""What runs in the box, piece by piece."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal

import pytest

from agentopt.adapters.inside.driver import last_object
from agentopt.adapters.inside.evaluation import plain, result_of
from agentopt.adapters.inside.ground import imported, is_missing
from agentopt.adapters.inside.standins.openevolve.openevolve import evaluation_result as of_openevolve
from agentopt.adapters.inside.standins.skydiscover.skydiscover.evaluation import evaluation_result as of_skydiscover
from agentopt.core.errors import Reject
from tests.adapters.judging import folder, said, verdict
from tests.house.source import ROOT

ALONE = "import sys; from agentopt.adapters.inside.alone import run; from types import SimpleNamespace as S; "
ALONE += "print(run(S(main=sys.argv[1], part=sys.argv[2]), sys.argv[3]))"


@pytest.mark.parametrize("module", [of_openevolve, of_skydiscover])
def test_results_that_stand_in(module):
    result = module.EvaluationResult.from_dict({"score": 1.0})
    assert not result.has_artifacts()
    result.artifacts = {"text": "ää", "bytes": b"123", "number": 12}
    assert result.to_dict() == {"score": 1.0}
    assert result.has_artifacts()
    assert result.get_artifact_keys() == ["text", "bytes", "number"]
    assert result.get_total_artifact_size() == 4 + 3 + 2
    assert result.get_artifact_size("none") == 0


class Tensor:
    """As torch's: its size is a method."""

    def __init__(self, *values):
        self.values = values

    def size(self):
        return (len(self.values),)

    def numel(self):
        return len(self.values)

    def item(self):
        return self.values[0]


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({1: (2, None)}, {"1": [2, None]}),
        (b"\xff", "\ufffd"),
        (Tensor(2.5), 2.5),
        ({"a"}, "{'a'}"),
        (Decimal("0.5"), 0.5),
    ],
)
def test_values_become_plain(value, data):
    assert plain(value) == data
    assert plain(Tensor(1, 2)).startswith("<")


def test_results_of_any_form():
    assert result_of({"a": 1, "artifacts": 3}) == {"metrics": {"a": 1}, "artifacts": {}}
    assert result_of(of_openevolve.EvaluationResult({"a": 1}, {"b": "c"})) == {"metrics": {"a": 1}, "artifacts": {"b": "c"}}
    assert "failure" in result_of(None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('noise\n{"a": 1}\n\n', {"a": 1}),
        ('{\n"a": 1\n}\n', {"a": 1}),
        ("[1]\n", None),
        ("", None),
    ],
)
def test_the_last_object(text, found):
    assert last_object(text) == found


def test_imports_at_the_top():
    text = "import a.b, c as d\nfrom e.f import g\nfrom . import h\ntry:\n    import i\nexcept ImportError:\n    pass\n"
    assert imported(text) == ["a", "c", "e"]
    assert imported("def (") == []
    assert is_missing("no_such_package")
    assert not is_missing("json")
    assert not is_missing("")


def test_in_the_process_of_a_box_of_level_2(tmp_path):
    task = folder("several")
    orders = json.loads(task.command[-1]) | {"fork_free": False, "parameters": {"main": "main.py", "part": "part.py"}}
    texts = ["from part import PART\n\n\ndef total():\n    return PART\n", "PART = 7\n"]
    command = [sys.executable, "-c", ALONE, *texts, json.dumps(orders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert json.loads(done.stdout.splitlines()[-1]) == {"metrics": {"score": 7}, "artifacts": {}}


class TestVerdict:
    @pytest.mark.parametrize(
        ("output", "reason"),
        [
            ("", "ended without a result"),
            ("[1]", "ended without a result"),
            ("{", "ended without a result"),
            (said(metrics={}), "gave no number"),
            (said(metrics={"flag": True, "text": "x"}), "gave no number"),
            (said(failure="No module named 'x'"), "--python VENV"),
            (said(metrics={"combined_score": 0.0, "error": "bad"}, artifacts={"traceback": "line 3"}), "bad\nline 3"),
        ],
    )
    def test_what_is_no_score(self, output, reason):
        with pytest.raises(Reject) as found:
            verdict(folder("points"), output)
        assert reason in str(found.value)

    def test_an_objective_that_is_not_there(self):
        with pytest.raises(Reject, match="the result has no number 'size'; it has: distance"):
            verdict(folder("declared"), said(metrics={"distance": 1.0}))

    def test_a_score_may_be_written_as_text(self):
        assert verdict(folder("points"), said(metrics={"combined_score": "0.25", "other": 4})).scores == {"combined_score": 0.25}
        assert verdict(folder("points"), said(metrics={"combined_score": "none", "other": 4})).scores == {"combined_score": 4.0}

    def test_an_error_beside_a_score_is_a_remark(self):
        found = verdict(folder("points"), said(metrics={"combined_score": 0.5, "error": "one of ten failed"}))
        assert found.scores == {"combined_score": 0.5}
        assert "one of ten failed" in found.feedback
