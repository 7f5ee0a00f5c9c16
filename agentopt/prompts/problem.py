"""Runs of a candidate as a problem to solve: what ran, what went in and came out, what was said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from reprlib import Repr

from agentopt.core.evaluation import Entry, Rollout
from agentopt.core.protocols import TaskCard
from agentopt.core.task import Objective, Values
from agentopt.core.text import clean_text, gist
from agentopt.prompts.showing import show_conditions, show_parameters, show_scores, show_texts
from agentopt.prompts.suggesting import show_suggestion

__all__ = ["show_feedback", "show_tried", "show_workflow"]

_DIGITS = 8
_LONGEST_FEEDBACK = 2000
_LONGEST_VALUE = 2000
_STEPS = (
    "run carries out the program that the variables make up, on one input. score judges the output outside of it, where the program cannot "
    "reach."
)
_INPUT = Repr()
_INPUT.maxlist = _INPUT.maxtuple = _INPUT.maxdict = 12
_INPUT.maxstring = _INPUT.maxother = 1000


def show_workflow(card: TaskCard, runs: Sequence[Rollout], texts: Mapping[str, str]) -> dict[str, str]:
    """What is known of runs that were not traced: their one step, what it means, their inputs, and texts that one of them left behind."""
    names = ", ".join(f"{name}={name}" for name in card.parameters)
    inputs = dict(zip(card.cases, card.inputs, strict=False))
    rows = (f"- {_run(number, run)}: {_INPUT.repr(inputs[run.case])}" for number, run in enumerate(runs, 1) if run.case in inputs)
    return {
        "code": f"output = run({names}, input=input)\nscores, feedback = score(case, output)",
        "documentation": "\n".join(filter(None, [_STEPS, show_conditions(card), show_parameters(card.parameters)])),
        "inputs": "\n".join(rows),
        "others": "",
        "outputs": show_texts(texts),
    }


def show_feedback(entry: Entry, runs: Sequence[Rollout], objectives: Sequence[Objective], *, brief: bool = False) -> str:
    """For each run its scores and what was said of it, or how it failed; without any runs, why the candidate failed.

    ``brief``: of the failure of a traced run the line alone that names the exception, for its trace shows where it was.
    """
    shown = [f"{_run(number, run).capitalize()}: {_said(run, objectives, brief and bool(run.trace))}" for number, run in enumerate(runs, 1)]
    if not shown and entry.failure:
        return f"It failed: {entry.failure.kind}: {clean_text(entry.failure.message, _LONGEST_FEEDBACK)}".rstrip(": ")
    return "\n".join(shown) or "Nothing ran yet."


def show_tried(values: Values, scores: str, feedback: str) -> str:
    """An earlier attempt; long values lose their middle."""
    cut = {name: clean_text(value, _LONGEST_VALUE) if isinstance(value, str) else value for name, value in values.items()}
    return "\n".join(filter(None, [f"Scores: {scores}", show_suggestion(cut), feedback]))


def _run(number: int, run: Rollout) -> str:
    return f"run {number} (case {run.case})"


def _said(run: Rollout, objectives: Sequence[Objective], brief: bool) -> str:
    if run.failure:
        message = run.failure.message.strip()
        message = gist(message) if brief else message
        return f"failed: {run.failure.kind}: {clean_text(message, _LONGEST_FEEDBACK)}".rstrip(": ")
    text = clean_text(run.feedback, _LONGEST_FEEDBACK).strip()
    return f"{show_scores(run.scores, objectives, _DIGITS)}{f'. {text}' if text else ''}"
