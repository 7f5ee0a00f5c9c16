"""What was said of a candidate, of any number of traces -> what one rollout holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
from statistics import fmean
from typing import Any

from agentopt.core.evaluation import Failure
from agentopt.core.task import Objective
from agentopt.scoring.judge import Verdict
from agentopt.trace.node import Judgement
from agentopt.trace.params import Param
from agentopt.trace.recorder import GivenFeedback
from agentopt.trace.union import union

__all__ = ["NEWEST", "Remark", "blob_of", "checked_scores", "gathered", "judged", "score_names"]

NEWEST = Objective("step")
"""The number of the step: where nothing is ever scored, the newest candidate is the best."""


@dataclass(frozen=True)
class Remark:
    """Something said once of one outcome: text, scores by name, or both. ``source`` is what has the graph of the outcome, if it has one."""

    text: str = ""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    source: Any = None


def gathered(params: Iterable[Param]) -> list[Remark]:
    """What has reached the parameters, each remark once, however many of them it reached. Raises ValueError as ``checked_scores`` does."""
    reached: dict[int, GivenFeedback | Judgement] = {id(said): said for param in params for said in param.feedback}
    sources = {key: said.trace if isinstance(said, GivenFeedback) else said for key, said in reached.items()}
    return [Remark(said.text, checked_scores(said.scores), sources[key]) for key, said in reached.items()]


def blob_of(remarks: Iterable[Remark]) -> bytes:
    """The graphs of all outcomes as one trace, each once (``trace.union`` takes them apart); nothing where no graph is known."""
    from agentopt.trace.jsonl import dump

    sources: dict[int, Any] = {id(remark.source): remark.source for remark in remarks if remark.source is not None}
    return dump(union([source.graph() for source in sources.values()])) if sources else b""


def checked_scores(score: float | Mapping[str, float] | None) -> dict[str, float]:
    """One number is the score ``score``. Raises ValueError for what is no finite number, and for names that cannot be objectives."""
    if score is None:
        return {}
    scores: Mapping[Any, Any] = score if isinstance(score, Mapping) else {"score": score}
    for name, value in scores.items():
        if not isinstance(name, str) or not name.isidentifier() or name == NEWEST.name:
            raise ValueError(f"the score name {name!r} is not usable; take a Python identifier other than {NEWEST.name!r}")
        if not isinstance(value, Real) or not isfinite(value):
            raise ValueError(f"the score {name!r} is {value!r}; give a finite number, or no score and a text that says what happened")
    return {name: float(value) for name, value in scores.items()}


def score_names(remarks: Sequence[Remark]) -> list[str]:
    """The names of all scores, in the order in which they come."""
    return list(dict.fromkeys(name for remark in remarks for name in remark.scores))


def judged(remarks: Sequence[Remark], objectives: Sequence[Objective], number: int) -> Verdict:
    """Scores are means over the remarks that have them, the feedback is all texts.

    A candidate without a score failed, unless the run goes by ``NEWEST``: its score is ``number``, that of the step.
    Raises ValueError for a score that is no objective's, and for an objective that the scores lack.
    """
    feedback = "\n\n".join(dict.fromkeys(remark.text.strip() for remark in remarks if remark.text.strip()))
    given, names = score_names(remarks), [objective.name for objective in objectives]
    if names == [NEWEST.name]:
        if given:
            raise ValueError(f"the score {given[0]!r} comes too late: this run began without scores; give them from the first step on")
        return Verdict({NEWEST.name: float(number)}, feedback=feedback)
    for name in given:
        if name not in names:
            raise ValueError(f"the score {name!r} is none of this run's ({', '.join(names)}); a run keeps the scores that it began with")
    if not given:
        return Verdict(feedback=feedback, failure=Failure("wrong", feedback))
    for name in names:
        if name not in given:
            raise ValueError(f"the feedback has the score {given[0]!r} but not {name!r}; give all of {', '.join(names)}")
    scores = {name: fmean(remark.scores[name] for remark in remarks if name in remark.scores) for name in names}
    return Verdict(scores, feedback=feedback)
