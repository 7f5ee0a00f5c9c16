"""Asks that a process left open are asked again where they stood in the log, and hear the replies that were paid for in their places.

So what they ask is what they asked then, however much was told in between, and nothing is paid twice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from agentopt.core.events import Event

__all__ = ["ASKING", "LeftAsk", "LeftAsks", "Rewind"]

ASKING: ContextVar[int] = ContextVar("ASKING", default=-1)
"""The index of the ask under way in this task, and in those that it starts."""
_TURNS = 20
"""Turns of the event loop in which whoever can go on has gone on."""
_GRACE = 0.2
"""Seconds that an ask may spend, once, with something that is not a model."""


@dataclass(frozen=True)
class LeftAsk:
    """An ask without an answer: its index, how many results it had seen, and how many proposals were wanted."""

    index: int
    seen: int
    wanted: int


class LeftAsks:
    """What a log says of asks that were not answered."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._open: dict[int, tuple[int, LeftAsk]] = {}
        self._paid: set[int] = set()
        for event in events:
            if event.kind == "asked":
                index = event.data["index"]
                self._open[index] = (event.seq, LeftAsk(index, event.data["seen"], event.data.get("wanted", 1)))
                self._paid.discard(index)
            elif event.kind == "llm_request" and "ask" in event.data:
                self._paid.add(event.data["ask"])
            elif event.kind == "proposed" or (event.kind == "note" and event.data["kind"] == "refused"):
                self._open.pop(event.data["index"], None)

    @property
    def again(self) -> dict[int, LeftAsk]:
        """Those that had asked a model: number of their event -> ask."""
        return {seq: left for index, (seq, left) in self._open.items() if index in self._paid}

    @property
    def unused(self) -> list[int]:
        """Indices of the others, which are free for an ask to come."""
        return sorted(set(self._open) - self._paid)

    @property
    def next_index(self) -> int:
        """One more than the highest of them."""
        return max(self._open, default=-1) + 1


class Rewind:
    """The place in the log up to which it was replayed, and who waits for a later one. Live, nobody waits."""

    def __init__(self) -> None:
        self._position = math.inf
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._asks: dict[int, asyncio.Task[object]] = {}
        self._elsewhere: set[int] = set()
        self._moves = 0
        self._moved = asyncio.Event()

    def begin(self) -> None:
        """From here on the log is replayed."""
        self._position = 0

    def reach(self, position: float) -> None:
        """The log was replayed up to the event of that number; ``inf`` ends the replay."""
        self._position = position
        due = [future for place, _, future in self._waiting if place <= position]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > position]
        for future in due:
            if not future.done():
                future.set_result(None)
                self._move()

    async def until(self, position: float) -> None:
        """Returns when the event of that number was replayed; ``inf``: when the replay is over."""
        if position <= self._position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, ASKING.get(), future))
        self._elsewhere.discard(ASKING.get())
        self._move()
        await future

    def watch(self, index: int, task: asyncio.Task[object]) -> None:
        """An ask that was just begun again."""
        self._asks[index] = task
        task.add_done_callback(lambda _: self._move())

    async def quiet(self) -> None:
        """Returns when every ask waits for a later place, has ended, or is held up by something else, such as another ask."""
        while any(not task.done() for task in self._asks.values()):
            moves = self._moves
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if moves != self._moves:
                continue
            waiting = {index for _, index, _ in self._waiting}
            missed = {index for index, task in self._asks.items() if not task.done()} - waiting - self._elsewhere
            if not missed:
                return
            self._moved.clear()
            try:
                async with asyncio.timeout(_GRACE):
                    await self._moved.wait()
            except TimeoutError:
                self._elsewhere |= missed

    def _move(self) -> None:
        self._moves += 1
        self._moved.set()
