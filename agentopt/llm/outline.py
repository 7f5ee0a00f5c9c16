"""A reply cut into what it is made of: reasoning, prose, fenced blocks, tagged elements and SEARCH/REPLACE hunks.

One pass over the lines that matter. Patterns are anchored to a line and cannot backtrack over more than one, so the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from agentopt.llm.verdicts import Fault, Form

__all__ = ["Block", "Outline", "outline", "prepare"]

_MOST_EVENTS = 5000
_LOOKAHEAD = 64
"""So many fences are looked at to find the one that closes a block."""
_REASONING = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad|analysis|antthinking|inner_monologue"
_REASONING_FENCES = frozenset(_REASONING.split("|"))
_OTHER_BRACKETS = {"◁think▷": "◁/think▷", "[think]": "[/think]"}
_GENERIC = "code|new_code|improved_code|program|solution|answer|final_answer|prompt|new_prompt|instruction|new_instruction|diff"
_NAMING = "file|parameter|param|artifact|antArtifact|component"
_TAIL_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<|return|>", "<end_of_turn>", "</s>", "<｜end▁of▁sentence｜>")
_LONGEST_INFO = 300
_MOST_TAIL_TOKENS = 8
_FINAL_CHANNEL = "<|channel|>final<|message|>"

_FENCE = r"[\"“”«»]{0,2}(?P<fence>[`´‘’ˋ｀]{3,}|~{3,})(?P<info>[^\n]*)"
_LATE_FENCE = re.compile(r"(?P<late>`{3,})(?P<language>[A-Za-z][A-Za-z0-9+#]{0,19})[ \t]*$", re.M)
_SEARCH = r"(?:[<＜‹〈«]{5,12}[ \t]*(?:SEARCH|ORIGINAL|HEAD|OLD|BEFORE)\b|-{7}[ \t]SEARCH\b|<{7}(?=[ \t]*$))(?P<label>[^\n]*)"
_FENCE_LINE = re.compile(rf"^(?P<indent>[ \t]*){_FENCE}$", re.M)
_END = r"(?:[>＞›〉»]{5,12}|\+{7})[ \t]*(?:REPLACE|UPDATED|REPLACEMENT|NEW|AFTER)?[ \t:<]*"
_SEARCH_LINE = re.compile(rf"^[ \t]*{_SEARCH}$", re.M | re.I)
_MARK_LINE = re.compile(rf"^[ \t]*(?:(?P<end>{_END})|{_SEARCH})$", re.M | re.I)
_ORPHAN = re.compile(rf"</(?P<tag>{_REASONING})>", re.I)
_ATTRIBUTE = re.compile(r"\b(?:name|path|file|filename|id|title)\s{0,3}=\s{0,3}[\"']?([^\"'>\n]{1,200})", re.I)
_BLANK = re.compile(r"(?:[ \t]*\n)*")
_CLOSING_QUOTES = ' \t"“”«»'
_DIFF_TAGS = frozenset(("diff", "patch", "udiff"))
_TAGS_BELOW = frozenset(("python", "python3", "cuda", "cpp", "c++", "json"))
_PLAIN_TAGS = frozenset(("markdown", "md", "prompt", "text", "txt", "plaintext"))


@dataclass(frozen=True)
class Block:
    """Text that a reply sets apart. ``tag`` is its language, or the general name of its element or key, in lower case; ``name`` is
    what it is said to be for, as written."""

    body: str
    tag: str = ""
    name: str | None = None
    above: str = ""
    """The line of prose above it."""
    closed: bool = True
    form: Form = "rewrite"
    notes: tuple[str, ...] = ()
    escaped: bool = True
    """An element's text may hold entities; that of a CDATA section holds none."""


@dataclass
class Outline:
    """``prose`` is what lies outside of everything else; ``hunks`` are blocks from behind the SEARCH line up to the REPLACE line."""

    blocks: list[Block] = field(default_factory=list[Block])
    hunks: list[Block] = field(default_factory=list[Block])
    prose: str = ""
    hunks_closed: bool = False
    """The last hunk lies in a fence or element that was closed, so no further one was to come."""
    thinking: bool = False
    """The text ends inside of its reasoning."""


