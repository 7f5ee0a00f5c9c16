"""From what an evaluator reported to scores, measures and feedback. The report comes out of the box and may be forged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from agentopt.core.errors import Reject
from agentopt.core.evaluation import Measured
from agentopt.core.task import Case, Score

__all__ = ["score"]

_MOST_OF_ONE, _MOST = 2000, 8000
_MISSING = re.compile(r"No module named '([\w.]+)'")
_COMBINED = "combined_score"


def score(case: Case, output: Any, measured: Measured) -> Score:
    """``case.expected`` names the objectives, the measures and what is not shown. Raises Reject with the evaluator's reason."""
    said, wanted = _object(output), cast("dict[str, list[str]]", case.expected)
    if said.get("failure"):
        raise Reject(_advised(str(said["failure"])))
    metrics, artifacts = _mapping(said.get("metrics")), _mapping(said.get("artifacts"))
    if fault := _fault(metrics, artifacts, wanted):
        raise Reject(_advised(fault))
    scores = {name: _value(metrics, name, wanted) for name in wanted["objectives"]}
    measures = {name: _number(metrics.get(name)) or 0.0 for name in wanted["measures"]}
    return Score(feedback=_feedback(metrics, artifacts, wanted), measures=measures, **scores)


def _object(output: Any) -> dict[str, Any]:
    lines = [line for line in str(output).splitlines() if line.strip()]
    try:
        said = json.loads(lines[-1]) if lines else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise Reject("the evaluator ended without a result; most often the candidate ended the process")
    return cast("dict[str, Any]", said)


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _read(text: str) -> float | None:
    """Of a number written as text."""
    try:
        return float(text)
    except ValueError:
        return None


def _value(metrics: Mapping[str, Any], name: str, wanted: Mapping[str, list[str]]) -> float:
    """The metric, or for the combined score the mean of all numbers that are no measures."""
    if (found := _number(metrics.get(name))) is not None:
        return found
    if isinstance(text := metrics.get(name), str) and (found := _read(text)) is not None:
        return found
    if name != _COMBINED:
        raise Reject(f"the result has no number {name!r}; it has: {', '.join(metrics) or 'nothing'}")
    numbers = {key: number for key, value in metrics.items() if (number := _number(value)) is not None and number == number}
    used = [number for key, number in numbers.items() if key not in wanted["measures"]] or [*numbers.values()]
    if not used:
        raise Reject("the evaluator gave no number")
    return sum(used) / len(used)


def _fault(metrics: Mapping[str, Any], artifacts: Mapping[str, Any], wanted: Mapping[str, list[str]]) -> str:
    """An error that an evaluator reports in place of a score. Beside a score it is no more than a remark."""
    error = metrics.get("error")
    scored = any(_number(metrics.get(name)) for name in wanted["objectives"])
    if isinstance(error, str) and error.strip() and not scored:
        more = next((str(artifacts[key]) for key in ("traceback", "stderr") if artifacts.get(key)), "")
        return f"{error}\n{more[-_MOST_OF_ONE:]}".strip()
    return "the evaluator ran out of time" if metrics.get("timeout") is True and not scored else ""


def _advised(reason: str) -> str:
    missing = _MISSING.search(reason)
    return f"{reason}\n(if the evaluator needs {missing[1]}, name an environment that has it with --python VENV)" if missing else reason


def _feedback(metrics: Mapping[str, Any], artifacts: Mapping[str, Any], wanted: Mapping[str, list[str]]) -> str:
    """Numbers in one line, then texts, each and all together cut to a size that a prompt can take."""
    shown = {key: value for key, value in metrics.items() if key not in (*wanted["objectives"], *wanted["hidden"])}
    public = _mapping(shown.pop("public", {}))
    numbers = [f"{key} {_brief(value)}" for key, value in {**shown, **public}.items() if isinstance(value, int | float | bool)]
    texts = {key: value for key, value in {**shown, **public, **artifacts}.items() if not isinstance(value, int | float | bool)}
    pieces = [", ".join(numbers)] if numbers else []
    for key, value in texts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if text and value is not None:
            pieces.append(f"{key}: {_cut(text, _MOST_OF_ONE)}")
    return _cut("\n".join(pieces), _MOST)


def _brief(value: float) -> str:
    return str(value) if isinstance(value, bool) else f"{value:.6g}"


def _cut(text: str, most: int) -> str:
    """The end of a text says most: there the error stands."""
    return text if len(text) <= most else f"{text[: most // 3]}\n[...]\n{text[-(most - most // 3) :]}"
