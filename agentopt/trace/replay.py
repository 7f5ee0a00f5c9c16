"""A record as far as it was read: what each object came from, and the parameters that a target depends on, without a graph."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from agentopt.trace.flow import Flow, Outcome, Row, says_nothing
from agentopt.trace.graph import Node
from agentopt.trace.linking import Links
from agentopt.trace.node import Node as Proxy
from agentopt.trace.params import Param
from agentopt.trace.values import Snapshot

__all__ = ["Ends", "Replay", "Said"]

Said = Sequence[tuple[Any, Any, Any]]
"""Feedback as traces keep it: what was judged comes first."""


class Ends:
    """Where objects came out, and what happened inside of what. By identity; nodes are places in ``flow``."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.params: dict[int, Any] = {}
        """Those that were read, by their ids, in the order of their first reads."""
        self.read: dict[int, Any] = {}
        """By place: the parameter that was read there."""
        self.children: dict[int, list[int]] = {}
        """What happened inside, by the call."""
        self._reads: dict[int, int] = {}
        """By the id of a parameter: where it was read last."""
        self._best: dict[int, int] = {}
        """By the id of an object: of all that gave it the outermost, and of those the last."""
        self._depths = array("q")
        self.extend()

    def extend(self) -> None:
        """Goes on with what ``flow`` has replayed since."""
        depths, best, first = self._depths, self._best, len(self._depths)
        for place, row in enumerate(self.flow.rows[first:], first):
            span, value, depth = self.flow.spans[place], row[6], 0
            if span >= 0:
                depth = depths[span] + 1
                self.children.setdefault(span, []).append(place)
            depths.append(depth)
            key = id(value.value) if type(value) is Snapshot else id(value)
            known = best.setdefault(key, place)
            if known != place and depth <= depths[known]:
                best[key] = place
            if row[1] == "param":
                self.params.setdefault(id(row[2]), row[2])
                self.read[place] = row[2]
                self._reads[id(row[2])] = place

    def place(self, target: Any) -> int:
        """Where ``target``, which is no proxy, came out; -1 if nothing in the record made it."""
        if id(target) in self._reads:
            return self._reads[id(target)]
        place = self._best.get(id(target), -1)
        if place < 0 or (self._depths[place] and says_nothing(target)):
            place = self.flow.origins.get(id(target), -1)
        return max(place, -1)


class _Proxies(NamedTuple):
    """The proxies among the rows. A node is a place, or behind those the position of a proxy in ``links.made``."""

    links: Links
    nodes: dict[int, int]
    """By the ids of proxies."""
    needs: dict[int, list[int]]
    """By node: the proxies that a call was given or made inside, and what a proxy was made of."""


