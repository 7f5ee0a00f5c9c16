"""Proxies that a traced workflow worked with: what made them, as nodes among the nodes of its calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from agentopt.trace.flow import Flow, says_nothing
from agentopt.trace.node import Node as Proxy
from agentopt.trace.params import Param

__all__ = ["Links"]


class Links:
    """All that led to the proxies that calls were given or returned, and to ``targets``. O(their nodes and inputs), no recursion."""

    def __init__(self, flow: Flow, targets: Iterable[object] = ()) -> None:
        self._flow = flow
        self.places: dict[int, int] = {}
        """By the id of a proxy: the row that it stands for, whose value it wraps."""
        self.made: list[tuple[Proxy, int]] = []
        """The others, in the order in which they were made, each with the place of the call inside which it was."""
        self._seen: dict[int, Proxy] = {}
        self._reads: dict[tuple[int, int], list[int]] = {}
        for place, role, proxy in flow.proxies:
            self._walk(cast(Proxy, proxy), place if role == "return" else flow.spans[place], role == "return")
        for target in targets:
            if isinstance(target, Proxy):
                self._walk(target, -1, False)
        self.made.sort(key=_serial)

    def _walk(self, proxy: Proxy, span: int, returned: bool) -> None:
        """``span`` is the innermost call inside which it may have been made."""
        waiting = [proxy]
        while waiting:
            made = waiting.pop()
            if id(made) in self._seen:
                continue
            self._seen[id(made)] = made
            around = self._around(made, span)
            place = self._place_of(made)
            if place < 0 and made.op is None and returned and around == span:
                place = span  # what a call wrapped and returned came from that call
            if place >= 0:
                self.places[id(made)] = place
            else:
                self.made.append((made, around))
                waiting.extend(given for given in made.inputs if isinstance(given, Proxy))

    def _around(self, made: Proxy, span: int) -> int:
        """The innermost call from ``span`` outwards that had begun when it was made."""
        while span >= 0 and self._flow.rows[span][0] > made.serial:
            span = self._flow.spans[span]
        return span

    def _place_of(self, made: Proxy) -> int:
        """The row whose value it wraps, -1 if there is none."""
        rows = self._flow.rows
        if isinstance(made.op, Param):
            reads = self._all_reads().get((id(made.op), id(made.value)), ())
            return max((place for place in reads if rows[place][0] < made.serial), default=-1)
        if made.op is not None or says_nothing(made.value):
            return -1
        place = self._flow.origins.get(id(made.value), -1)
        return place if place >= 0 and rows[place][10] < made.serial else -1

    def _all_reads(self) -> dict[tuple[int, int], list[int]]:
        if not self._reads:
            for place, row in enumerate(self._flow.rows):
                if row[1] == "param":
                    self._reads.setdefault((id(row[2]), id(getattr(row[6], "value", row[6]))), []).append(place)
        return self._reads


def _serial(made: tuple[Proxy, int]) -> int:
    return made[0].serial
