"""Traces for other tools: networkx, JSON, mermaid."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from agentopt.trace.graph import Graph
from agentopt.trace.picture import Box, Picture, draw, seconds_text, tokens_text
from agentopt.trace.written import cut, error_text, written

if TYPE_CHECKING:
    import networkx

__all__ = ["plain", "to_json", "to_mermaid", "to_networkx"]

_LONGEST = 100_000
_SHAPES = {"param": ("[/", "/]"), "input": ("([", "])"), "llm": ("{{", "}}"), "gap": ("[[", "]]")}
_LINES = {"arg": "-->", "reads": "-.->", "inferred": "-. perhaps .->", "contains": "-->"}
_CLASSES = (
    "classDef param fill:#fff0c2,stroke:#b7791f,color:#3d2b00",
    "classDef input fill:#dbeafe,stroke:#3b82f6,color:#0b2a55",
    "classDef step fill:#eef1f5,stroke:#7a8699,color:#1c2430",
    "classDef llm fill:#e3f6e8,stroke:#2f9e55,color:#08331a",
    "classDef gap fill:#f4f4f5,stroke:#9ca3af,color:#52525b,stroke-dasharray:4",
    "classDef failing fill:#fde2e2,stroke:#dc2626,color:#5f0d0d,stroke-width:2px",
)


def to_networkx(graph: Graph) -> networkx.MultiDiGraph[int]:
    """Edges lead from what was needed to what needed it, with ``role`` and ``how``. Nodes have the fields of ``Node`` but its inputs."""
    import networkx

    made: networkx.MultiDiGraph[int] = networkx.MultiDiGraph(output=graph.output)
    for node in graph:
        about = node._asdict()
        made.add_node(node.id, **{key: about[key] for key in about if key not in ("id", "inputs")})
    for node in graph:
        made.add_edges_from((source, node.id, {"role": role, "how": how}) for source, role, how in node.inputs)
    return made


def to_json(graph: Graph) -> dict[str, Any]:
    """All of a trace as plain data: values that JSON does not have are texts, cut to 100,000 characters."""
    return {
        "nodes": [
            {
                "id": node.id,
                "kind": node.kind,
                "name": node.name,
                "span": node.span,
                "started": round(node.started, 6),
                "seconds": round(node.seconds, 6),
                "value": plain(node.value),
                "inputs": [{"source": source, "role": role, "how": how} for source, role, how in node.inputs],
                "literals": {role: plain(value) for role, value in node.literals},
                "meta": plain(dict(node.meta)),
            }
            for node in graph
        ],
        "functions": {name: asdict(info) for name, info in graph.functions.items()},
        "params": {name: asdict(info) for name, info in graph.params.items()},
        "feedback": [{"target": each.target, "text": each.text, "scores": plain(dict(each.scores))} for each in graph.feedback],
        "output": graph.output,
        "meta": plain(graph.meta),
    }


def plain(value: Any, depth: int = 20) -> Any:
    """``value`` as JSON has it; what JSON does not have is text."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else repr(value)
    if depth and type(value) in (list, tuple):
        return [plain(item, depth - 1) for item in cast("list[Any]", value)]
    if depth and type(value) is dict:
        items = cast("dict[Any, Any]", value).items()
        return {key if type(key) is str else written(key, 200): plain(item, depth - 1) for key, item in items}
    return cut(error_text(value), _LONGEST) if isinstance(value, BaseException) else written(value, _LONGEST)


def to_mermaid(graph: Graph, most: int = 40, depth: int | None = None) -> str:
    """A flowchart: spans as frames, parameters yellow, the way of an exception red; guesses are dotted and say so."""
    picture = draw(graph, most, depth)
    inside: dict[int, list[int]] = {}
    for number, box in enumerate(picture.boxes):
        inside.setdefault(box.around, []).append(number)
    lines = ["flowchart TD"]

    def write(number: int, indent: str) -> None:
        box = picture.boxes[number]
        begin, end = _SHAPES.get(box.kind, ("[", "]"))
        if number in inside:
            lines.append(f'{indent}subgraph s{number} ["{_label(box)}"]')
            for child in inside[number]:
                write(child, indent + "  ")
            lines.append(f"{indent}end")
        else:
            lines.append(f'{indent}n{number}{begin}"{_label(box)}"{end}')

    for number in inside.get(-1, ()):
        write(number, "  ")
    names = [f"{'s' if number in inside else 'n'}{number}" for number in range(len(picture.boxes))]
    for arrow in picture.arrows:
        if not (_is_inside(picture, arrow.source, arrow.target) or _is_inside(picture, arrow.target, arrow.source)):
            lines.append(f"  {names[arrow.source]} {_LINES[arrow.how]} {names[arrow.target]}")
    for number, (place, text) in enumerate(picture.remarks):
        lines.append(f'  f{number}>"{_escaped(cut(text, 200))}"]')
        if place >= 0:
            lines.append(f"  {names[place]} --- f{number}")
    lines += [f"  {each}" for each in _CLASSES]
    lines += [f"  class {names[number]} {_class(box)}" for number, box in enumerate(picture.boxes)]
    return "\n".join(lines) + "\n"


def _is_inside(picture: Picture, number: int, outer: int) -> bool:
    """A frame cannot have a line to what is in it."""
    while number >= 0 and number != outer:
        number = picture.boxes[number].around
    return number == outer


def _class(box: Box) -> str:
    return "failing" if box.failing else box.kind if box.kind in ("param", "input", "llm", "gap") else "step"


def _label(box: Box) -> str:
    facts = [*([seconds_text(box.seconds)] if box.seconds else []), *([tokens_text(box.tokens)] if box.tokens else [])]
    lines = [box.title, *([", ".join(facts)] if facts else []), *([cut(box.detail, 60)] if box.detail else [])]
    return "<br>".join(map(_escaped, lines))


def _escaped(text: str) -> str:
    """As mermaid wants it: nothing of it can end the label or be markup."""
    kept = "".join(char if char.isalnum() or char in " .,:;!?()'/+-=_→%$*@" else f"#{ord(char)};" for char in text)
    return kept.replace("#10;", " ")
