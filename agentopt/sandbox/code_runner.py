"""Calls of code parameters behind the walls: a box per code, kept open for many calls, from any thread and any event loop."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agentopt.core import wire
from agentopt.core.errors import InfrastructureError
from agentopt.core.evaluation import Failure
from agentopt.core.protocols import Wish
from agentopt.core.running import CodeCall, CodeFailed, unsendable
from agentopt.core.task import Limits, Parameter, Task
from agentopt.sandbox import kernel
from agentopt.sandbox.calling import NAME, call
from agentopt.sandbox.check import static_failure
from agentopt.sandbox.client import Box, BoxPlan, Report, Zygote
from agentopt.sandbox.harness import Work, numpy_array
from agentopt.sandbox.levels import Sandbox, choose
from agentopt.sandbox.payload import box_path
from agentopt.sandbox.program import Piece, pieces_to_json, uses_to_rows
from agentopt.sandbox.walls import caps_of

__all__ = ["BoxedCode", "Room", "open_runner"]

_LIMITS = Limits(output_mb=16.0)
"""What comes back is read in the caller's process, where it may take ten times its size."""
_CLOSED = "the code runner is closed"


@dataclass(frozen=True)
class Room:
    """How many boxes there may be."""

    calls: int = min(8, os.cpu_count() or 1)
    """Calls at one time; more wait for their turn."""
    idle: int = 16
    """Boxes kept open between calls; the one that was not used for the longest time is closed first."""


def open_runner(wish: Wish, limits: Limits | None = None, imports: Sequence[str] = (), room: Room | None = None) -> BoxedCode:
    """Who calls code in boxes of the best level that ``wish`` allows. Close it when done.

    ``limits`` hold per call (``seconds``) and per box. ``imports`` are modules that every box has from the start; others are imported
    in the box that uses them, which takes their time. Raises ConfigError for a wish that cannot be met, ConsentError if the user has
    to agree first, TaskError if boxes cannot read the Python environment.
    """
    task = Task("trainable code", parameters={NAME: Parameter(NAME, "code", "")}, imports=tuple(imports), limits=limits or _LIMITS)
    return BoxedCode(task, choose(task, wish), room or Room())


