"""A trace as a picture in one file: steps from top to bottom, inner ones framed, what was given on the left, data flow on the right.

Text stands in filled boxes or has a middle grey, so that the picture can be read on white and on dark.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from html import escape

from agentopt.trace.graph import Graph
from agentopt.trace.picture import Arrow, Box, Picture, draw, seconds_text, summary, tokens_text

__all__ = ["to_svg"]

_LEFT, _GAP, _MAIN, _MARGIN = 250, 90, 560, 20
_ROW, _LOW, _SPACE, _INDENT, _LANE = 46, 26, 14, 18, 11
_LANES = 14
_REMARKS = 6
_CHAR, _SMALL = 7.4, 6.7
_GREY = "#808891"
# fill, line, text
_COLOURS = {
    "param": ("#fff0c2", "#c98a1b", "#3d2b00"),
    "input": ("#dbeafe", "#4b8df7", "#0b2a55"),
    "llm": ("#d9f5e1", "#2f9e55", "#08331a"),
    "tool": ("#ece4fb", "#8b5cf6", "#2b1457"),
    "gap": ("#ececef", "#9ca3af", "#52525b"),
    "failing": ("#fde2e2", "#e5484d", "#5f0d0d"),
    "step": ("#e9edf2", "#7a8699", "#1c2430"),
}
_STYLE = (
    "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.s{font-size:11px}.b{font-weight:600}"
    ".m{font:11px ui-monospace,'DejaVu Sans Mono',monospace}.e{text-anchor:end}"
)
_LEGEND = (("param", "parameter"), ("input", "input"), ("llm", "model"), ("tool", "tool"), ("step", "call"), ("failing", "failed"))


@dataclass
class _Page:
    """Where each box is, and what has been drawn."""

    picture: Picture
    spots: dict[int, tuple[float, float, float, float]] = field(default_factory=dict[int, "tuple[float, float, float, float]"])
    """Box -> left, top, width, height."""
    parts: list[str] = field(default_factory=list[str])


def to_svg(graph: Graph, most: int = 40, depth: int | None = None) -> str:
    """A self-contained SVG without scripts or fonts of its own; ``most`` and ``depth`` as in ``draw``."""
    picture = draw(graph, most, depth)
    page = _Page(picture)
    main = _MARGIN + (_LEFT + _GAP if picture.given else 0)
    bottom = _place_steps(page, main)
    bottom = max(bottom, _place_given(page))
    frames = [_frame(page, number) for number in range(picture.given, len(picture.boxes))]
    lanes = _flows(page, main)
    for number in range(len(picture.boxes)):
        _draw_box(page, number)
    bottom = _draw_remarks(page, main, bottom)
    page.parts.insert(0, _text(_MARGIN, 30, summary(graph), _GREY, "b"))
    _draw_legend(page, bottom + 16)
    width, height = main + _MAIN + 30 + lanes * _LANE, bottom + 44
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'role="img"><style>{_STYLE}</style>'
    )
    return "\n".join([head, f"<title>{_xml(summary(graph))}</title>", *frames, *page.parts, "</svg>"]) + "\n"


# --- where things are


def _place_steps(page: _Page, main: float) -> float:
    top = 50.0
    for number, box in list(enumerate(page.picture.boxes))[page.picture.given :]:
        indent = min(box.depth, 10) * _INDENT
        height = _LOW if box.kind == "gap" else _ROW
        page.spots[number] = (main + indent, top, _MAIN - 2 * indent, height)
        top += height + _SPACE
    return top


def _place_given(page: _Page) -> float:
    """Each beside the first step that uses it, as far as there is room."""
    wanted: list[tuple[float, int]] = []
    for number in range(page.picture.given):
        users = [page.spots[arrow.target][1] for arrow in page.picture.arrows if arrow.source == number and arrow.target in page.spots]
        wanted.append((min(users, default=50.0), number))
    top = 0.0
    for wish, number in sorted(wanted):
        height = _LOW if page.picture.boxes[number].kind == "gap" else _ROW
        top = max(top, wish)
        page.spots[number] = (_MARGIN, top, _LEFT, height)
        top += height + _SPACE
    return top


def _frame(page: _Page, number: int) -> str:
    """Around a step and all that happened inside it."""
    inner = [place for place, box in enumerate(page.picture.boxes) if box.around == number]
    if not inner:
        return ""
    left, top, width, _ = page.spots[number]
    last = number
    while inner:
        last = max(inner)
        inner = [place for place, box in enumerate(page.picture.boxes) if box.around == last]
    bottom = page.spots[last][1] + page.spots[last][3]
    line = _COLOURS["failing"][1] if page.picture.boxes[number].failing else _GREY
    return (
        f'<rect x="{left - 5:g}" y="{top - 5:g}" width="{width + 10:g}" height="{bottom - top + 10:g}" rx="9" fill="{_GREY}" '
        f'fill-opacity="0.1" stroke="{line}" stroke-opacity="0.6"/>'
    )


# --- arrows


def _flows(page: _Page, main: float) -> int:
    """Draws the arrows; returns how many lanes there are on the right."""
    given = page.picture.given
    taken: list[list[tuple[int, int]]] = []
    steps = [arrow for arrow in page.picture.arrows if min(arrow.source, arrow.target) >= given]
    for arrow in sorted(steps, key=lambda arrow: (abs(arrow.target - arrow.source), arrow.source)):
        low, high = sorted((arrow.source, arrow.target))
        lane = next((n for n, used in enumerate(taken) if all(high <= begin or end <= low for begin, end in used)), len(taken))
        if lane == len(taken) and lane < _LANES:
            taken.append([])
        lane = min(lane, _LANES - 1)
        taken[lane].append((low, high))
        _draw_flow(page, arrow, main + _MAIN + 14 + lane * _LANE)
    for arrow in page.picture.arrows:
        if arrow.source < given <= arrow.target:
            _draw_gift(page, arrow)
    return len(taken)


def _draw_flow(page: _Page, arrow: Arrow, x: float) -> None:
    left, top, width, height = page.spots[arrow.source]
    begin_x, begin_y = left + width, top + height * 0.68
    left, top, width, height = page.spots[arrow.target]
    end_x, end_y = left + width, top + height * 0.32
    bend = 8 if end_y > begin_y else -8
    path = f"M{begin_x:g} {begin_y:g}H{x - 8:g}q8 0 8 {bend}V{end_y - bend:g}q0 {bend} -8 {bend}H{end_x + 6:g}"
    _draw_path(page, arrow, path, _COLOURS["step"][1], (end_x, end_y, 1))


def _draw_gift(page: _Page, arrow: Arrow) -> None:
    left, top, width, height = page.spots[arrow.source]
    begin_x, begin_y = left + width, top + height / 2
    left, top, _, height = page.spots[arrow.target]
    end_y = top + height / 2
    middle = (begin_x + left) / 2
    path = f"M{begin_x:g} {begin_y:g}C{middle:g} {begin_y:g} {middle:g} {end_y:g} {left - 6:g} {end_y:g}"
    _draw_path(page, arrow, path, _colours(page.picture.boxes[arrow.source])[1], (left, end_y, -1))


def _draw_path(page: _Page, arrow: Arrow, path: str, colour: str, tip: tuple[float, float, int]) -> None:
    if page.picture.boxes[arrow.source].failing and page.picture.boxes[arrow.target].failing:
        colour = _COLOURS["failing"][1]
    dashes = ' stroke-dasharray="4 4"' if arrow.how == "inferred" else ""
    x, y, side = tip
    page.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4" stroke-opacity="0.85"{dashes}/>')
    page.parts.append(f'<path d="M{x:g} {y:g}l{8 * side} -4v8z" fill="{colour}"/>')


# --- boxes and words


def _colours(box: Box) -> tuple[str, str, str]:
    return _COLOURS["failing" if box.failing else box.kind if box.kind in _COLOURS else "step"]


def _draw_box(page: _Page, number: int) -> None:
    box, (left, top, width, height) = page.picture.boxes[number], page.spots[number]
    fill, line, ink = _colours(box)
    dashes = ' stroke-dasharray="4 3"' if box.kind == "gap" else ""
    page.parts.append(
        f'<g><title>{_xml(f"{box.title}: {box.detail}")}</title><rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" '
        f'rx="6" fill="{fill}" stroke="{line}" stroke-width="{2 if box.failing else 1}"{dashes}/>'
    )
    if box.kind == "gap":
        page.parts.append(_text(left + 10, top + 17, _fitting(f"... {box.title}", width - 20, _SMALL), ink, "s"))
    else:
        facts = " · ".join([*([seconds_text(box.seconds)] if box.seconds else []), *([tokens_text(box.tokens)] if box.tokens else [])])
        room = width - 24 - len(facts) * _SMALL
        page.parts.append(
            _text(left + 10, top + 18, _fitting(f"{'✗ ' if box.kind == 'exception' else ''}{box.title}", room, _CHAR), ink, "b")
        )
        page.parts.append(_text(left + 10, top + 36, _fitting(box.detail, width - 20, _SMALL), ink, "m"))
        if facts:
            page.parts.append(_text(left + width - 10, top + 18, facts, ink, "s e"))
    page.parts.append("</g>")


def _draw_remarks(page: _Page, main: float, top: float) -> float:
    remarks = page.picture.remarks
    for place, text in remarks[:_REMARKS]:
        about = f"{page.picture.boxes[place].title}: " if place >= 0 else ""
        page.parts.append(_text(main, top + 16, _fitting(f"▸ {about}{text}".replace("\n", " "), _MAIN, _SMALL), _GREY, "s b"))
        top += 20
    if (rest := len(remarks) - _REMARKS) > 0:
        page.parts.append(_text(main, top + 16, f"... {rest:,} more remarks", _GREY, "s"))
        top += 20
    return top


def _draw_legend(page: _Page, top: float) -> None:
    seen = {"failing" if box.failing else box.kind if box.kind in _COLOURS else "step" for box in page.picture.boxes}
    x = float(_MARGIN)
    for kind, word in _LEGEND:
        if kind in seen:
            fill, line, _ = _COLOURS[kind]
            page.parts.append(f'<rect x="{x:g}" y="{top:g}" width="12" height="12" rx="3" fill="{fill}" stroke="{line}"/>')
            page.parts.append(_text(x + 17, top + 10, word, _GREY, "s"))
            x += 34 + len(word) * _SMALL


def _text(x: float, y: float, text: str, colour: str, style: str = "") -> str:
    """``style`` are classes of the style sheet: b bold, m small and of fixed width, s small, e ending at ``x``."""
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" class="{style}">{_xml(text)}</text>'


def _fitting(text: str, width: float, per_char: float) -> str:
    """As much of ``text`` as there is room for, by a guess at its width; the end gives way to an ellipsis."""
    left = width / per_char
    for place, char in enumerate(text):
        left -= 1.9 if unicodedata.east_asian_width(char) in "WF" else 1
        if left < 0:
            return f"{text[: max(place - 1, 0)]}…"
    return text


def _xml(text: str) -> str:
    """Without what XML cannot hold."""
    kept = "".join(char for char in text if char in "\t\n" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff")
    return escape(kept)
