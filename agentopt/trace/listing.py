"""A trace as code: one line per step, inner steps indented, with gaps where steps are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from agentopt.core.quoting import defused
from agentopt.core.text import gist
from agentopt.trace.graph import Edge, Graph
from agentopt.trace.naming import function_name, identifier
from agentopt.trace.outline import Outline, sure
from agentopt.trace.written import cut, raised, written

__all__ = ["counted", "gaps", "listing"]

_ARGUMENTS = 8
_SHORT = 60
_NAMED = 4
_DEEPEST = 8


def listing(graph: Graph, view: Outline, names: Sequence[str], shown: Collection[int], varying: Collection[tuple[int, str]] = ()) -> str:
    """The steps in ``shown``. Literal arguments in ``varying``, (node, role), are different in each run and are named instead of shown."""
    lines: list[str] = []
    for place in gaps(view, shown):
        if isinstance(place, int):
            lines.append(f"{_indent(view, place)}{_line(graph, place, names, varying)}")
        else:
            lines.append(f"{_indent(view, place[0])}# ... {counted(Counter(map(graph.name, place)))}")
    return "\n".join(lines)


def gaps(view: Outline, shown: Collection[int]) -> list[int | Sequence[int]]:
    """What is shown, one by one, and between them the stretches that are not."""
    found: list[int | Sequence[int]] = []
    begin, order = 0, view.order
    for place in sorted(view.places[number] for number in shown):
        if begin < place:
            found.append(order[begin:place])
        found.append(order[place])
        begin = place + 1
    if begin < len(order):
        found.append(order[begin:])
    return found


def counted(counts: Counter[str]) -> str:
    """``812 more calls of step, 3 of tokenize``; the sum is exact however many names there are."""
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} of {cut(function_name(name), 40)}" for name, count in most[:_NAMED]]
    if rest := most[_NAMED:]:
        parts.append(f"{sum(count for _, count in rest):,} of {len(rest):,} others")
    number, _, first = parts[0].partition(" of ")
    return ", ".join([f"{number} more {'call' if number == '1' else 'calls'} of {first}", *parts[1:]])


def _indent(view: Outline, number: int) -> str:
    return "    " * min(view.depths[number], _DEEPEST)


def _line(graph: Graph, number: int, names: Sequence[str], varying: Collection[tuple[int, str]]) -> str:
    node = graph[number]
    edges, held = sure(graph, number), {role for role, _ in node.literals}
    arguments = [f"{_role(edge.role)}={names[edge.source]}" for edge in edges if edge.how == "arg" and edge.role not in held]
    for role, value in node.literals:
        text = f"{names[number]}_{identifier(role)}" if (number, role) in varying else written(value, _SHORT)
        arguments.append(f"{_role(role)}={text}")
    if len(arguments) > _ARGUMENTS:
        arguments[_ARGUMENTS - 2 :] = [f"... {len(arguments) - _ARGUMENTS + 2:,} more"]
    line = f"{names[number]} = {function_name(node.name)}({', '.join(arguments)})"
    mutated = node.meta.get("mutated")
    notes = [
        *_note("holds", [edge for edge in edges if edge.how == "arg" and edge.role in held], names),
        *_note("reads", [edge for edge in edges if edge.how == "reads"], names),
        *_note("perhaps from", [edge for edge in edges if edge.how == "inferred"], names),
        *([f"raised {cut(gist(raised(node)), _SHORT)}"] if node.kind == "exception" else ()),
        *([f"changed since: {written(mutated, _SHORT)}"] if mutated else ()),
    ]
    return defused(f"{line}  # {'; '.join(notes)}" if notes else line)


def _role(text: str) -> str:
    return text if text.isidentifier() else cut(text.replace("\n", " "), _SHORT)


def _note(words: str, edges: Sequence[Edge], names: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(names[edge.source] for edge in edges))
    if not found:
        return []
    more = f" and {len(found) - _ARGUMENTS:,} more" if len(found) > _ARGUMENTS else ""
    return [f"{words} {', '.join(found[:_ARGUMENTS])}{more}"]