class BoxedCode:
    """A ``CodeRunner``. One box belongs to one source and one set of uses: what code leaves in its module, it alone may find again.

    The boxes live on a thread of their own. What a call draws from ``random`` follows from the caller's ``random``.
    """

    def __init__(self, task: Task, sandbox: Sandbox, room: Room) -> None:
        self.sandbox = sandbox.text
        self._limits = task.limits
        self._pid = os.getpid()
        self._boxes = _Boxes(_plan(task, sandbox), task.limits.seconds, room)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._shut: kernel.Closed | None = None
        self._over = False

    def call(self, call: CodeCall) -> Any:
        """Blocks the calling thread. Raises CodeFailed, TypeError for what cannot be sent, InfrastructureError if a box is lost."""
        future = self._begun(call)
        try:
            report = future.result()
        except BaseException:
            future.cancel()
            raise
        return _value(report)

    async def acall(self, call: CodeCall) -> Any:
        """As ``call``; the caller's event loop goes on meanwhile. Cancelled, it takes the box of the call along."""
        return _value(await asyncio.wrap_future(self._begun(call)))

    def _begun(self, call: CodeCall) -> Future[Report]:
        if self._pid != os.getpid():
            raise InfrastructureError("the code runner belongs to another process; a forked one has to open its own")
        spec, data = _packed(call)
        with self._lock:  # so that nothing is begun on a loop that has ended
            loop = self._running()
            return asyncio.run_coroutine_threadsafe(self._boxes.report(spec, random.getrandbits(63), data), loop)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._over:
            raise InfrastructureError(_CLOSED)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._shut = kernel.Closed()
            self._thread = threading.Thread(target=self._loop.run_forever, name="agentopt-code", daemon=True)
            self._thread.start()
        return self._loop

    def close(self) -> None:
        """Ends all boxes; calls that are under way end with InfrastructureError. May be called twice."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._over = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None or self._shut is None:
            return
        asyncio.run_coroutine_threadsafe(self._boxes.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        self._shut.end()

    def __enter__(self) -> BoxedCode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plan(task: Task, sandbox: Sandbox) -> BoxPlan:
    return BoxPlan(
        task=task.name,
        sandbox=sandbox,
        path=box_path(task),
        imports=task.imports,
        box_files=(),
        caps=caps_of(task.limits),
        work=pickle.dumps(tuple(Work(run=call))),
    )


class _Boxes:
    """The boxes, on the thread of their event loop."""

    def __init__(self, plan: BoxPlan, seconds: float, room: Room) -> None:
        self._zygote = Zygote(plan)
        self._seconds = seconds
        self._kept = room.idle
        self._turns = asyncio.Semaphore(room.calls)
        self._idle: list[tuple[bytes, Box]] = []
        """The one that was used last is at the end."""
        self._under_way: set[asyncio.Task[Any]] = set()
        self._over = False

    async def report(self, spec: bytes, rng_seed: int, data: bytes) -> Report:
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            return await self._report(spec, rng_seed, data)
        except asyncio.CancelledError:
            if self._over:
                raise InfrastructureError(_CLOSED) from None
            raise
        except OSError as error:  # no file, process or space for us
            raise InfrastructureError(f"a box could not be opened: {error}") from None
        finally:
            self._under_way.discard(task)

    async def _report(self, spec: bytes, rng_seed: int, data: bytes) -> Report:
        async with self._turns:
            box = await self._take(spec)
            try:
                (report,) = await box.rollouts(self._seconds, [(rng_seed, data)])
            finally:
                if box.usable:
                    self._idle.append((spec, box))
                else:
                    await box.close()
        return report

    async def _take(self, spec: bytes) -> Box:
        for place in reversed(range(len(self._idle))):
            if self._idle[place][0] == spec:
                return self._idle.pop(place)[1]
        while len(self._idle) >= self._kept:
            await self._idle.pop(0)[1].close()
        return await self._zygote.open(spec)

    async def close(self) -> None:
        self._over = True
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        while self._idle:
            await self._idle.pop()[1].close()
        await self._zygote.close()


def _packed(call: CodeCall) -> tuple[bytes, bytes]:
    """What opens the box and what goes in. Raises TypeError, naming what cannot be sent, and CodeFailed for code that is none."""
    if failure := _syntax(call.source):
        raise CodeFailed(failure.kind, failure.message)
    try:
        data = wire.encode([call.args, call.kwargs])
        spec = wire.encode(pieces_to_json([_piece(call)])) if call.uses else _plain_spec(call.source, call.entry)
    except wire.WireError as error:
        raise TypeError(_complaint(call) or str(error)) from None
    return spec, data


@lru_cache(maxsize=64)
def _syntax(source: str) -> Failure | None:
    return static_failure([Piece(NAME, "code", source, "python", None, None)])


@lru_cache(maxsize=64)
def _plain_spec(source: str, entry: str) -> bytes:
    return wire.encode(pieces_to_json([_piece(CodeCall(source, entry))]))


def _piece(call: CodeCall) -> Piece:
    return Piece(NAME, "code", call.source, "python", call.entry, None, uses_to_rows(call.uses))


def _complaint(call: CodeCall) -> str:
    given = [(f"argument {i + 1}", value) for i, value in enumerate(call.args)]
    given += [(f"argument {name}", value) for name, value in call.kwargs.items()]
    given += [(name, value) for name, how, value in uses_to_rows(call.uses) if how == "value"]
    return next((f"{call.entry}(): {words}" for name, value in given if (words := unsendable(value, name))), "")


def _value(report: Report) -> Any:
    """What the function returned. Raises CodeFailed."""
    if report.failure is not None:
        raise CodeFailed.of(report.failure.kind, report.failure.message)
    try:
        return wire.decode(report.output, numpy_array, finite=False)
    except wire.WireError as error:
        raise CodeFailed("wrong", f"the output is not usable: {error}") from None
