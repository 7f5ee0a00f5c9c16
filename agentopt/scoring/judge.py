"""Judging one output: from what the box returned to scores, or to the failure that it is."""

from __future__ import annotations

import math
import numbers
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from agentopt.core import wire
from agentopt.core.errors import Reject
from agentopt.core.evaluation import Failure, FailureKind, Measured
from agentopt.core.task import Case, Measure, Objective, Score, Task
from agentopt.core.text import clean_text

__all__ = ["Judge", "Verdict", "numpy_array"]

_SLACK = 1e-9
"""Relative: a score may pass a declared bound by rounding."""


@dataclass(frozen=True)
class Verdict:
    """Scores, measures and feedback of one rollout, or its failure."""

    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    measures: Mapping[str, float] = field(default_factory=dict[str, float])
    feedback: str = ""
    failure: Failure | None = None

    def to_json(self) -> dict[str, Any]:
        failure = self.failure.to_json() if self.failure else None
        return {"scores": self.scores, "measures": self.measures, "feedback": self.feedback, "failure": failure}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        failure = Failure.from_json(data["failure"]) if data["failure"] else None
        return cls(data["scores"], data["measures"], data["feedback"], failure)


class _Verdict(Exception):
    """Leaves the judging with a failure."""

    def __init__(self, kind: FailureKind, message: str, scorer_error: bool = False) -> None:
        super().__init__(message)
        self.failure = Failure(kind, clean_text(message), scorer_error)


@dataclass(frozen=True)
class Judge:
    """The part of a task that judges. Without ``score`` the output itself is the (self-reported) score."""

    objectives: tuple[Objective, ...]
    measures: tuple[Measure, ...] = ()
    score: Callable[[Case, Any, Measured], Any] | None = None

    @classmethod
    def of(cls, task: Task) -> Judge:
        return cls(tuple(task.objectives), tuple(task.measures), task.functions.get("score"))

    def judge(self, case: Case, data: bytes | memoryview, measured: Measured) -> Verdict:
        """``data`` is the encoded output and may be hostile."""
        try:
            output = _decode(data)
        except _Verdict as verdict:
            return Verdict(failure=verdict.failure)
        if self.score is None:
            return self.read(output, measured)
        try:
            result = self.score(case, output, measured)
        except Exception as error:
            return self.raised(error, _own_traceback(error))
        return self.read(result, measured)

    def read(self, result: Any, measured: Measured) -> Verdict:
        """What ``score`` returned, for those who call it themselves."""
        try:
            return self._read(result, measured)
        except _Verdict as verdict:
            return Verdict(failure=verdict.failure)

    def raised(self, error: BaseException, shown: str) -> Verdict:
        """What ``score`` raised; ``shown`` is how that is told."""
        if isinstance(error, Reject):
            return Verdict(failure=Failure("wrong", clean_text(str(error) or "rejected by the task")))
        return Verdict(failure=Failure("wrong", clean_text(shown), scorer_error=True))

    def _read(self, result: Any, measured: Measured) -> Verdict:
        result = self._as_score(result)
        scored = [objective for objective in self.objectives if objective.source == "scorer"]
        scores = self._numbers("objective", [objective.name for objective in scored], result.scores)
        for objective in self.objectives:
            if objective.source == "outside":
                scores[objective.name] = float(getattr(measured, objective.quantity))
        for objective in self.objectives:
            _check_bounds(objective, scores[objective.name])
        measures = self._numbers("measure", [measure.name for measure in self.measures], result.measures)
        ordered = {objective.name: scores[objective.name] for objective in self.objectives}
        return Verdict(ordered, measures, clean_text(str(result.feedback)))

    def _as_score(self, result: Any) -> Score:
        """A Score, from a Score, a number or a dict. Raises _Verdict."""
        if isinstance(result, Score):
            return result
        if isinstance(result, Mapping):
            members = dict(cast(Mapping[str, Any], result))
            feedback, measures = members.pop("feedback", ""), members.pop("measures", {})
            if not isinstance(measures, Mapping):
                raise self._bad(f"measures is a {type(measures).__name__}, not a dict of numbers")
            return _score_of(members, feedback, cast(Mapping[str, float], measures))
        scored = [objective.name for objective in self.objectives if objective.source == "scorer"]
        if result is None and not scored:
            return Score()
        if len(scored) == 1 and _as_number(result) is not None:
            return _score_of({scored[0]: result})
        expected = "a number" if len(scored) == 1 else f"a Score with {', '.join(scored)}"
        raise self._bad(f"the result is a {type(result).__name__}, not {expected}")

    def _numbers(self, word: str, names: list[str], given: Mapping[str, Any]) -> dict[str, float]:
        """``given`` as finite floats, with exactly the declared names. Raises _Verdict."""
        if unknown := [name for name in given if name not in names]:
            raise self._bad(f"the {word} {unknown[0]!r} is not declared; the task has: {', '.join(names) or 'none'}")
        if missing := [name for name in names if name not in given]:
            raise self._bad(f"the {word} {missing[0]!r} is missing from the result")
        found: dict[str, float] = {}
        for name in names:
            number = _as_number(given[name])
            if number is None:
                raise self._bad(f"the {word} {name!r} is a {type(given[name]).__name__}, not a number")
            if not math.isfinite(number):
                raise _Verdict("nonfinite", f"the {word} {name!r} is {number}")
            found[name] = number
        return found

    def _bad(self, message: str) -> _Verdict:
        """A result of the wrong form is the score function's mistake, or the candidate's if it reports its own score."""
        who = "evaluate" if self.score is None else "score"
        return _Verdict("wrong", f"{who}: {message}", scorer_error=self.score is not None)


def _score_of(scores: Mapping[str, Any], feedback: str = "", measures: Mapping[str, float] | None = None) -> Score:
    """A Score whose names and values are still to be checked."""
    score = Score(feedback=feedback, measures=measures)
    object.__setattr__(score, "scores", scores)
    return score


def _decode(data: bytes | memoryview) -> Any:
    try:
        return wire.decode(data, numpy_array)
    except wire.NonFiniteError as error:
        raise _Verdict("nonfinite", f"the output is not usable: {error}") from None
    except wire.WireError as error:
        raise _Verdict("cheat", f"the output is not usable: {error}") from None


def numpy_array(dtype: str, shape: tuple[int, ...], data: memoryview) -> Any:
    import numpy

    return numpy.frombuffer(data, dtype).reshape(shape).copy()


def _as_number(value: Any) -> float | None:
    """A float from a bool, a number or a numpy scalar; None for anything else."""
    if not isinstance(value, numbers.Real) and getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_bounds(objective: Objective, score: float) -> None:
    for bound, beyond, word in ((objective.floor, -1.0, "below the floor"), (objective.ceiling, 1.0, "above the ceiling")):
        if bound is not None and (score - bound) * beyond > _SLACK * max(1.0, abs(bound)):
            raise _Verdict("cheat", f"{objective.name} is {score:g}: {word} of {bound:g}, which no honest score passes")


def _own_traceback(error: Exception) -> str:
    """Without our own frame at its top."""
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
