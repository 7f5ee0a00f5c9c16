"""Whole programs behind the guard's door: a candidate is built once and run once per input, each time in a box of its own.

The compiler works in one box, the program in another that holds what was built, read-only. Nothing of the candidate's runs outside.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from agentopt.core import wire
from agentopt.core.errors import TaskError
from agentopt.core.task import Cases
from agentopt.core.text import clean_text
from agentopt.sandbox import kernel
from agentopt.sandbox.bwrap import View, find_bwrap
from agentopt.sandbox.door import PRINTED_KEPT, Ended, Measure, Reply
from agentopt.sandbox.harness import numpy_array
from agentopt.sandbox.launch import Bounds, Launch
from agentopt.sandbox.program import Piece, pieces_from_json
from agentopt.sandbox.walls import Caps
from agentopt.sandbox.watch import disk_use

__all__ = ["Programs", "program_cases", "spare_uid"]

_MB = 1 << 20
_COMPILERS_MEMORY, _COMPILERS_FILES, _COMPILERS_PROCESSES = 1024 * _MB, 64 * _MB, 64
_FIRST_SPARE_UID = 0x70000000
# how runtimes word it when the kernel gives them no more; it only decides under which name the failure is kept
_NO_MEMORY = (b"std::bad_alloc", b"MemoryError", b"out of memory", b"Out of memory", b"Cannot allocate memory", b"virtual memory exhausted")


def program_cases(cases: Cases) -> Cases:
    """The cases with their inputs as ``{"stdin": bytes, "args": [text]}``. Raises TaskError."""
    return {split: tuple(replace(case, input=_input(case.id, case.input)) for case in members) for split, members in cases.items()}


def _input(case_id: str, value: Any) -> dict[str, Any]:
    given = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"stdin": value}
    stdin, args = given.get("stdin", b""), given.get("args", ())
    if set(given) - {"stdin", "args"} or not isinstance(stdin, str | bytes):
        raise TaskError(f"case {case_id!r}: the input of a program is text or bytes for stdin, or {{'stdin': ..., 'args': [...]}}")
    if not isinstance(args, list | tuple) or not all(isinstance(word, str) and "\0" not in word for word in cast("list[Any]", args)):
        raise TaskError(f"case {case_id!r}: args is {args!r:.200}; give a list of words")
    return {"stdin": stdin.encode() if isinstance(stdin, str) else stdin, "args": [*cast("list[str]", args)]}


def spare_uid(pid: int) -> int | None:
    """For a guard of root: a user that nobody else is, so that the number of its processes can be bounded."""
    return _FIRST_SPARE_UID + pid if os.getuid() == 0 else None


class Programs:
    """Takes the place of ``Door``. ``orders`` holds the task's ``build`` and ``command``, and how many ``processes`` a run may be.

    Between two exchanges nothing of the candidate's is alive, so a run that fails costs no new build.
    """

    def __init__(self, scratch: Path, caps: Caps, orders: Mapping[str, Any], controllers: list[int]) -> None:
        bwrap = find_bwrap()
        if bwrap is None:
            raise OSError("bubblewrap is not installed")
        self._bwrap = bwrap
        self._scratch = scratch
        self._caps = caps
        self._build: Sequence[str] = orders["build"]
        self._command: Sequence[str] = orders["command"]
        self._processes: int = orders["processes"]
        self._sees: Sequence[tuple[str, str]] = [(source, place) for source, place in orders.get("sees", ())]
        self._stage = f"{scratch}-stage" if orders.get("staged") else ""
        self._controllers = controllers
        self._uid = spare_uid(os.getpid())
        self._printed = bytearray()
        self._printed_kept = self._printed_total = 0
        self._seconds = self._deadline = 0.0
        self._measure = Measure()

    # --- what the guard asks for

    def idle(self) -> Ended | None:
        """Returns when the controller wants something."""
        poll = select.poll()
        for descriptor in self._controllers:
            poll.register(descriptor, select.POLLIN)
        poll.poll()
        return None

    def start_deadline(self, seconds: float) -> None:
        """For everything that is exchanged until the next call."""
        self._seconds, self._deadline = seconds, time.monotonic() + seconds

    def start_clocks(self) -> None:
        self._measure = Measure()

    def read_clocks(self, answered: bool = False) -> Measure:
        """What the last program took; the set-up of its box does not count."""
        return self._measure

    def exchange(self, control: Mapping[str, Any], body: bytes | memoryview) -> Reply:
        """Without ``rng_seed``: place and build the candidate in ``body``. With it: run it on the input in ``body``.

        Raises Ended when there is nothing to run, and Abandoned.
        """
        value = wire.decode(body, numpy_array, finite=False)
        try:
            if "rng_seed" not in control:
                return self._make(pieces_from_json(value))
            return self._run(control["rng_seed"], value["stdin"], value["args"])
        except OSError as error:
            raise Ended("infrastructure", f"the program's box could not be set up: {error}") from None
        finally:
            kernel.end_children()

    def take_printed(self) -> bytes:
        """What was kept of stderr since the last call."""
        data, self._printed = bytes(self._printed), bytearray()
        return data

    def end(self) -> None:
        """Nothing should be left; whatever is, goes."""
        kernel.end_children()

    def close(self) -> None:
        """Holds nothing open between two exchanges."""

    # --- building

    def _make(self, pieces: Sequence[Piece]) -> Reply:
        for piece in pieces:
            self._place(piece)
        self._own()
        if not self._build:
            return Reply("ok", "", b"")
        caps = _for_a_compiler(self._caps)
        bounds = Bounds(self._seconds, caps.memory, caps.file, caps.output, _COMPILERS_PROCESSES)
        launch = self._launch(View(str(self._scratch), caps.scratch, writable=True, sees=self._sees), bounds)
        launch.look = self._look_at_scratch
        try:
            said = launch.run(self._build, b"", 0, self._deadline)
            self._look_at_scratch()
        except Ended as end:
            raise Ended(end.kind, clean_text(f"the build: {end.message}")) from None
        if launch.status != 0:
            words = clean_text((launch.said or said).decode(errors="replace").strip())
            return Reply("build", f"{self._build[0]}: {_how_it_ended(launch.status)}\n{words}".strip(), b"")
        return Reply("ok", "", b"")

    def _place(self, piece: Piece) -> None:
        relative = PurePosixPath(piece.path or _name(piece))
        if relative.is_absolute() or ".." in relative.parts:
            raise Ended("build", f"parameter {piece.name!r}: path {str(relative)!r} leaves the box's folder")
        target = self._scratch / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_text(piece.value if isinstance(piece.value, str) else json.dumps(piece.value), encoding="utf-8")
        except UnicodeEncodeError as error:
            raise Ended("build", f"parameter {piece.name!r} cannot be written as UTF-8: {error.reason}") from None
        target.chmod(0o755)

    def _own(self) -> None:
        """The folder goes to the user that the box will be."""
        if self._uid is not None:
            for folder, _, files in os.walk(self._scratch):
                for path in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chown(path, self._uid, self._uid)

    def _look_at_scratch(self) -> None:
        most = _for_a_compiler(self._caps).scratch
        if disk_use(str(self._scratch), most) > most:
            raise Ended("oversize", f"its files take more than limits.scratch_mb: {most} bytes")

    # --- running

    def _run(self, rng_seed: int, stdin: bytes, args: Sequence[str]) -> Reply:
        caps = self._caps
        bounds = Bounds(self._seconds, caps.memory, caps.file, caps.output, self._processes)
        launch = self._launch(View(str(self._scratch), caps.scratch, built=bool(self._build), sees=self._sees), bounds)
        try:
            output = launch.run([*self._command, *args], stdin, rng_seed, self._deadline)
        except Ended as end:
            return Reply(end.kind, clean_text(end.message), b"")
        finally:
            self._measure = launch.measure
        if launch.status != 0:
            return Reply(*_blame(launch), b"")
        try:
            return Reply("ok", "", wire.encode(output.decode(errors="replace"), caps.output))
        except wire.TooLargeError:
            return Reply("oversize", f"stdout got more than limits.output_mb: {caps.output} bytes", b"")

    def _launch(self, view: View, bounds: Bounds) -> Launch:
        if self._stage:
            os.makedirs(self._stage, 0o755, exist_ok=True)
        return Launch(self._bwrap, view, bounds, self._uid, self._controllers, self._hear, stage=self._stage)

    def _hear(self, data: bytes) -> None:
        kept = data[: PRINTED_KEPT - self._printed_kept]
        self._printed += kept
        self._printed_kept += len(kept)
        self._printed_total += len(data)
        if self._printed_total > self._caps.printed:
            raise Ended("oversize", f"it printed more than limits.printed_mb: {self._caps.printed} bytes")


def _for_a_compiler(caps: Caps) -> Caps:
    """The limits are the program's; what builds it gets some more where they are tight."""
    least_of = {"memory": _COMPILERS_MEMORY, "file": _COMPILERS_FILES, "scratch": _COMPILERS_FILES}
    return caps._replace(**{name: max(getattr(caps, name), least) for name, least in least_of.items()})


def _name(piece: Piece) -> str:
    suffix = {"config": ".json", "value": ".json", "prompt": ".txt"}.get(piece.kind)
    return piece.name + suffix if suffix else piece.file


def _how_it_ended(status: int) -> str:
    try:
        return f"ended by {signal.Signals(status - 128).name}"
    except ValueError:
        return f"exit status {status}"


def _blame(launch: Launch) -> tuple[str, str]:
    """Kind and message for a program that ended by itself, but not well."""
    words = launch.said.decode(errors="replace").strip()
    if launch.status == 128 + signal.SIGXCPU:
        return "timeout", "the CPU limit was reached"
    if launch.status == 128 + signal.SIGKILL:
        return "memory", "the system killed the program, most likely for want of memory"
    if any(word in launch.said[-4000:] for word in _NO_MEMORY):
        return "memory", clean_text(f"the memory limit was reached: {_how_it_ended(launch.status)}\n{words}")
    return "crash", clean_text(f"{_how_it_ended(launch.status)}\n{words}".strip())
