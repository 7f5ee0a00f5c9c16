"""A task, its candidates and what came of them, as text for a prompt. Texts of others come out as they are: put them into quoted slots."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping, Sequence

from agentopt.core.evaluation import Failure
from agentopt.core.task import Objective, Parameter, Value, Values
from agentopt.core.text import clean_text

__all__ = ["reply_form", "show_failures", "show_objectives", "show_parameters", "show_scores", "show_values"]

_LONGEST_MESSAGE = 300
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
        what += f", within {json.dumps(parameter.space, default=list)}"
    fixed = "" if parameter.trainable else " It cannot be changed."
    return f"{what}.{f' {parameter.description.strip()}' if parameter.description.strip() else ''}{fixed}"


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


def show_scores(scores: Mapping[str, float], objectives: Sequence[Objective]) -> str:
    """``excess 0.0391``; ``unknown`` without scores."""
    return ", ".join(f"{o.name} {scores[o.name]:.6g}" for o in objectives if o.name in scores) or "unknown"


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
    if any(parameter.kind == "code" and "EVOLVE-BLOCK-START" in parameter.initial for parameter in trainable):
        lines += ["", "Change only the lines between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END."]
    return "\n".join(lines)


def _heading(parameter: Parameter) -> str:
    return f"### file: {parameter.path or parameter.name}"


def _fence(parameter: Parameter) -> str:
    tag = {"code": parameter.language, "prompt": "text"}.get(parameter.kind, "json")
    fence = "````" if parameter.kind == "prompt" else "```"
    return f"{fence}{tag}\n...\n{fence}"
