"""What stands around a candidate where it runs: loads it, calls ``run``, turns what happens into an outcome.

It shares a process with the candidate, so nothing here is trusted: the guard measures, limits and judges the reply's form.
"""

from __future__ import annotations

import errno
import inspect
import os
import random
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Any, NamedTuple, TextIO, cast

from agentopt.core import wire
from agentopt.core.evaluation import Failure, FailureKind
from agentopt.core.text import clean_text
from agentopt.sandbox.program import BuildError, Piece, Program, Stage, pieces_from_json

__all__ = [
    "ARTIFACTS",
    "EXIT_MEMORY",
    "Context",
    "Harness",
    "Outcome",
    "Work",
    "failure_of",
    "is_artifact_name",
    "numpy_array",
    "seed_everything",
    "serve",
    "takes_context",
]

EXIT_MEMORY = 86
"""Exit status of a box in which there was not even memory left to say so."""
_FRAMES = 20
ARTIFACTS = 32
_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def is_artifact_name(name: Any) -> bool:
    return isinstance(name, str) and _ARTIFACT_NAME.fullmatch(name) is not None


class Outcome(NamedTuple):
    """``status`` is "ok" or a failure kind."""

    status: str
    message: str = ""
    output: bytes = b""
    artifacts: Sequence[tuple[str, bytes]] = ()


def failure_of(outcome: Outcome) -> Failure | None:
    return None if outcome.status == "ok" else Failure(cast(FailureKind, outcome.status), outcome.message)


class Work(NamedTuple):
    """What the task does with a program: at most one of the first two functions. ``warm`` runs before boxes are forked."""

    run: Callable[..., Any] | None = None
    evaluate: Callable[..., Any] | None = None
    warm: Callable[[], Any] | None = None


class Context:
    """The third argument of ``run``. ``scratch`` is a folder that lives as long as the box."""

    def __init__(self, scratch: Callable[[], Path]) -> None:
        self._scratch = scratch
        self._artifacts: dict[str, bytes] = {}

    @property
    def scratch(self) -> Path:
        return self._scratch()

    def artifact(self, name: str, data: bytes) -> None:
        """Keep bytes with this rollout: a picture, a table. They count as output. Raises ValueError for an unusable name."""
        if not is_artifact_name(name):
            raise ValueError(f"the artifact name {name!r:.80} is not usable: take letters, digits and ._- and at most 64 of them")
        if len(self._artifacts) >= ARTIFACTS:
            raise ValueError(f"a rollout keeps at most {ARTIFACTS} artifacts")
        self._artifacts[name] = bytes(data)

    def take_artifacts(self) -> list[tuple[str, bytes]]:
        kept, self._artifacts = self._artifacts, {}
        return list(kept.items())


class Harness:
    """One candidate, loaded once, run many times. ``private`` says that the process belongs to the candidate alone."""

    def __init__(self, work: Work, pieces: Sequence[Piece], scratch: Callable[[], Path], output_cap: int, private: bool) -> None:
        self._idle = work.run is None and work.evaluate is None
        self._pieces = pieces
        self._stage = Stage(pieces, scratch)
        self._context = Context(scratch)
        self._call = _caller(work, self._context)
        self._output_cap = output_cap
        self._private = private
        self._program: Program | None = None

    def on(self) -> AbstractContextManager[None]:
        """While this lasts, the candidate's modules can be imported."""
        return self._stage.on()

    def enter(self) -> None:
        """The same for the rest of the process's life."""
        self._stage.enter()

    def load(self) -> Outcome:
        """Outcome "ok", "syntax", "build" or "memory"."""
        if self._idle:
            return Outcome("ok")
        return self._guarded(self._load, "build")

    def rollout(self, data: bytes | memoryview, rng_seed: int) -> Outcome:
        """One call; ``data`` is the encoded input, the outcome holds the encoded output."""
        return self._guarded(lambda: self._rollout(data, rng_seed), "crash")

    def _load(self) -> Outcome:
        try:
            self._program = self._stage.load()
        except SyntaxError as error:
            return Outcome("syntax", _describe(error, self._files()))
        return Outcome("ok")

    def _rollout(self, data: bytes | memoryview, rng_seed: int) -> Outcome:
        if self._idle:
            value: Any = {piece.name: piece.value for piece in self._pieces}
        else:
            argument = wire.decode(data, numpy_array, finite=False)
            seed_everything(rng_seed)
            self._context.take_artifacts()
            value = self._call(self._program, argument)
        artifacts = self._context.take_artifacts()
        try:
            left = self._output_cap - sum(len(data) for _, data in artifacts)
            return Outcome("ok", "", wire.encode(value, max(0, left)), artifacts)
        except wire.TooLargeError:
            return Outcome("oversize", f"the output is larger than limits.output_mb: {self._output_cap} bytes")
        except wire.WireError as error:
            return Outcome("wrong", f"the output is not usable: {error}")

    def _guarded(self, action: Callable[[], Outcome], kind: str) -> Outcome:
        try:
            return action()
        except MemoryError:
            return Outcome("memory", "the memory limit was reached")
        except BuildError as error:
            return Outcome("build", str(error))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self._private:
                raise
            if isinstance(error, OSError) and error.errno == errno.ENOMEM:
                return Outcome("memory", "the memory limit was reached")
            return Outcome(kind, _describe(error, self._files()))

    def _files(self) -> set[str]:
        return {piece.file for piece in self._pieces if piece.is_python}


