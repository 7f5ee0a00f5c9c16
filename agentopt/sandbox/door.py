"""The guard's side of a box: one request at a time, under a clock and under caps, against a box that may do anything."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

from agentopt.core import wire
from agentopt.core.text import clean_text
from agentopt.sandbox import kernel
from agentopt.sandbox.harness import ARTIFACTS, EXIT_MEMORY, is_artifact_name
from agentopt.sandbox.walls import Caps, CpuClock
from agentopt.sandbox.watch import Watch

__all__ = ["PRINTED_KEPT", "Abandoned", "Door", "Ended", "Measure", "Reply"]

PRINTED_KEPT = 64 << 10
_REPLY_CONTROL_CAP = 64 << 10
_LOOK_UP = 0.25
_STATUSES = frozenset({"ok", "syntax", "build", "crash", "memory", "wrong", "oversize"})


class Ended(Exception):
    """The box is over; ``kind`` is the failure."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Abandoned(Exception):
    """The controller hung up or died."""


class Measure(NamedTuple):
    """Wall and CPU seconds, peak resident bytes."""

    wall: float = 0.0
    cpu: float = 0.0
    peak: int = 0


class Reply(NamedTuple):
    """What the box answered. The body was not looked into."""

    status: str
    message: str
    body: bytes | memoryview
    artifacts: Sequence[tuple[str, int]] = ()
    """Name and size of each; their bytes lie at the end of the body."""


