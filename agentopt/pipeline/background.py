"""A run in a thread of its own, which stops at each candidate until somebody says what came of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from agentopt.core.candidate import Candidate
from agentopt.core.errors import RunFailed
from agentopt.engine.foreground import Interruptible
from agentopt.engine.loop import Loop
from agentopt.executors.interactive import Listen
from agentopt.results import Result
from agentopt.scoring.judge import Verdict

__all__ = ["Background", "Turn"]

Turn = Future[Candidate | Result]
"""Done when it is the user's turn: the next candidate waits to be tried, or the run ended with a result or an error."""
Work = Callable[[Listen, Interruptible], Coroutine[Any, Any, Result]]
"""A run, given what its executor is to listen with, and who is to be told what may stop it."""
_CLOSED = "the stepper was closed while a step was under way"


class _QuickLoop(asyncio.SelectorEventLoop):
    """Does not wait for functions that still work in its pool: where the process ends, no thread can be started to wait with."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """``close`` tells the pool to end."""


class Background:
    """Has an event loop of its own, so it serves callers with a loop and without one alike. It is its executor's ``Listen``."""

    def __init__(self) -> None:
        self.turn: Turn = Future()
        self._lock = threading.Lock()
        self._begun = threading.Event()
        self._ended = self._closing = False
        self._engine: Loop | None = None
        self._thread: threading.Thread | None = None
        self._heard: asyncio.Future[tuple[Verdict, bytes]] | None = None

    def start(self, run: Work) -> Turn:
        """Once."""
        self._thread = threading.Thread(target=self._main, args=(run,), name="agentopt-stepper", daemon=True)
        self._thread.start()
        self._begun.wait()
        return self.turn

    def _main(self, run: Work) -> None:
        with asyncio.Runner(loop_factory=_QuickLoop) as runner:
            runner.run(self._work(run))

    async def _work(self, run: Work) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        try:
            result = await run(self, self._begin)
        except BaseException as error:
            self._end().set_exception(RunFailed(_CLOSED) if self._closing else error)
        else:
            if self._closing:
                self._end().set_exception(RunFailed(_CLOSED))
            else:
                self._end().set_result(result)

    def _begin(self, engine: Loop) -> None:
        self._engine = engine

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
        """Stop the run where it stands, and end the thread. May be called twice, and where nothing was started."""
        if self._thread is None:
            return
        with self._lock:
            if not self._ended:
                self._loop.call_soon_threadsafe(self._stop)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _stop(self) -> None:
        self._closing = True
        if self._engine:
            self._engine.interrupt()
        elif self._task:
            self._task.cancel()
