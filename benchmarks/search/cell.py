"""One cell: a task, a search, a seed. The search is a process of its own; programs are rated here, replies come from a third process.

    python -m benchmarks.search.cell FILE

reads what to do from FILE and prints the row.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any

from agentopt.testing.fake_llm import FakeLLM
from benchmarks.rows import ROOT
from benchmarks.search import problems
from benchmarks.search.evaluator import Evaluator, Rated
from benchmarks.search.peers.client import SOCKET
from benchmarks.search.standin import StandIn
from benchmarks.search.stream import Stream

__all__ = ["Cell", "run"]

_LAST_WORDS = 400
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Cell:
    """``command`` is the search's, without the file that tells it its job; ``options`` are handed to it."""

    task: str
    search: str
    seed: int
    evaluations: int
    command: list[str]
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 900.0


class Ledger:
    """What a search has had rated, in evaluations: rollouts over the number of train cases."""

    def __init__(self, evaluator: Evaluator, evaluations: int) -> None:
        self._evaluator = evaluator
        self._cases = evaluator.problem.train
        self._budget = evaluations * len(self._cases)
        self._rollouts = 0
        self._known: dict[str, dict[int, float]] = {}
        self.curve: list[Sequence[float]] = []
        self.best = evaluator.problem.seed
        self.failures = 0
        self.calls: int | None = None
        self.why = ""
        self.told_used: int | None = None

    @property
    def used(self) -> float:
        return self._rollouts / len(self._cases) if self.told_used is None else self.told_used

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """None where the budget is spent."""
        if "source" in request:
            return self._rated(request["source"], request.get("case"))
        self.calls = request.get("calls", self.calls)
        if "best" in request:
            self.best, self.curve, self.failures = request["best"], request["curve"], request["failures"]
            self.told_used, self.why = request["used"], request["why"]
        return {}

    def _rated(self, source: str, case: int | None) -> Mapping[str, Any] | None:
        indices = range(len(self._cases)) if case is None else [case]
        if self._rollouts + len(indices) > self._budget:
            return None
        self._rollouts += len(indices)
        rated = list(self._evaluator.each(source, [self._cases[index] for index in indices]))
        failure = rated[-1].failure
        self.failures += bool(failure)
        if not failure:
            known = self._known.setdefault(source, {})
            known |= {index: one.score for index, one in zip(indices, rated, strict=True) if one.score is not None}
            if len(known) == len(self._cases):
                self._complete(source, fmean(known.values()))
        mean = rated[-1] if failure else Rated(fmean(one.score for one in rated if one.score is not None))
        return {"fitness": self._evaluator.fitness(mean), "failure": failure}

    def _complete(self, source: str, score: float) -> None:
        sign = self._evaluator.problem.sign
        if not self.curve or sign * score > sign * self.curve[-1][1]:
            self.curve.append([self._rollouts / len(self._cases), score])
            self.best = source


def run(cell: Cell) -> dict[str, Any]:
    """The row of the cell. A search that fails is a row that says so."""
    _adopt()
    problem = problems.load(cell.task)
    evaluator = Evaluator(problem, cell.seed)
    ledger = Ledger(evaluator, cell.evaluations)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="search-") as folder, _model(cell.seed) as (url, count):
        why = _searched(cell, problem, ledger, Path(folder), url)
        counted = count()
    _reap()
    train = evaluator.rate(ledger.best, problem.train)
    held_out = evaluator.rate(ledger.best, problem.held_out)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "task": cell.task,
        "search": cell.search,
        "seed": cell.seed,
        "evaluations": cell.evaluations,
        "used": round(ledger.used, 3),
        "status": "failed" if why else "ok",
        "why": why or ledger.why,
        "train": train.score,
        "held_out": held_out.score,
        "held_out_failure": held_out.failure,
        "curve": ledger.curve,
        "failures": ledger.failures,
        "calls": counted["calls"] if ledger.calls is None else ledger.calls,
        "cpu_s": round(sum(usage.ru_utime + usage.ru_stime for usage in used), 2),
        "wall_s": round(time.monotonic() - began, 2),
        "best": ledger.best,
    }


@contextmanager
def _model(seed: int) -> Generator[tuple[str, Any]]:
    """The stand-in in a process of its own: its address, and a function that asks how much it was asked."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(seed, there), daemon=True)
    process.start()
    there.close()

    def count() -> dict[str, int]:
        here.send("count")
        return here.recv()

    try:
        yield here.recv(), count
    finally:
        here.send("end")
        process.join()


def _serve(seed: int, line: Connection) -> None:
    stand_in = StandIn(Stream(seed))
    with FakeLLM(stand_in) as server:
        line.send(server.url)
        while line.recv() == "count":
            line.send({"calls": stand_in.calls, "programs": stand_in.programs})


def _searched(cell: Cell, problem: problems.Problem, ledger: Ledger, folder: Path, url: str) -> str:
    """Let the search run until its end or its budget's; what went wrong, or nothing."""
    told = {"folder": str(folder), "name": cell.task, "goal": problem.task.goal, "seed": problem.seed, "url": url, "rng_seed": cell.seed}
    told |= {"evaluations": cell.evaluations, "cases": len(problem.train), "options": cell.options}
    (folder / "job.json").write_text(json.dumps(told))
    (folder / "seed.py").write_text(problem.seed)
    (folder / "marked.py").write_text(f"# EVOLVE-BLOCK-START\n{problem.seed.strip(chr(10))}\n# EVOLVE-BLOCK-END\n")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "socket"))
    listening.listen(64)
    listening.settimeout(0.05)
    environment = os.environ | {SOCKET: str(folder / "socket"), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    said = folder / "said.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [*cell.command, str(folder / "job.json")], cwd=ROOT, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        return _served(process, listening, ledger, time.monotonic() + cell.seconds) and _last_words(said)
    finally:
        _end(process)
        listening.close()


def _served(process: subprocess.Popen[bytes], listening: socket.socket, ledger: Ledger, deadline: float) -> bool:
    """Whether the search ended badly."""
    while time.monotonic() < deadline:
        try:
            line, _ = listening.accept()
        except TimeoutError:
            if process.poll() is None:
                continue
            return process.returncode != 0
        line.settimeout(60)
        with line, line.makefile("rw") as stream:
            answer = ledger.answer(json.loads(stream.readline()))
            if answer is None:
                return False
            try:
                stream.write(json.dumps(answer) + "\n")
                stream.flush()
            except OSError:
                continue
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _adopt() -> None:
    """What a search starts and leaves becomes a child of this process, so that its CPU time counts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _reap() -> None:
    """End what is left, and wait for all of it."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := children.read_text().split():
        for child in map(int, left):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _last_words(said: Path) -> str:
    return said.read_text(errors="replace").strip()[-_LAST_WORDS:] or "it ended without a word"


if __name__ == "__main__":
    print(json.dumps(run(Cell(**json.loads(Path(sys.argv[1]).read_text())))))