class Door:
    """``pid`` is the box, ``connection`` leads to it, ``printed`` is the pipe behind its stdout and stderr.

    ``controllers`` are descriptors at which something happens only when the controller wants an end. ``spare`` is the one child that
    outlives the box.
    """

    def __init__(self, pid: int, connection: socket.socket, printed: int, caps: Caps, controllers: list[int], spare: int) -> None:
        connection.setblocking(False)
        os.set_blocking(printed, False)
        self._pid = pid
        self._spare = spare
        self.watch: Watch | None = None
        """Over what it has too much of; set by whom makes the door."""
        self._connection = connection
        self._pipe = printed
        self._caps = caps
        self._controllers = controllers
        self._poll = select.poll()
        for descriptor in (connection.fileno(), printed, *controllers):
            self._poll.register(descriptor, select.POLLIN)
        self._incoming = wire.Frames(_REPLY_CONTROL_CAP, caps.output)
        self._closed = False
        self._printed = bytearray()
        self._printed_kept = self._printed_total = 0
        self._peak = kernel.PeakMemory(pid)
        self._second_clock = CpuClock(pid)
        self._wall = self._cpu = 0.0
        self._seconds = self._deadline = 0.0

    # --- waiting for the box, and for the controller

    def idle(self) -> Ended | None:
        """Returns when the controller wants something; Ended if meanwhile the box did what it may not, or died."""
        found: Ended | None = None
        killed = False
        while True:
            for descriptor, _ in self._poll.poll(_LOOK_UP * 1000):
                if descriptor in self._controllers:
                    return found
                try:
                    if descriptor == self._pipe:
                        self._drain()
                    else:
                        self._poll.unregister(self._connection)
                        found = found or self._unasked()
                except Ended as end:
                    found = found or end
            found = found or self._too_much()
            if found is not None and not killed:
                self._kill()  # at once; the rest of its end comes with the next request
                killed = True

    def _too_much(self, at_once: bool = False) -> Ended | None:
        why = self.watch.look(at_once) if self.watch else ""
        return Ended("oversize", why) if why else None

    def _unasked(self) -> Ended:
        with suppress(OSError):
            if self._connection.recv(1, socket.MSG_PEEK):
                return Ended("cheat", "the box answered before it was asked")
        return self._autopsy()

    # --- a request

    def start_deadline(self, seconds: float) -> None:
        """For everything that is exchanged until the next call."""
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._second_clock.allow(seconds)

    def start_clocks(self) -> None:
        self._peak.restart()
        self._cpu = kernel.cpu_seconds(self._pid)
        self._wall = time.monotonic()

    def read_clocks(self, answered: bool = False) -> Measure:
        """Raises Ended if the box ``answered`` though its first thread is gone: then the system tells nothing of its memory and files."""
        wall = time.monotonic() - self._wall
        peak = self._peak.read()
        if peak is None and answered:
            raise Ended("cheat", "its first thread ended before the answer")
        return Measure(wall, max(0.0, kernel.cpu_seconds(self._pid) - self._cpu), peak or 0)

    def exchange(self, control: Mapping[str, Any], body: bytes | memoryview) -> Reply:
        """Send a request, get its reply. Raises Ended (then the box is to be ended) and Abandoned."""
        nonce = os.urandom(8).hex()
        outgoing = self._push([memoryview(wire.pack_head({**control, "nonce": nonce}, len(body))), memoryview(body)])
        if outgoing:
            self._poll.modify(self._connection, select.POLLIN | select.POLLOUT)
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise Ended("timeout", f"no answer within limits.seconds: {self._seconds:g} s")
            if (reply := self._take_reply(nonce)) is not None:
                if (end := self._too_much(at_once=True)) is not None:
                    raise end
                return reply
            if self._closed:
                raise self._autopsy()
            outgoing = self._turn(left, outgoing)
            if (end := self._too_much()) is not None:
                raise end

    def _turn(self, left: float, outgoing: list[memoryview]) -> list[memoryview]:
        """Wait for something to happen and deal with it; what is still to be sent."""
        events = self._poll.poll(min(left, _LOOK_UP) * 1000)
        for descriptor, event in events:
            if descriptor in self._controllers:
                raise Abandoned
            if descriptor == self._pipe:
                self._drain()
                continue
            if event & select.POLLOUT and not (outgoing := self._push(outgoing)):
                self._poll.modify(self._connection, select.POLLIN)
            if event & ~select.POLLOUT:
                self._fill()
        # a process that the candidate started may keep the connection open after the box itself has died
        if not events and kernel.ended_by_itself(self._pid, 0):
            raise self._autopsy()
        return outgoing

    def _push(self, outgoing: list[memoryview]) -> list[memoryview]:
        try:
            count = self._connection.sendmsg(outgoing)
        except BlockingIOError:
            return outgoing
        except OSError:
            return []  # the box is dead or deaf; reading will tell which
        left: list[memoryview] = []
        for part in outgoing:
            if count < len(part):
                left.append(part[count:])
            count = max(0, count - len(part))
        return left

    def _fill(self) -> None:
        try:
            count = self._connection.recv_into(self._room())
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._incoming.filled(count)
        self._closed = count == 0

    def _room(self) -> memoryview:
        try:
            return self._incoming.room()
        except wire.WireError as error:
            raise self._misframed(error) from None

    def _misframed(self, error: wire.WireError) -> Ended:
        if isinstance(error, wire.TooLargeError):
            return Ended("oversize", f"the output is larger than limits.output_mb: {self._caps.output} bytes")
        return Ended("cheat", "the box sent something that is no reply")

    def _take_reply(self, nonce: str) -> Reply | None:
        """The reply if all of it is there; anything that is no reply to this request ends the box."""
        try:
            frame = self._incoming.take()
        except wire.WireError as error:
            raise self._misframed(error) from None
        if frame is None:
            return None
        control, body = frame
        if control.get("nonce") != nonce:
            raise Ended("cheat", "the box sent a reply that nobody had asked for")
        status, message = control.get("status"), control.get("message")
        if not isinstance(status, str) or status not in _STATUSES or not isinstance(message, str):
            raise Ended("cheat", "the box sent a reply with an unknown status")
        artifacts = _artifacts(control.get("artifacts", []), len(body))
        if sum(size for _, size in artifacts) > self._caps.artifacts:
            raise Ended("oversize", f"its artifacts take more than limits.artifacts_mb: {self._caps.artifacts} bytes")
        return Reply(status, clean_text(message), body, artifacts)

    # --- what it printed

    def _drain(self) -> None:
        """Read what is in the pipe; keep the first part, count the rest. Raises Ended past the cap."""
        while True:
            try:
                data = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                with suppress(KeyError):
                    self._poll.unregister(self._pipe)
                return
            kept = data[: PRINTED_KEPT - self._printed_kept]
            self._printed += kept
            self._printed_kept += len(kept)
            self._printed_total += len(data)
            if self._printed_total > self._caps.printed:
                raise Ended("oversize", f"it printed more than limits.printed_mb: {self._caps.printed} bytes")

    def take_printed(self) -> bytes:
        """What was kept since the last call."""
        data, self._printed = bytes(self._printed), bytearray()
        return data

    # --- the end

    def _autopsy(self) -> Ended:
        if not kernel.ended_by_itself(self._pid, 0.1):
            return Ended("crash", "the box closed its connection")
        status = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        if status is None or status.si_code == os.CLD_EXITED:
            code = status.si_status if status else 0
            if code == EXIT_MEMORY:
                return Ended("memory", "the memory limit was reached")
            return Ended("crash", f"the process ended with exit status {code} instead of an answer")
        number = status.si_status
        if number == signal.SIGXCPU:
            return Ended("timeout", "the CPU limit was reached")
        if number == signal.SIGKILL:
            return Ended("memory", "the system killed the process, most likely for want of memory")
        return Ended("crash", f"the process was ended by {_signal_name(number)}")

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the box and everything that came of it; keep the last words."""
        self._kill()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        kernel.end_children([self._spare])
        with suppress(Ended):
            self._drain()

    def close(self) -> None:
        """Give the descriptors back."""
        self._connection.close()
        os.close(self._pipe)
        self._peak.close()


def _signal_name(number: int) -> str:
    """Most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _artifacts(given: Any, room: int) -> Sequence[tuple[str, int]]:
    """Names and sizes as the box gave them, if they make sense. Raises Ended."""
    found: dict[str, int] = {}
    for item in cast("list[Any]", given) if isinstance(given, list) else [None]:
        match item:
            case [str(name), int(size)] if is_artifact_name(name) and size >= 0 and not isinstance(size, bool):
                found[name] = size
            case _:
                raise Ended("cheat", "the box sent artifacts that are none")
    if len(found) > ARTIFACTS or sum(found.values()) > room:
        raise Ended("cheat", "the box sent artifacts that are none")
    return list(found.items())