def prepare(text: str) -> str:
    """The text with plain line ends, without a byte order mark, a chat template's tokens and the channels before the final one."""
    text = text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    text = text.rpartition(_FINAL_CHANNEL)[2].rstrip()
    for _ in range(_MOST_TAIL_TOKENS):
        token = next(filter(text.endswith, _TAIL_TOKENS), None)
        if token is None:
            break
        text = text.removesuffix(token).rstrip()
    return text


def outline(text: str, names: Sequence[str], *, plain: bool = False, hunks: bool = True, longest: int = 1_000_000) -> Outline:
    """``names`` are the parameters, whose tags count as elements. ``plain``: every parameter is plain text, where fences may nest.

    Raises Fault for more blocks than anybody writes, or one of more than ``longest`` characters.
    """
    return _Scanner(_after_orphan(text, names), names, plain, hunks, longest).run()


def _after_orphan(text: str, names: Sequence[str]) -> str:
    """Some chat templates open the reasoning themselves, so that the reply holds its end alone."""
    match = _ORPHAN.search(text)
    if not match or match["tag"] in names or f"<{match['tag'].lower()}" in text[: match.start()].lower():
        return text
    before = text[max(0, match.start() - 200) : match.start()].rpartition("\n")[2]
    behind = text[match.end() : match.end() + 200].partition("\n")[0]
    return text if before.strip() and behind.strip() else text[match.end() :]


@dataclass(frozen=True)
class _Opener:
    """The line that opens a fence, or its end if the fence stands behind a sentence."""

    fence: str
    info: str
    indent: str
    start: int

    @classmethod
    def of(cls, match: re.Match[str]) -> _Opener:
        if match.re is _LATE_FENCE:
            return cls(match["late"], match["language"], "", match.start())
        return cls(match["fence"], match["info"].strip(_CLOSING_QUOTES), match["indent"], match.start())


@dataclass(frozen=True)
class _Wrapper:
    """The fence or element around hunks."""

    name: str | None
    above: str
    fence: bool


