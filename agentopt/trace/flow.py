"""From rows to a graph: who made what each call was given.

Rows are replayed in the order of their ticks: what a call was given is looked up at its begin, what it gave is known from its end on. Every
object that was looked at is kept, so an ``id`` is never used twice. An ``arg`` edge says that this very object came from that node:

* the first to give an object made it; a call around that one which returns it hands it out, and stands for it from then on;
* who returns what it was given made nothing, unless it changed it on the way: an ``inferred`` edge says that the object may have come
  through it;
* what two calls gave independently of each other (a constant, a cached object) came from either: ``inferred`` edges to both;
* truth values, small numbers and interned texts are the same objects everywhere, and say nothing.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import ModuleType
from typing import Any, NamedTuple, cast

from agentopt.trace.functions import Function
from agentopt.trace.generators import Items
from agentopt.trace.graph import How, Kind
from agentopt.trace.texts import Texts
from agentopt.trace.values import ATOMS, ITEMS, Linked, More, Proxy, Snapshot, same, type_of

__all__ = ["Flow", "Outcome", "Row", "says_nothing", "shown"]

Row = tuple[int, Kind, Any, int, tuple[Any, ...], "dict[str, Any] | None", Any, float, float, "dict[str, Any] | None", int]
"""``(number, kind, what, span, args, kwargs, value, began, ended, meta, done)``; ``number`` and ``done`` are the ticks of begin and end."""
_NUMBER, _DONE = itemgetter(0), itemgetter(10)
_RIVALS = 8
_HELD = frozenset({Snapshot, Linked})
_SMALL = 1024
_MUTE: frozenset[type] = frozenset({bool, type(None), type(...), type(object), type(len), type(lambda: 0), ModuleType, More})
_SHARED_EMPTY = frozenset({bytes, tuple, frozenset})


class Outcome(NamedTuple):
    """What the workflow returned or raised."""

    value: Any


def shown(value: Any) -> Any:
    """What a graph shows of a value that a row holds."""
    kind = type_of(value)
    if kind is Snapshot:
        return value.copy
    if kind is Linked:
        return shown(value.value)
    if kind is Items:
        return value.shown()
    return value.value if isinstance(value, Proxy) else value


class Flow:
    """One replay of rows. Nodes are known by their place in the order of begins."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: list[Row] = []
        self.places: dict[int, int] = {}
        """By the numbers of rows."""
        self.spans: list[int] = []
        self.until = -1
        """The last tick that was replayed."""
        self.origins: dict[int, int] = {}
        """By the id of an object: the node that it came from; of one from outside ``~place`` of the first that was given it."""
        self.doubts: dict[int, list[int]] = {}
        """By the id of an object: nodes that it may also have come from."""
        self.ends = array("q", [0])
        """What arguments came from: of node i the edges from ``ends[i]`` to ``ends[i + 1]``, in these three columns."""
        self.sources = array("q")
        self.roles: list[str] = []
        self.hows: list[How] = []
        self.literals: dict[int, list[tuple[str, Any]]] = {}
        self.snapshots: dict[int, list[tuple[str, Snapshot]]] = {}
        """By place: what was copied, by the name of the argument or ``return``."""
        self.proxies: list[tuple[int, str, Proxy]] = []
        """Proxies that were given (place, role) or returned (role ``return``)."""
        self.texts = Texts()
        self._guesses: dict[int, list[int]] = {}
        """By the id of a text: what stands in it."""
        self._here: dict[tuple[int, str], int] = {}
        """The edges of the node at hand: (source, role) -> where in the columns."""
        self._held: list[Any] = []
        """What containers of other classes held when they were looked at: who changes them later would free it."""
        self.extend(rows)

    def extend(self, rows: Iterable[Row]) -> bool:
        """Replay what came after all that was replayed so far; with earlier ones among them nothing is done, and False returned.

        What is known afterwards is what one replay of all of them finds.
        """
        new = sorted(rows, key=_NUMBER)
        if not new:
            return True
        if new[0][0] <= self.until:
            return False
        first, places, spans = len(self.rows), self.places, self.spans
        self.rows += new
        places.update(zip(map(_NUMBER, new), range(first, len(self.rows)), strict=True))
        spans.extend([-1 if row[3] < 0 else places.get(row[3], -1) for row in new])
        self._replay(first, new)
        return True

    def _replay(self, first: int, new: Sequence[Row]) -> None:
        ended, at, places, gave, began = _ended(new), 0, self.places, self._gave, self._began
        last, ends, roles = len(ended), self.ends, self.roles
        for place, row in enumerate(new, first):
            number = row[0]
            while at < last and ended[at][10] < number:
                gave(places[ended[at][0]], ended[at][6])
                at += 1
            if row[4] or row[5]:
                began(place, row)
            ends.append(len(roles))
        for row in ended[at:]:
            gave(places[row[0]], row[6])
        self.until = max(new[-1][0], ended[-1][10] if ended else -1, self.until)

    # --- what was given

    def _began(self, place: int, row: Row) -> None:
        what, args, named = row[2], row[4], row[5]
        if self._here:
            self._here.clear()
        if args:
            roles = what.positional if type(what) is Function else ()
            origin, number, rows = self.origins.get, row[0], self.rows
            for position, value in enumerate(args):
                role = roles[position] if position < len(roles) else f"arg{position}"
                source = origin(id(value), -1)
                if source < 0 or self.doubts or rows[source][10] > number:
                    self._take(place, role, value)
                else:  # the way of most, in short: one object that one call made, which is over
                    self.sources.append(source)
                    self.roles.append(role)
                    self.hows.append("arg")
        if named:
            for role, value in named.items():
                self._take(place, role, value)

    def _take(self, place: int, role: str, held: Any) -> None:
        kind = type_of(held)
        value = held.value if kind in _HELD else held
        if kind is Snapshot:
            self.snapshots.setdefault(place, []).append((role, held))
        if kind is Linked and held.number in self.places:
            self._edge(place, self.places[held.number], role, "arg")
        elif isinstance(value, Proxy):
            self.proxies.append((place, role, value))
        elif not self._trace_back(place, role, value):
            self.literals.setdefault(place, []).append((role, shown(held)))
            if kind is str:
                self._guess(place, role, held)
            elif kind not in ATOMS:
                self._look_inside(place, role, held)

    def _look_inside(self, place: int, role: str, held: Any) -> None:
        for item in _inside(held):
            if isinstance(item, Proxy):
                self.proxies.append((place, role, item))
                continue
            self._held.append(item)
            if not self._trace_back(place, role, item) and type(item) is str:
                self._guess(place, role, item)

    def _trace_back(self, place: int, role: str, value: Any) -> bool:
        """Whether it is known which node made this object."""
        key = id(value)
        origin = self.origins.get(key)
        if origin is None:
            self.origins[key] = ~place
            return False
        if self.doubts and key in self.doubts:
            for doubt in self.doubts[key]:
                self._edge(place, doubt, role, "inferred")
        return origin >= 0 and self._edge(place, origin, role, "arg")

    def _guess(self, place: int, role: str, text: str) -> None:
        found = self._guesses.get(id(text))
        if found is None:  # what is made later cannot stand in a text that is there already
            found = self._guesses[id(text)] = self.texts.find(text)
        for source in found:
            self._edge(place, source, role, "inferred")

    def _edge(self, place: int, source: int, role: str, how: How) -> bool:
        if self.rows[source][10] > self.rows[place][0] and self.is_inside(place, source):
            return False  # a generator's own item, inside of it
        known = self._here.get((source, role))
        if known is None:
            self._here[source, role] = len(self.roles)
            self.sources.append(source)
            self.roles.append(role)
            self.hows.append(how)
        elif how == "arg":
            self.hows[known] = how
        return True

    # --- what was made

    def _gave(self, place: int, held: Any) -> None:
        kind = type_of(held)
        if kind is float and id(held) not in self.origins:
            self.origins[id(held)] = place
        elif kind in ATOMS:
            self._hand_out(place, held, held)
            if kind is str:
                self._remember(place, held)
        elif isinstance(held, Proxy):
            self.proxies.append((place, "return", held))
        elif kind is Snapshot:
            self.snapshots.setdefault(place, []).append(("return", held))
            self._hand_out(place, held.value, held)
            self._give_inside(place, held)
        else:
            self._hand_out(place, held, held)
            self._give_inside(place, held)

    def _give_inside(self, place: int, held: Any) -> None:
        for item in _inside(held):
            if isinstance(item, Proxy):
                self.proxies.append((place, "return", item))
                continue
            self._held.append(item)
            self._hand_out(place, item, item)
            if type(item) is str:
                self._remember(place, item)

    def _remember(self, place: int, text: str) -> None:
        (self.texts.add_template if self.rows[place][1] == "param" else self.texts.add)(place, text)

    def _hand_out(self, place: int, value: Any, held: Any) -> None:
        if says_nothing(value):
            return
        key = id(value)
        origin = self.origins.get(key)
        if origin is None:
            self.origins[key] = place
        elif origin != place:
            self._hand_on(place, origin, key, held)

    def _hand_on(self, place: int, origin: int, key: int, held: Any) -> None:
        """An object that was there before."""
        row = self.rows[place]
        given = _given(row, key)
        if given is not None:
            if type(held) is Snapshot and type(given) is Snapshot and not same(held.copy, given.copy):
                self.origins[key] = place
            else:
                self._doubt(key, place)
        elif self.is_inside(origin if origin >= 0 else ~origin, place) or (row[1] == "param" and self._reads(origin) is row[2]):
            self.origins[key] = place
        else:
            passed_inside = any(self.is_inside(doubt, place) for doubt in self.doubts.get(key, ()))
            if origin >= 0 and not passed_inside:
                self._doubt(key, origin)
                self.origins[key] = ~origin
            self._doubt(key, place)

    def _reads(self, place: int) -> Any:
        return self.rows[place][2] if place >= 0 else None

    def _doubt(self, key: int, place: int) -> None:
        doubts = self.doubts.setdefault(key, [])
        if place not in doubts:
            doubts.append(place)
            del doubts[:-_RIVALS]

    def is_inside(self, place: int, span: int) -> bool:
        """Whether a node happened during ``span``, or is it."""
        while place > span:
            place = self.spans[place]
        return place == span


