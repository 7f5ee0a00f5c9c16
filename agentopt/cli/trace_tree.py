"""A trace as a tree in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agentopt.cli.terminal import capped, harmless
from agentopt.trace.graph import Graph
from agentopt.trace.picture import Box, Picture, draw, seconds_text, summary, tokens_text

__all__ = ["print_trace", "trace_tree"]

_STYLES = {"param": "yellow", "input": "blue", "llm": "green", "tool": "magenta", "gap": "dim", "exception": "red"}
_USED = 4
_REMARKS = 10
_LINES = 12
_PLAIN = str.maketrans({"→": ">", "·": "-", "✗": "x", "←": "<", "◆": "*", "○": "o"})


def print_trace(title: str, graph: Graph, console: Console, most: int = 40, depth: int | None = None) -> None:
    """What it was given, what happened, what failed, and what was said of it."""
    picture = draw(graph, most, depth)
    head = Text(harmless(title), style="bold")
    console.print(_plain(head + Text(f"  {summary(graph)}", style="not bold dim"), console), soft_wrap=True)
    if picture.given:
        console.print()
        console.print(_given(picture, console))
    console.print()
    console.print(trace_tree(picture, console))
    for each in (_failure(graph, picture), _remarks(picture)):
        for line in each:
            console.print(line)


def trace_tree(picture: Picture, console: Console) -> Tree:
    """The steps of a picture, inner ones below those they are inside of."""
    top = Tree(Text("steps", style="dim"), guide_style="dim")
    trees = {-1: top}
    for number, box in enumerate(picture.boxes):
        if number >= picture.given:
            trees[number] = trees[box.around].add(_plain(_step(picture, number), console))
    return top


def _step(picture: Picture, number: int) -> Text:
    box = picture.boxes[number]
    if box.kind == "gap":
        return Text(harmless(f"... {box.title}"), style="dim", no_wrap=True, overflow="ellipsis")
    style = _STYLES.get(box.kind, "default")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{'✗ ' if box.kind == 'exception' else ''}{harmless(box.title)}", f"bold {style}")
    facts = [*([seconds_text(box.seconds)] if box.seconds else []), *([tokens_text(box.tokens)] if box.tokens else [])]
    text.append(f"  {' · '.join(facts)}" if facts else "", "dim")
    for word, names, colour in (("uses", _sources(picture, number, True), "yellow"), ("←", _sources(picture, number, False), "dim")):
        text.append(f"  {word} {names}" if names else "", colour)
    if box.detail:
        text.append(f"  {harmless(box.detail)}", "red" if box.kind == "exception" else "default")
    return text


def _sources(picture: Picture, number: int, params: bool) -> str:
    """Names of the parameters that a step uses, or of the steps and inputs whose values it was given."""
    names: list[str] = []
    for arrow in picture.arrows:
        source = picture.boxes[arrow.source]
        if arrow.target == number and (source.kind == "param") == params and source.kind != "gap":
            names.append(harmless(source.title) + ("?" if arrow.how == "inferred" else ""))
    names = list(dict.fromkeys(names))
    return ", ".join(names[:_USED]) + (f" and {len(names) - _USED} more" if len(names) > _USED else "")


def _given(picture: Picture, console: Console) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for box in picture.boxes[: picture.given]:
        mark = {"param": "◆ ", "input": "○ "}.get(box.kind, "... ")
        table.add_row(_plain(Text(mark + harmless(box.title), style=_STYLES[box.kind]), console), Text(harmless(box.detail)))
    return table


def _failure(graph: Graph, picture: Picture) -> Iterator[Padding | Text]:
    """Where the exception came from that ended it."""
    failed = [box for box in picture.boxes if box.failing]
    if failed:
        yield Text()
        yield Text(f"failed in {harmless(failed[-1].title)}", style="bold red")
        where = graph[failed[-1].nodes[0]].meta.get("where")
        yield Padding(Text(capped(str(where or failed[-1].detail), _LINES)), (0, 0, 0, 2))


def _remarks(picture: Picture) -> Iterator[Text]:
    if picture.remarks:
        yield Text()
        yield Text("feedback", style="dim")
    for place, said in picture.remarks[:_REMARKS]:
        about = _name(picture.boxes[place]) if place >= 0 else ""
        yield Text(f"  {about}{capped(said, _LINES)}".replace("\n", "\n    "))
    if (more := len(picture.remarks) - _REMARKS) > 0:
        yield Text(f"  ... {more} more", style="dim")


def _name(box: Box) -> str:
    return f"{harmless(box.title)}: "


def _plain(text: Text, console: Console) -> Text:
    """Signs that the terminal cannot show become others of one character, so that styles stay where they are."""
    if console.options.ascii_only:
        text.plain = text.plain.translate(_PLAIN)
    return text