class Replay:
    """Reads on where the rows go on, so that who asks again pays for the new rows alone.

    It has to begin anew when a call ends that began before something that is read already. With proxies in the record all of them are
    looked at again after new rows, whose calls may say another thing of where the proxies came from. For one thread at a time.
    """

    def __init__(self) -> None:
        self.flow = Flow()
        self.ends = Ends(self.flow)
        self._proxies: _Proxies | None = None
        self._targets: list[Proxy] = []
        """The proxies among what was judged, the first ``_said`` of it."""
        self._said = 0
        self._outcome: Outcome | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy begins anew: objects are known by their ids."""
        return (Replay, ())

    def read(self, rows: Sequence[Row]) -> None:
        """All ``rows`` of a record, of which those read before are the first. O(the new ones), but for a sort."""
        count = len(self.flow.rows)
        new = rows[count:]
        if new or len(rows) < count:
            self._proxies = None
            if len(rows) < count or not self.flow.extend(new):
                self.flow = Flow(rows)
                self.ends = Ends(self.flow)
            self.ends.extend()

    def told(self, target: Any, said: Said, outcome: Outcome | None = None) -> tuple[int, list[Any]]:
        """The number that ``target``, one of ``said``, has in the graph of the record, and the trainable parameters read in the
        record that it depends on: those whose names are among the parameters of ``Graph.subgraph``.

        O(what the target depends on), and once per state of the record O(its proxies).
        """
        proxies = self._linked(target, said, outcome)
        node, number = self._node(target, proxies, said, outcome)
        reached = self.ends.params.values() if node == _WHOLE else self._above(node, proxies)
        named: dict[str, Any] = {}
        for param in self.ends.params.values():
            named.setdefault(param.name, param)
        named.update((made.op.name, made.op) for made, _ in proxies.links.made if isinstance(made.op, Param))
        kept = {param.name for param in reached if named[param.name].trainable}
        return number, [param for param in self.ends.params.values() if param.trainable and param.name in kept]

    def _linked(self, target: Any, said: Said, outcome: Outcome | None) -> _Proxies:
        if len(said) < self._said or outcome is not self._outcome:
            self._proxies, self._targets, self._said, self._outcome = None, [], 0, outcome
            self._targets += [outcome.value] if outcome is not None and isinstance(outcome.value, Proxy) else []
        if self._proxies is None:
            self._proxies = _link(self.flow, self._targets)
        new = said[self._said :]
        self._said += len(new)
        known, judged = self._proxies.nodes, [target, *(each for each, _, _ in new)]
        unknown = [each for each in judged if isinstance(each, Proxy) and id(each) not in known]
        if unknown:
            self._targets += unknown
            self._proxies = _link(self.flow, self._targets)
        return self._proxies

    def _node(self, target: Any, proxies: _Proxies, said: Said, outcome: Outcome | None) -> tuple[int, int]:
        """Of what was judged: the node, and its number."""
        count = len(self.flow.rows)
        if isinstance(target, Node):
            return self._numbered(target.id, proxies, said, outcome), target.id
        node = proxies.nodes[id(target)] if isinstance(target, Proxy) else self.ends.place(target)
        if node < 0:
            return _WHOLE, count + len(proxies.links.made) + self._wholes(said, outcome).index(id(target))
        if node < count:
            return node, self._number(node, proxies)
        made = proxies.links.made[node - count][0]
        return node, node - count + bisect_left(self.flow.rows, made.serial, key=_begin)

    def _number(self, place: int, proxies: _Proxies) -> int:
        return place + bisect_left(proxies.links.made, self.flow.rows[place][0], key=_serial)

    def _numbered(self, number: int, proxies: _Proxies, said: Said, outcome: Outcome | None) -> int:
        """The node of that number."""
        count, made = len(self.flow.rows), len(proxies.links.made)
        if not 0 <= number < count + made:
            return _WHOLE if 0 <= number - count - made < len(self._wholes(said, outcome)) else _NOTHING
        place = bisect_left(range(count), number, key=lambda place: self._number(place, proxies))
        return place if place < count and self._number(place, proxies) == number else count + number - place

    def _wholes(self, said: Said, outcome: Outcome | None) -> list[int]:
        """The ids of targets that nothing in the record made, in the order of their nodes."""
        targets = [*([] if outcome is None else [outcome.value]), *(target for target, _, _ in said)]
        return list(dict.fromkeys(id(each) for each in targets if not isinstance(each, Node | Proxy) and self.ends.place(each) < 0))

    def _above(self, node: int, proxies: _Proxies) -> Iterable[Any]:
        """The parameters that are needed for a node, each as often as it was read."""
        if node == _NOTHING:
            return
        flow, read, children, made, needs = self.flow, self.ends.read, self.ends.children, proxies.links.made, proxies.needs
        count, sources, ends = len(flow.rows), flow.sources, flow.ends
        seen = bytearray(count + len(made))
        waiting = [node]
        seen[node] = 1
        for node in waiting:
            needed: Sequence[int] = ()
            if node < count:
                needed = sources[ends[node] : ends[node + 1]]
                if node in read:
                    yield read[node]
            elif isinstance(op := made[node - count][0].op, Param):
                yield op
            for source in (*needed, *children.get(node, ()), *needs.get(node, ())) if children or needs else needed:
                if not seen[source]:
                    seen[source] = 1
                    waiting.append(source)


_WHOLE, _NOTHING = -1, -2
"""In place of nodes: all rows, and none."""


def _link(flow: Flow, targets: Iterable[Proxy]) -> _Proxies:
    links, needs, count = Links(flow, targets), dict[int, list[int]](), len(flow.rows)
    nodes = {id(made): count + index for index, (made, _) in enumerate(links.made)}
    for made, span in links.made:
        if span >= 0:
            needs.setdefault(span, []).append(nodes[id(made)])
    nodes.update(links.places)
    for place, role, proxy in flow.proxies:
        if role != "return":
            needs.setdefault(place, []).append(nodes[id(proxy)])
    for made, _ in links.made:
        if made.op is not None and not isinstance(made.op, Param):
            needs.setdefault(nodes[id(made)], []).extend(nodes[id(given)] for given in made.inputs if isinstance(given, Proxy))
    return _Proxies(links, nodes, needs)


def _begin(row: Row) -> int:
    return row[0]


def _serial(made: tuple[Proxy, int]) -> int:
    return made[0].serial
