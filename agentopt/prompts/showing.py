"""A task, its candidates and what came of them, as text for a prompt. Texts of others come out as they are: put them into quoted slots."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence
from reprlib import Repr

from agentopt.core.evaluation import Entry, Failure, Rollout
from agentopt.core.protocols import TaskCard
from agentopt.core.selection import rank_key
from agentopt.core.task import Objective, Parameter, Value, Values
from agentopt.core.text import clean_text

__all__ = [
    "edit_form",
    "reply_form",
    "show_conditions",
    "show_failures",
    "show_input",
    "show_objectives",
    "show_parameters",
    "show_programs",
    "show_rollouts",
    "show_scores",
    "show_space",
    "show_texts",
    "show_values",
]

_LONGEST_MESSAGE = 300
_LONGEST_FEEDBACK = 600
_FREE_TIME = (
    "Time is not scored: a program may search for up to about half of that time, if it watches the clock itself (the machine may be slower "
    "than you think) and always returns the best valid answer it has."
)
_DIGITS = 8
"""Significant digits of scores that are compared: near an optimum fewer would all look the same."""
_INPUT = Repr()
_INPUT.maxlist = _INPUT.maxtuple = _INPUT.maxdict = 5
_INPUT.maxstring = _INPUT.maxother = 200
_KINDS = {"prompt": "a prompt", "config": "a JSON object", "value": "a value"}
_BETTER = {"min": "lower is better", "max": "higher is better"}


def show_values(values: Values, parameters: Mapping[str, Parameter]) -> str:
    """What can be changed of a candidate; several parameters get headings, as they are asked for in a reply."""
    shown = [(parameter, value_text(parameter, values[name])) for name, parameter in parameters.items() if parameter.trainable]
    if len(shown) == 1:
        return shown[0][1]
    return "\n\n".join(f"{_heading(parameter)}\n{text}" for parameter, text in shown)


def value_text(parameter: Parameter, value: Value) -> str:
    """One parameter's value as a reply would give it."""
    return value.strip("\n") if parameter.kind in ("code", "prompt") else json.dumps(value, indent=2, ensure_ascii=False, default=dict)


def show_parameters(parameters: Mapping[str, Parameter]) -> str:
    """A line per parameter: its name, what it is, what it has to define and its description."""
    return "\n".join(f"- {name}: {_about(parameter)}" for name, parameter in parameters.items())


def _about(parameter: Parameter) -> str:
    what = _KINDS.get(parameter.kind, f"{'Python' if parameter.is_python else parameter.language} code")
    if parameter.is_python and parameter.entry:
        what += f" that defines {signature(parameter.initial, parameter.entry)}"
    if parameter.space:
        what += f", {show_space(parameter)}"
    said = [what + ".", parameter.description.strip()]
    if constraint := parameter.constraint.strip():
        said.append(f"Every value has to keep to this: {constraint}")
    return " ".join(filter(None, [*said, "" if parameter.trainable else "It cannot be changed."]))


def show_space(parameter: Parameter) -> str:
    """What its numbers have to lie within: ``within {"x": [-2.0, 2.0]}``, and of a single value just the range or the choices."""
    space = dict(parameter.space or {})
    return f"within {json.dumps(space[''] if set(space) == {''} else space, default=list)}"


