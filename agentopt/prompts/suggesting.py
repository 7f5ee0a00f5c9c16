"""How to ask for new values of named variables, in XML elements or one JSON object, so that ``llm.suggestions`` is sure to understand."""

from __future__ import annotations

import json
from collections.abc import Mapping

from agentopt.core.task import Parameter, Values
from agentopt.prompts.showing import show_space, signature

__all__ = ["show_constraints", "show_suggestion", "suggestion_form"]

_ENDINGS = (
    "Leave out the variables that stay as they are. If nothing needs to change, write {no_change} in place of the variables.",
    "Give each value whole: what you leave out of it is gone.",
)


def suggestion_form(parameters: Mapping[str, Parameter], reply: str) -> str:
    """The form of the answer; ``reply`` is ``xml`` or ``json``."""
    names = [name for name, parameter in parameters.items() if parameter.trainable]
    if reply == "json":
        lines = [
            "Answer with one JSON object and nothing else:",
            "",
            "{",
            '  "reasoning": "what the feedback says, which variable it concerns, and what to change",',
            f'  "suggestion": {{{", ".join(f"{json.dumps(name)}: ..." for name in names)}}}',
            "}",
            "",
            "Texts and code are JSON strings, with \\n for line ends.",
        ]
        no_change = '"no_change": true'
    else:
        lines = ["Answer in this form:", "", "<reasoning>"]
        lines += ["what the feedback says, which variable it concerns, and what to change", "</reasoning>"]
        for name in names:
            lines += ["<variable>", f"<name>{name}</name>", "<value>", "...", "</value>", "</variable>"]
        lines += ["", "Write values as they are, without escaping anything and without a fence around them."]
        no_change = "<no_change>true</no_change>"
    return "\n".join([*lines, *(ending.format(no_change=no_change) for ending in _ENDINGS)])


def show_suggestion(values: Values) -> str:
    """Values as such an answer would give them, in XML."""
    shown = ((name, value.strip("\n") if isinstance(value, str) else json.dumps(value, default=dict)) for name, value in values.items())
    return "\n".join(f"<variable>\n<name>{name}</name>\n<value>\n{text}\n</value>\n</variable>" for name, text in shown)


def show_constraints(parameters: Mapping[str, Parameter]) -> str:
    """A line per trainable parameter that is bound by something: what it has to define, its space, its constraint in words."""
    lines: list[str] = []
    for name, parameter in parameters.items():
        rules: list[str] = []
        if parameter.is_python and parameter.entry:
            rules.append(f"Python code that defines {signature(parameter.initial, parameter.entry)}")
        if parameter.kind == "code" and "EVOLVE-BLOCK-START" in parameter.initial:
            rules.append("only the lines between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END may change")
        if parameter.space:
            rules.append(show_space(parameter))
        rules.append(parameter.constraint.strip())
        if parameter.trainable and any(rules):
            lines.append(f"- {name}: {'; '.join(filter(None, rules))}")
    return "\n".join(lines)