class _Scanner:
    def __init__(self, text: str, names: Sequence[str], plain: bool, hunks: bool, longest: int) -> None:
        self._text = text
        self._names = frozenset(names)
        self._plain = plain
        elements = "|".join([*map(re.escape, names), _NAMING, _GENERIC])
        reasoning = "|".join(word for word in _REASONING.split("|") if word not in names)
        search = rf"|(?P<search>{_SEARCH})$" if hunks else ""
        self._hunks = hunks
        self._longest = longest
        event = (
            rf"(?P<indent>[ \t]*)(?=[-~`´‘’ˋ｀\"“”«»<＜‹〈◁\[])(?:{_FENCE}$|(?P<think><(?P<word>{reasoning})>|◁think▷|\[THINK\])"
            rf"|<(?P<element>{elements})(?P<attributes>[ \t][^>\n]*)?>{search})"
        )
        self._events = re.compile(f"^{event}", re.M | re.I)
        self._here = re.compile(event, re.M | re.I)
        self._out = Outline()
        self._prose: list[str] = []
        self._wrapper: _Wrapper | None = None
        self._wrapper_closed = False
        self._floor = 0
        self._ends: dict[str, int] = {}
        """Per closing tag, where it was found last; -1 if there is none any more."""
        self._next_hunk = -1

    def run(self) -> Outline:
        position = events = 0
        while match := self._next(position):
            events += 1
            if events > _MOST_EVENTS:
                raise Fault("oversize", f"The reply holds more than {_MOST_EVENTS} blocks and tags; give one block per parameter.")
            self._prose.append(self._text[position : match.start()])
            if match.re is _LATE_FENCE or match["fence"]:
                position = self._fence(match)
            elif match["think"]:
                position = self._think(match)
            elif match["element"]:
                position = self._element(match)
            else:
                position = self._hunk(match)
        self._prose.append(self._text[position:])
        self._out.prose = "\n".join(part for part in self._prose if part.strip())
        return self._out

    def _next(self, position: int) -> re.Match[str] | None:
        """The next thing that begins a line; what follows another one on its line is looked at as if it began one."""
        match = self._here.match(self._text, position) or self._events.search(self._text, position)
        late = _LATE_FENCE.search(self._text, position, match.start() if match else len(self._text))
        sentence = self._text[max(position, late.start() - 200) : late.start()].rpartition("\n")[2] if late else ""
        return late if "`" not in sentence and any(map(str.isalpha, sentence)) else match

    # -- what begins at a line; each returns where the reader goes on

    def _think(self, match: re.Match[str]) -> int:
        closing = f"</{match['word']}>" if match["word"] else _OTHER_BRACKETS[match["think"].lower()]
        found = re.compile(re.escape(closing), re.I).search(self._text, match.end())
        if found:
            self._floor = found.end()
            return self._floor
        self._out.thinking = True
        return len(self._text)

    def _fence(self, match: re.Match[str]) -> int:
        text, opener = self._text, _Opener.of(match)
        info = opener.info
        if self._wrapper and self._wrapper.fence:
            self._wrapper = None
            if not info:
                self._out.hunks_closed = True
                return match.end()
        if "`" in info and opener.fence[0] != "~":
            return self._inline(match, info)
        tag, name, start = *_tag_and_name(info), match.end() + 1
        if tag is None:
            tag, start = "", match.start("info")
        elif not tag:
            tag, start = self._tag_below(start)
        end, after = self._closing(opener, tag, start)
        if self._holds_hunk(start, end) or self._opens_element(tag, start, end):
            self._wrapper = _Wrapper(name, self._above(opener.start), fence=True)
            self._floor = match.end()
            return match.end()
        if tag not in _REASONING_FENCES and after != end:
            body = _dedented(text[start:end], opener.indent)
            self._block(Block(body, tag, name, self._above(opener.start), closed=after > 0))
        self._floor = max(after, end)
        return self._floor

    def _opens_element(self, tag: str, start: int, end: int) -> bool:
        """Is it a fence around elements? Without a tag that says so, only around one that bears a name."""
        inner = self._here.match(self._text, _skip_blank(self._text, start, end)) if tag in ("", "xml", "html") else None
        return bool(inner and inner["element"] and (tag or self._element_name(inner)))

    def _tag_below(self, start: int) -> tuple[str, int]:
        """(tag, start of the body): small models write the language below the fence."""
        line = self._text[start : start + 40].partition("\n")[0]
        if line.strip().lower() in _TAGS_BELOW:
            return line.strip().lower(), start + len(line) + 1
        return "", start

    def _inline(self, match: re.Match[str], info: str) -> int:
        """A block on one line, or backticks in prose."""
        fence = match["fence"]
        body = info.rstrip(fence[0])
        if len(info) - len(body) >= len(fence) and "`" not in body:
            self._block(Block(body.strip() + "\n", "", None, self._above(match.start())))
            self._floor = match.end()
        else:
            self._prose.append(match[0])
        return match.end()

    def _closing(self, opener: _Opener, tag: str, start: int) -> tuple[int, int]:
        """(end of the body, where to go on): (end, 0) for a block that nothing closes, (end, end) for one that another one cuts off."""
        text, fence = self._text, opener.fence
        nests = tag in _PLAIN_TAGS or (self._plain and not tag)
        spare: re.Match[str] | None = None
        depth, since, doubles, singles = 0, start, 0, 0
        for match in islice(_FENCE_LINE.finditer(text, start), None if nests else _LOOKAHEAD):
            if (match["fence"][0] == "~") != (fence[0] == "~") or len(match["fence"]) < len(fence) or _deeper(match, opener, tag):
                continue
            info = match["info"].strip(_CLOSING_QUOTES)
            doubles += text.count('"""', since, match.start())
            singles += text.count("'''", since, match.start())
            since, in_string = match.end(), doubles % 2 or singles % 2
            if nests:
                spare = spare if info else match
                depth += 1 if info else -1
                if depth < 0:
                    return match.start(), match.end()
            elif not in_string and "`" not in info:
                again = info and _tag_and_name(info)[0] is not None
                return match.start(), match.start() if again else match.end()
            elif not info:
                spare = spare or match
        if spare:
            return spare.start(), spare.end()
        end = len(text)
        if text.endswith(fence) and end - len(fence) > start:
            return end - len(fence), end
        return end, 0

    def _element(self, match: re.Match[str]) -> int:
        text, word = self._text, match["element"]
        end = self._element_end(match)
        if end < 0 and text[match.end() : match.end() + 1] not in ("\n", ""):
            self._prose.append(match[0])
            return match.end()
        closed, after = end >= 0, end + len(word) + 3
        if not closed:
            end = after = len(text)
        name = self._element_name(match)
        if self._holds_hunk(match.end(), end):
            self._wrapper, self._floor = _Wrapper(name, "", fence=False), match.end()
            self._wrapper_closed = closed
            return match.end()
        inner = self._here.match(text, _skip_blank(text, match.end(), end))
        if inner and name is None and (inner["fence"] or inner["element"]):
            return match.end()
        body = text[match.end() : end]
        self._block(Block(body, word.lower(), name, self._above(match.start()), closed, "xml"))
        self._floor = after
        return after

    def _element_name(self, match: re.Match[str]) -> str | None:
        if match["element"] in self._names:
            return match["element"]
        attribute = _ATTRIBUTE.search(match["attributes"] or "")
        return attribute[1].strip() if attribute else None

    def _element_end(self, match: re.Match[str]) -> int:
        """Where the closing tag stands: the first one that ends its line."""
        closing = f"</{match['element']}>"
        position = self._ends.get(closing, 0)
        if 0 <= position < match.end():
            position = self._text.find(closing, match.end())
        while position >= 0 and self._text[position + len(closing) : position + len(closing) + 200].partition("\n")[0].strip():
            position = self._text.find(closing, position + 1)
        self._ends[closing] = position
        return position

    def _holds_hunk(self, start: int, end: int) -> bool:
        """Is there a SEARCH line? Asked for later and later places, so that none is looked for twice."""
        if self._hunks and self._next_hunk < start:
            found = _SEARCH_LINE.search(self._text, start)
            self._next_hunk = found.start() if found else len(self._text)
        return self._hunks and self._next_hunk < end

    def _hunk(self, match: re.Match[str]) -> int:
        text = self._text
        mark = _MARK_LINE.search(text, match.end())
        closed = bool(mark and mark["end"])
        stop = mark.start() if mark else len(text)
        label = match["label"].strip(" \t>:＞")
        label = label if _is_path(label) else ""
        around = self._wrapper or _Wrapper(None, "", fence=False)
        above = self._above(match.start()) or around.above
        body = _dedented(text[match.end() + 1 : stop], match["indent"])
        self._block(Block(body, "", label or around.name, above, closed, form="diff"))
        self._out.hunks_closed = self._wrapper is not None and not self._wrapper.fence and self._wrapper_closed
        self._floor = mark.end() if mark and closed else stop
        return self._floor

    # -- helpers

    def _block(self, block: Block) -> None:
        if len(block.body) > self._longest:
            raise Fault("oversize", f"The reply holds a block of {len(block.body)} characters; at most {self._longest} are read.")
        (self._out.hunks if block.form == "diff" else self._out.blocks).append(block)

    def _above(self, position: int) -> str:
        """The last line of prose before ``position`` and behind the previous block."""
        return self._text[max(self._floor, position - 400) : position].rstrip().rpartition("\n")[2].strip()