def signature(source: str, entry: str) -> str:
    """``shrink(point)``, as the source defines it; the bare name if it does so in another way."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return entry
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == entry:
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            return f"{entry}({ast.unparse(node.args)}){returns}"
        if isinstance(node, ast.ClassDef) and node.name == entry:
            return f"class {entry}"
    return entry


def show_objectives(objectives: Sequence[Objective]) -> str:
    """``excess (lower is better)``; of several, the first counts."""
    return "; then ".join(f"{objective.name} ({_BETTER[objective.direction]})" for objective in objectives)


def show_scores(scores: Mapping[str, float], objectives: Sequence[Objective], digits: int = 6) -> str:
    """``excess 0.0391`` with so many significant digits; ``unknown`` without scores."""
    return ", ".join(f"{o.name} {scores[o.name]:.{digits}g}" for o in objectives if o.name in scores) or "unknown"


def show_failures(failures: Iterable[Failure]) -> str:
    """A line per failure: its kind and the end of its message, where a traceback says what was wrong."""
    return "\n".join(f"- {failure.kind}: {_line(failure.message)}".rstrip(": ") for failure in failures)


def _line(message: str) -> str:
    line = " ".join(clean_text(message).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"...{line[3 - _LONGEST_MESSAGE :]}"


def reply_form(parameters: Mapping[str, Parameter]) -> str:
    """How to answer so that ``llm.replies`` is sure to understand."""
    trainable = [parameter for parameter in parameters.values() if parameter.trainable]
    if len(trainable) == 1:
        (parameter,) = trainable
        lines = [f"Answer with the whole new text of {parameter.name} in one fenced block, and with no other block:", "", _fence(parameter)]
    else:
        lines = ["For each parameter that you change, give its heading and its whole new text in one fenced block; leave out the others:"]
        lines += [f"\n{_heading(parameter)}\n{_fence(parameter)}" for parameter in trainable]
    return "\n".join(lines + _bounds(trainable))


def _bounds(trainable: Sequence[Parameter]) -> list[str]:
    """What to say of code of which only a part may change."""
    marked = any(parameter.kind == "code" and "EVOLVE-BLOCK-START" in parameter.initial for parameter in trainable)
    return ["", "Change only the lines between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END."] if marked else []


def edit_form(parameters: Mapping[str, Parameter]) -> str:
    """How to answer with edits of what is shown, so that ``llm.replies`` is sure to understand."""
    trainable = [parameter for parameter in parameters.values() if parameter.trainable]
    lines = [
        "Answer with one or more edits in exactly this form, each with all three marker lines:",
        "",
        *([_heading(trainable[0])] if len(trainable) > 1 else []),
        "<<<<<<< SEARCH",
        "lines of the program as they are now",
        "=======",
        "the lines that take their place",
        ">>>>>>> REPLACE",
        "",
        "Copy the SEARCH lines from the program character by character, indentation included, and enough of them to fit one place only.",
        "Keep each edit short; all edits together have to leave a whole program that runs.",
    ]
    if len(trainable) > 1:
        headings = ", ".join(_heading(parameter) for parameter in trainable)
        lines.append(f"Above each edit give the heading of the file that it changes: {headings}.")
    return "\n".join(lines + _bounds(trainable))


def show_conditions(card: TaskCard) -> str:
    """Under what limits a program runs, what it may import, and what is known to be possible; a sentence each."""
    sentences: list[str] = []
    if card.limits:
        sentences.append(f"On each case a program has {card.limits.seconds:g} s of wall time and {card.limits.memory_mb} MB of memory.")
    if any(objective.source == "outside" and objective.quantity != "peak_bytes" for objective in card.objectives):
        sentences.append("The time it takes is scored.")
    elif card.limits:
        sentences.append(_FREE_TIME)
    if any(parameter.is_python for parameter in card.parameters.values()):
        modules = "".join(f", {name}" for name in card.imports)
        sentences.append(f"These imports are sure to work: Python's standard library{modules}.")
    known = ", ".join(
        f"{objective.name} {objective.reference:.{_DIGITS}g}" for objective in card.objectives if objective.reference is not None
    )
    if known:
        sentences.append(f"A good score that is known from elsewhere: {known}.")
    return " ".join(sentences)


def show_input(card: TaskCard) -> str:
    """The first train input, as Python shows it, long parts cut; empty where there is none."""
    return _INPUT.repr(card.inputs[0]) if card.inputs else ""


def show_programs(entries: Sequence[Entry], parameters: Mapping[str, Parameter], objectives: Sequence[Objective]) -> str:
    """Each with its number and scores above it."""
    heads = (f"Program {number} ({show_scores(entry.scores, objectives, _DIGITS)}):" for number, entry in enumerate(entries, 1))
    return "\n\n".join(f"{head}\n{show_values(entry.candidate.values, parameters)}" for head, entry in zip(heads, entries, strict=True))


def show_rollouts(entry: Entry, objectives: Sequence[Objective], most: int) -> str:
    """A line per search rollout, the worst first and at most ``most``: case, scores and feedback, or why there is no score."""
    if not most:
        return ""
    rollouts = [rollout for rollout in entry.evaluation.rollouts if rollout.split == "train"] if entry.evaluation else []
    rollouts.sort(key=lambda rollout: rank_key(rollout.scores, objectives[:1]) if rollout.scores else (float("inf"),), reverse=True)
    lines = [_rollout(rollout, objectives) for rollout in rollouts[:most]]
    if len(rollouts) > most:
        lines.append(f"(and {len(rollouts) - most} cases on which it did no worse than on these)")
    if not lines and entry.failure:
        return show_failures([entry.failure])
    return "\n".join(lines)


def _rollout(rollout: Rollout, objectives: Sequence[Objective]) -> str:
    if rollout.failure:
        return f"- case {rollout.case}: failed: {rollout.failure.kind}: {_line(rollout.failure.message)}".rstrip(": ")
    text = " ".join(clean_text(rollout.feedback, _LONGEST_FEEDBACK).split())
    return f"- case {rollout.case}: {show_scores(rollout.scores, objectives, _DIGITS)}{f'; {text}' if text else ''}"


def show_texts(texts: Mapping[str, str]) -> str:
    """What a program printed and left behind, each under its name."""
    return "\n\n".join(f"{name}:\n{text}" for name, text in texts.items())


def _heading(parameter: Parameter) -> str:
    return f"### file: {parameter.path or parameter.name}"


def _fence(parameter: Parameter) -> str:
    tag = {"code": parameter.language, "prompt": "text"}.get(parameter.kind, "json")
    fence = "````" if parameter.kind == "prompt" else "```"
    return f"{fence}{tag}\n...\n{fence}"
