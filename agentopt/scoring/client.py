"""The controller's side of scoring: one scorer process per slot, started on first use, replaced when it fails."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence

from agentopt.core import wire
from agentopt.core.boot import THREADS_ONE, boot_command
from agentopt.core.errors import InfrastructureError, TaskError
from agentopt.core.evaluation import Failure, Measured
from agentopt.core.frames import FrameConnection
from agentopt.scoring.judge import Verdict

__all__ = ["Output", "Scorer", "Scorers"]

Output = tuple[str, bytes | memoryview, Measured]
"""The id of a case, the encoded output for it, and what was measured meanwhile."""

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
        self._line: FrameConnection | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def judge(self, outputs: Sequence[Output]) -> list[Verdict]:
        """A verdict for each encoded output. One that takes past the deadline fails, and the process is replaced.

        Raises TaskError when the task's score cannot be loaded, InfrastructureError when the process dies twice.
        """
        try:
            return await self._ask(outputs)
        except TimeoutError:
            await self.close()
            if len(outputs) > 1:
                return [verdict for output in outputs for verdict in await self.judge([output])]
            message = f"score took longer than {self._seconds:g} s (limits.score_seconds)"
            return [Verdict(failure=Failure("wrong", message, scorer_error=True))]
        except BaseException:
            await self.close()  # a reply may still come: it belongs to nobody
            raise

    async def _ask(self, outputs: Sequence[Output]) -> list[Verdict]:
        calls = [(case_id, len(data), m.wall, m.cpu, m.peak_bytes, m.rng_seed) for case_id, data, m in outputs]
        data = outputs[0][1] if len(outputs) == 1 else b"".join(data for _, data, _ in outputs)
        for _ in range(2):
            line = self._line or await self._start()
            line.send({"calls": calls}, data)
            frame = await line.receive(self._seconds * len(outputs))
            if frame is not None:
                return [Verdict.from_json(verdict) for verdict in frame[0]["verdicts"]]
            await self.close()
        raise InfrastructureError("the scorer process died twice in a row")

    async def _start(self) -> FrameConnection:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._spawn(theirs.fileno())
        self._line = line = await FrameConnection.over(ours)
        try:
            hello = await line.receive(_START_SECONDS)
        except TimeoutError:
            hello = None
        if hello is None:
            raise InfrastructureError("the scorer process did not start")
        if "error" in hello[0]:
            raise TaskError(f"score cannot be loaded in its own process: {hello[0]['error']}")
        return line

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
        process, line = self._process, self._line
        self._process = self._line = None
        if process is not None:
            process.kill()
            process.wait()
        if line is not None:
            await line.abort()


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
