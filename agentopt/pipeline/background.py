"""A run in a thread of its own, which stops at each candidate until somebody says what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from agentopt.core.candidate import Candidate
from agentopt.core.errors import RunFailed
from agentopt.executors.interactive import Listen
from agentopt.results import Result
from agentopt.scoring.judge import Verdict

__all__ = ["Background", "Turn"]

Turn = Future[Candidate | Result]
"""Done when it is the user's turn: the next candidate waits to be tried, or the run ended with a result or an error."""
_CLOSED = "the stepper was closed while a step was under way"


class Background:
    """Has an event loop of its own, so it serves callers with a loop and without one alike. It is its executor's ``Listen``."""

    def __init__(self) -> None:
        self.turn: Turn = Future()
        self._lock = threading.Lock()
        self._begun = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._heard: asyncio.Future[tuple[Verdict, bytes]] | None = None

    def start(self, run: Callable[[Listen], Coroutine[Any, Any, Result]]) -> Turn:
        """Begin ``run``, whose executor is to listen with what it is given. Once."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work(run)), name="agentopt-stepper", daemon=True)
        self._thread.start()
        self._begun.wait()
        return self.turn

    async def _work(self, run: Callable[[Listen], Coroutine[Any, Any, Result]]) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        try:
            result = await run(self)
        except asyncio.CancelledError:
            self._end().set_exception(RunFailed(_CLOSED))
        except BaseException as error:
            self._end().set_exception(error)
        else:
            self._end().set_result(result)

    async def __call__(self, candidate: Candidate) -> tuple[Verdict, bytes]:
        self._heard = self._loop.create_future()
        self.turn.set_result(candidate)
        return await self._heard

    def _end(self) -> Turn:
        """The turn that will say how it ended. It may be the user's turn already, as when the time is over."""
        with self._lock:
            self._ended = True
            if self.turn.done():
                self.turn = Future()
            return self.turn

    def tell(self, verdict: Verdict, trace: bytes) -> Turn:
        """What came of the candidate that waits. Lost on a run that has just ended."""
        with self._lock:
            if not self._ended:
                self.turn = Future()
                self._loop.call_soon_threadsafe(self._hear, (verdict, trace))
            return self.turn

    def _hear(self, said: tuple[Verdict, bytes]) -> None:
        if self._heard and not self._heard.done():
            self._heard.set_result(said)

    def close(self) -> None:
        """End the run where it stands, and the thread. May be called twice, and where nothing was started."""
        if self._thread is None:
            return
        with self._lock:
            if not self._ended and self._task:
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not threading.current_thread():
            self._thread.join()
