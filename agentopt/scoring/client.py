"""The controller's side of scoring: one scorer process per slot, started on first use, replaced when it fails."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from agentopt.core import wire
from agentopt.core.boot import THREADS_ONE, boot_command
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured
from agentopt.scoring.judge import Verdict

__all__ = ["Scorer", "Scorers"]

_STREAM_LIMIT = 1 << 20
_START_SECONDS = 300.0
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class Scorer:
    """One process that judges, borrowed from ``Scorers``."""

    def __init__(self, orders: bytes, path: Sequence[str], seconds: float, free: list[Scorer]) -> None:
        self._orders = orders
        self._path = path
        self._seconds = seconds
        self._free = free
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def judge(self, case_id: str, data: bytes, measured: Measured) -> Verdict:
        """Judges the encoded output ``data``. Past the deadline the rollout fails and the process is replaced.

        Raises TaskError when the task's score cannot be loaded, InfrastructureError when the process dies twice.
        """
        request = wire.pack({"case": case_id, "measured": [measured.wall, measured.cpu, measured.peak_bytes]}, data)
        try:
            for _ in range(2):
                reader, writer = await self._running()
                writer.write(request)
                async with asyncio.timeout(self._seconds):
                    frame = await wire.read_frame(reader)
                if frame is not None:
                    return Verdict.from_json(frame[0])
                await self.close()
        except TimeoutError:
            await self.close()
            message = f"score took longer than {self._seconds:g} s (limits.score_seconds)"
            return Verdict(failure=Failure("wrong", message, scorer_error=True))
        except BaseException:
            await self.close()  # a reply may still come: it belongs to nobody
            raise
        raise InfrastructureError("the scorer process died twice in a row")

    async def _running(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            return await self._start()
        return self._reader, self._writer

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno())
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_STREAM_LIMIT)
        try:
            async with asyncio.timeout(_START_SECONDS):
                hello = await wire.read_frame(self._reader)
        except TimeoutError:
            hello = None
        if hello is None:
            raise InfrastructureError("the scorer process did not start")
        if "error" in hello[0]:
            raise TaskError(f"score cannot be loaded in its own process: {hello[0]['error']}")
        return self._reader, self._writer

    def _spawn(self, descriptor: int) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as orders:
            orders.write(wire.pack({"path": list(self._path)}, self._orders))
            orders.seek(0)
            # what score prints goes to stderr: stdout belongs to whoever reads our JSON
            return subprocess.Popen(
                boot_command("agentopt.scoring.process", str(descriptor), str(os.getpid())),
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | THREADS_ONE,
                stdin=orders,
                stdout=2,
                pass_fds=[descriptor],
                start_new_session=True,
            )

    def give_back(self) -> None:
        self._free.append(self)

    async def close(self) -> None:
        """May be called twice; a later judgement starts a new process."""
        process, writer = self._process, self._writer
        self._process = self._reader = self._writer = None
        if process is not None:
            process.kill()
            process.wait()
        if writer is not None:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


class Scorers:
    """The scorers of an executor: a session borrows one for its life.

    ``orders`` is ``(Judge, cases by id)`` pickled, ``path`` what the processes import from, ``seconds`` the deadline of one judgement.
    """

    def __init__(self, orders: bytes, path: Sequence[str], seconds: float) -> None:
        self._orders = orders
        self._path = path
        self._seconds = seconds
        self._free: list[Scorer] = []
        self._all: list[Scorer] = []

    def borrow(self) -> Scorer:
        if self._free:
            return self._free.pop()
        scorer = Scorer(self._orders, self._path, self._seconds, self._free)
        self._all.append(scorer)
        return scorer

    async def close(self) -> None:
        for scorer in self._all:
            await scorer.close()