def _ended(rows: Iterable[Row]) -> list[Row]:
    """The rows in the order of their ends; for a generator one for each item."""
    ended: list[Row] = []
    for row in rows:
        if type(row[6]) is Items:
            ended.extend((*row[:6], item, *row[7:10], tick) for tick, item in row[6].given)
        else:
            ended.append(row)
    ended.sort(key=_DONE)
    return ended


def says_nothing(value: Any) -> bool:
    """Whether two who have this object may have it by chance."""
    kind = type_of(value)
    if kind is str:
        return _is_interned(value)
    if kind is int:
        return -_SMALL <= value <= _SMALL
    return kind in _MUTE or (kind in _SHARED_EMPTY and not value) or (kind is bytes and len(value) == 1)


def _is_interned(text: str) -> bool:
    """Whether the interpreter gives this object to all who write this text: names, and on newer interpreters what it says itself."""
    if len(text) < 2:
        return True
    known = getattr(sys, "_is_interned", None)
    if known is not None:
        return known(text)
    if not (text.isascii() and text.replace("_", "a").isalnum()):
        return False
    return sys.intern(text[:1] + text[1:]) is text  # a copy: it is thrown away if nobody has interned the text


def _given(row: Row, key: int) -> Any:
    """What the row holds of the argument that is this object; None if there is none."""
    for held in (*row[4], *(row[5] or {}).values()):
        value = held.value if type(held) in _HELD else held
        if id(value) == key:
            return held
        if type(value) not in ATOMS and any(id(item) == key for item in _inside(held)):
            return True
    return None


def _inside(held: Any) -> Iterator[Any]:
    """What builtin containers hold, at any depth: containers themselves, and other items."""
    left = 2 * ITEMS
    waiting: deque[Any] = deque()
    if type(held) is Snapshot:
        yield from held.parts
        waiting.append(held.copy)
    else:
        waiting.append(held)
    while waiting and left > 0:
        items = waiting.popleft()
        for item in list(cast("Mapping[Any, Any]", items).values()) if isinstance(items, dict) else _members(items):
            left -= 1
            if isinstance(item, dict | list | tuple | set | frozenset | deque):
                waiting.append(item)
            else:
                yield item


def _members(items: Any) -> Iterable[Any]:
    return cast("Iterable[Any]", items) if isinstance(items, list | tuple | set | frozenset | deque) else ()