def _caller(work: Work, context: Context) -> Callable[[Any, Any], Any]:
    if work.evaluate is not None:
        evaluate = work.evaluate
        return lambda program, argument: _self_reported(evaluate(program))
    run = work.run
    if run is None:
        return lambda program, argument: None
    if takes_context(run):
        return lambda program, argument: run(program, argument, context)
    return run


@cache
def takes_context(run: Callable[..., Any]) -> bool:
    """Whether it has a third argument. Remembered: looking takes longer than a short call."""
    try:
        parameters = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 3 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _self_reported(result: Any) -> Any:
    """A Score, which is no plain value, as a dict; anything else as it is."""
    if hasattr(result, "scores") and hasattr(result, "feedback"):
        return {**result.scores, "feedback": result.feedback, "measures": dict(result.measures)}
    return result


def seed_everything(rng_seed: int) -> None:
    """The same random numbers for every candidate on the same case and repeat."""
    random.seed(rng_seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(rng_seed % 2**32)
    if "torch" in sys.modules:
        _seed_torch(sys.modules["torch"], rng_seed)


def _seed_torch(torch: Any, rng_seed: int) -> None:
    """Where torch has no other device, seeding them all would only cost time: it notes down where it was called from."""
    (torch.manual_seed if torch.backends.cuda.is_built() else torch.default_generator.manual_seed)(rng_seed)


def numpy_array(dtype: str, shape: tuple[int, ...], data: memoryview) -> Any:
    import numpy

    return numpy.frombuffer(data, dtype).reshape(shape).copy()


def _describe(error: BaseException, files: Iterable[str]) -> str:
    """The candidate's own traceback: its frames, then the error."""
    frames = [_shorten(frame, files) for frame in traceback.extract_tb(_tail(error.__traceback__))]
    lines = traceback.format_list([frame for frame in frames if frame is not None][-_FRAMES:])
    lines += traceback.format_exception_only(error)
    return clean_text("".join(lines).rstrip())


def _tail(trace: TracebackType | None) -> TracebackType | None:
    """The innermost part of a very deep traceback: formatting a million frames would take longer than the run did."""
    depth, node = 0, trace
    while node is not None:
        depth, node = depth + 1, node.tb_next
    for _ in range(depth - 10 * _FRAMES):
        trace = trace.tb_next if trace else None
    return trace


def _shorten(frame: traceback.FrameSummary, files: Iterable[str]) -> traceback.FrameSummary | None:
    for file in files:
        if frame.filename == file or frame.filename.endswith(os.sep + file):
            return traceback.FrameSummary(file, frame.lineno, frame.name, line=frame.line)
    return None


def serve(connection: socket, load_work: Callable[[], Work], scratch: str, output_cap: int) -> None:
    """The life of a box: answer the guard's requests until it hangs up. The first brings the candidate, the others an input each."""
    line = wire.FrameSocket(connection)
    harness: Harness | None = None
    streams = (sys.stdout, sys.stderr)
    while (frame := line.receive()) is not None:
        control, body = frame
        try:
            if harness is None:
                harness, outcome = _open(load_work, body, scratch, output_cap)
            else:
                outcome = harness.rollout(body, control["rng_seed"])
            for stream in streams:
                _flush(stream)
            reply: dict[str, Any] = {"nonce": control["nonce"], "status": outcome.status, "message": outcome.message}
            body = outcome.output
            if outcome.artifacts:
                reply["artifacts"] = [(name, len(data)) for name, data in outcome.artifacts]
                body = b"".join((body, *(data for _, data in outcome.artifacts)))
            line.send(reply, body)
        except MemoryError:
            os._exit(EXIT_MEMORY)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        return  # the candidate may have closed it


def _open(load_work: Callable[[], Work], spec: memoryview, scratch: str, output_cap: int) -> tuple[Harness | None, Outcome]:
    try:
        work = load_work()
    except ImportError as error:
        fix = "name the file in box_files or the module in imports"
        return None, Outcome("build", f"the task's function cannot be loaded in the box: {error}; {fix}")
    pieces = pieces_from_json(wire.decode(spec, numpy_array, finite=False))
    harness = Harness(work, pieces, lambda: Path(scratch), output_cap, private=True)
    harness.enter()
    return harness, harness.load()