def _tag_and_name(info: str) -> tuple[str | None, str | None]:
    """What the info string of a fence says; a tag of None means that it is no info string but the first line of the text."""
    words = info.replace(":", " ").replace(",", " ").split() if len(info) <= _LONGEST_INFO else ()
    if not words:
        return None if info else "", None
    attribute = _ATTRIBUTE.search(info)
    tag = words[0].strip("{}.").lower()
    if _is_path(words[0]):
        return tag.rpartition(".")[2], words[0]
    if len(words) == 1 or attribute:
        return tag, attribute[1].strip(" }") if attribute else None
    if _is_path(words[1]):
        return tag, words[1]
    return (tag, None) if len(words) == 2 or "{" in info else (None, None)


def _is_path(word: str) -> bool:
    return "/" in word or "\\" in word or "." in word.strip("{}.")


def _deeper(inner: re.Match[str], outer: _Opener, tag: str) -> bool:
    """Is a fence too far in to close the other one? In a diff a fence of the text stands behind the mark of its line."""
    least = 1 if tag in _DIFF_TAGS else 4
    return len(inner["indent"].expandtabs(4)) >= len(outer.indent.expandtabs(4)) + least


def _dedented(body: str, indent: str) -> str:
    """A block that is indented with its fence, as in a list, without that indentation."""
    if not indent:
        return body
    return "\n".join(line.removeprefix(indent) if line.startswith(indent) else line.lstrip(" \t") for line in body.split("\n"))


def _skip_blank(text: str, start: int, end: int) -> int:
    """The start of the first line that is not blank."""
    blank = _BLANK.match(text, start, end)
    return blank.end() if blank else start
