"""One evaluation, the same for every search: the program in a forked child, case by case under a deadline, scored here.

The child runs the task's own ``run`` on the case's input and sends the output as bytes; the parent has the task's own ``score`` judge
it. Programs come from a stream of edits and mean no harm, so there are no walls but the deadline and a bound on memory.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import struct
import tempfile
import time
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from agentopt.core import wire
from agentopt.core.evaluation import Failure, Measured
from agentopt.core.rng import rollout_seed
from agentopt.core.task import Case
from agentopt.sandbox.harness import Harness, Work
from agentopt.sandbox.program import pieces_of
from agentopt.scoring.judge import Judge
from benchmarks.search.problems import Problem

__all__ = ["Evaluator", "Rated"]

_MEMORY = 4 << 30


@dataclass(frozen=True)
class Rated:
    """``score`` is the first objective, the mean over the cases; None with a ``failure``."""

    score: float | None
    failure: str = ""


class Evaluator:
    """``rng_seed`` seeds the rollouts as a run of that seed does: the same case has the same random numbers for every program."""

    def __init__(self, problem: Problem, rng_seed: int) -> None:
        self.problem = problem
        self._rng_seed = rng_seed
        self._objective = problem.task.objectives[0].name
        self._judge = Judge.of(problem.task)
        self._seed_score: float | None = None
        problem.task.functions.get("warm", bool)()

    def rate(self, source: str, cases: Sequence[Case]) -> Rated:
        """The program on all of ``cases``; it ends at the first that fails, as the failure of the whole."""
        scores: list[float] = []
        for rated in self.each(source, cases):
            if rated.score is None:
                return rated
            scores.append(rated.score)
        return Rated(fmean(scores))

    def fitness(self, rated: Rated) -> float:
        """The same order as one positive number, for searches that maximise: 1 at the seed, 0 for a failure and at the least."""
        if self._seed_score is None:
            self._seed_score = self.rate(self.problem.seed, self.problem.train).score
            assert self._seed_score, f"{self.problem.name}: the seed needs a score other than 0"
        if rated.score is None:
            return 0.0
        share = rated.score / self._seed_score
        return max(0.0, share if self.problem.sign > 0 else 2.0 - share)

    def each(self, source: str, cases: Sequence[Case]) -> Generator[Rated, None, None]:
        """Case by case; after a failure there is no further one."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            self._in_the_child(source, cases, writer)
        os.close(writer)
        try:
            for case in cases:
                rated = self._judged(case, reader)
                yield rated
                if rated.score is None:
                    return
        finally:
            os.close(reader)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    # --- in the child

    def _in_the_child(self, source: str, cases: Sequence[Case], writer: int) -> None:
        """Never returns."""
        try:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(nowhere, number)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            warnings.simplefilter("ignore")
            task = self.problem.task
            folder = Path(tempfile.gettempdir())
            pieces = pieces_of(task.resolved, {**task.seed_values, self.problem.parameter.name: source})
            harness = Harness(Work(task.functions["run"]), pieces, lambda: folder, 64 << 20, private=True)
            harness.enter()
            outcome = harness.load()
            for case in cases:
                if outcome.status == "ok":
                    outcome = harness.rollout(wire.encode(case.input), rollout_seed(self._rng_seed, case.id, 0))
                head = json.dumps([outcome.status, outcome.message[-500:]]).encode()
                _write(writer, struct.pack("<II", len(head), len(outcome.output)) + head + outcome.output)
        finally:
            os._exit(0)

    # --- here

    def _judged(self, case: Case, reader: int) -> Rated:
        deadline = time.monotonic() + self.problem.task.limits.seconds
        try:
            head_size, size = struct.unpack("<II", _read(reader, 8, deadline))
            status, message = json.loads(_read(reader, head_size, deadline))
            output = _read(reader, size, deadline)
        except TimeoutError:
            return Rated(None, "timeout")
        except EOFError:
            return Rated(None, "crash: the process ended")
        if status != "ok":
            return Rated(None, f"{status}: {message}")
        measured = Measured(rng_seed=rollout_seed(self._rng_seed, case.id, 0))
        verdict = self._judge.judge(case, output, measured)
        return Rated(None, _said(verdict.failure)) if verdict.failure else Rated(verdict.scores[self._objective])


def _said(failure: Failure) -> str:
    return f"{failure.kind}: {failure.message}"


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]


def _read(reader: int, size: int, deadline: float) -> bytes:
    """Raises TimeoutError and EOFError."""
    parts: list[bytes] = []
    while size:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(reader, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
