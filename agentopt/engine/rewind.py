"""Asks that a process left open are asked again where they stood in the log, and hear the replies that were paid for in their places.

So what they ask is what they asked then, however much was told in between, and nothing is paid twice.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass

from agentopt.core.events import Event

__all__ = ["LeftAsk", "LeftAsks", "Rewind"]


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
            elif event.kind == "llm_request":
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
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []
        self._running = 0
        self._changed = asyncio.Event()

    def begin(self) -> None:
        """From here on the log is replayed."""
        self._position = 0

    def reach(self, position: float) -> None:
        """The log was replayed up to the event of that number; ``inf`` ends the replay."""
        self._position = position
        due = [waiting for waiting in self._waiting if waiting[0] <= position]
        self._waiting = [waiting for waiting in self._waiting if waiting[0] > position]
        for _, future in due:
            if not future.done():
                self._running += 1
                future.set_result(None)

    async def until(self, position: float) -> None:
        """Returns when the event of that number was replayed; ``inf``: when the replay is over."""
        if position <= self._position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, future))
        self._stop_running()
        await future

    def watch(self, task: asyncio.Task[object]) -> None:
        """A task that was started now counts as running until it waits or ends."""
        self._running += 1
        task.add_done_callback(lambda _: self._stop_running())

    async def quiet(self) -> None:
        """Returns when every watched task waits or has ended."""
        while self._running > 0:
            self._changed.clear()
            await self._changed.wait()

    def _stop_running(self) -> None:
        self._running -= 1
        self._changed.set()
