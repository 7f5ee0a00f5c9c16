"""One program, once, in a box of bubblewrap: started, let go, watched, ended, and measured from outside."""

from __future__ import annotations

import fcntl
import json
import math
import os
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from agentopt.sandbox import kernel, tree
from agentopt.sandbox.bwrap import View, arguments, environment, filter_descriptor
from agentopt.sandbox.door import Abandoned, Ended, Measure
from agentopt.sandbox.namespaces import set_stage

__all__ = ["Bounds", "Launch"]

_CHUNK = 1 << 18
_SAID_KEPT = 16 << 10
_OPEN_FILES = 256
_CORES = os.cpu_count() or 1
_FIRST_LOOK, _LOOKS = 0.002, 0.05
"""Seconds until a program is looked at for the first time, and between looks once it has run for a while."""
_PATIENCE = 2.0


class Bounds(NamedTuple):
    """What a program may use. ``memory`` bounds the address space of each process, and what all have resident together.

    ``file`` bounds each file it writes, ``output`` what it writes to stdout; all in bytes. ``processes`` counts threads too, and the one
    that bubblewrap keeps in the box: with 2 a program is alone.
    """

    seconds: float
    memory: int
    file: int
    output: int
    processes: int


def _nothing(data: bytes = b"") -> None:
    pass


@dataclass
class Launch:
    """One use of ``run``; what it leaves in ``status``, ``said`` and ``measure`` tells how it went, also after an exception.

    ``uid`` is whom bubblewrap is started as, if not as this process. ``controllers`` are descriptors at which something happens only
    when the controller wants an end. ``hear`` gets what the program writes to stderr; ``look`` is called while it runs. Both may raise
    Ended.
    """

    bwrap: str
    view: View
    bounds: Bounds
    uid: int | None = None
    controllers: Sequence[int] = ()
    hear: Callable[[bytes], None] = _nothing
    look: Callable[[], None] = _nothing
    stage: str = ""
    """Where a folder of ``view.sees`` is put for a ``uid`` who could not reach it by its path; empty if everybody can."""
    status: int = 0
    """The exit status, or 128 + the number of the signal that ended the program."""
    said: bytes = b""
    """The end of what it wrote to stderr."""
    measure: Measure = field(default_factory=Measure)

    def run(self, words: Sequence[str], stdin: bytes, rng_seed: int, deadline: float) -> bytes:
        """What the program wrote to stdout. ``deadline`` is a time of the monotonic clock.

        Raises Ended (timeout, memory, oversize; build for a program that is not there; infrastructure) and Abandoned.
        """
        self._deadline = deadline
        self._output = bytearray()
        self._pid = self._most_resident = 0
        self._most_cpu = self._let_go = self._ended = 0.0
        with ExitStack() as self._stack:
            self._start(words, stdin, rng_seed)
            try:
                self._release()
                self._attend()
            finally:
                self._end()
        return bytes(self._output)

    # --- before the program runs

    def _start(self, words: Sequence[str], stdin: bytes, rng_seed: int) -> None:
        """Start bubblewrap such that it waits before it lets the program begin."""
        with ExitStack() as passed:
            self._stdout, stdout = self._pipe(passed)
            self._stderr, stderr = self._pipe(passed)
            self._news, tell = self._pipe(passed)
            wait, self._gate = os.pipe()
            passed.callback(os.close, wait)
            self._stack.callback(os.close, self._gate)
            flags = {"--seccomp": filter_descriptor(), "--json-status-fd": tell, "--block-fd": wait}
            passed.callback(os.close, flags["--seccomp"])
            source = _sealed(stdin)
            passed.callback(os.close, source)
            user: dict[str, Any] = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": ()}
            self._process = subprocess.Popen(
                [self.bwrap, *arguments(self._seen(), words, flags)],
                stdin=source,
                stdout=stdout,
                stderr=stderr,
                env=environment(rng_seed),
                cwd="/",
                pass_fds=tuple(flags.values()),
                preexec_fn=None if self.uid is None else self._become,
                **({} if self.stage else user),
            )
        self._monitor = self._watched(self._process.pid)

    def _seen(self) -> View:
        """The view as bubblewrap finds it once ``_become`` is done."""
        if not self.stage:
            return self.view
        return replace(self.view, sees=[(f"{self.stage}/{k}", place) for k, (_, place) in enumerate(self.view.sees)])

    def _become(self) -> None:
        """In the child, before bubblewrap: another user, with limits, who finds on the stage what lies behind closed folders."""
        if self.stage:
            assert self.uid is not None
            set_stage(self.stage, [source for source, _ in self.view.sees])
            os.setgroups(())
            os.setgid(self.uid)
            os.setuid(self.uid)
        self._limit(0)

    def _pipe(self, passed: ExitStack) -> tuple[int, int]:
        """The end to read from is ours, the other is passed on."""
        ours, theirs = os.pipe()
        self._stack.callback(os.close, ours)
        passed.callback(os.close, theirs)
        return ours, theirs

    def _watched(self, pid: int) -> int:
        descriptor = os.pidfd_open(pid)
        self._stack.callback(os.close, descriptor)
        return descriptor

    def _release(self) -> None:
        """Set the limits from outside, let the program go and start the clocks.

        The way to there does not count: bubblewrap closes its end of the gate when it goes through.
        """
        self._wait_for(self._news, select.POLLIN)
        if not (line := self._news_line()):
            raise self._not_begun()
        try:
            self._inside = self._watched(pid := json.loads(line)["child-pid"])
            self._pid = pid
            _offer_to_the_killer(pid)
            if self.uid is None:
                self._limit(pid)
            os.write(self._gate, b"\0")
        except (ProcessLookupError, BrokenPipeError):
            raise self._not_begun() from None
        self._wait_for(self._gate, 0)
        self._cpu_before = kernel.cpu_seconds(self._pid)
        self._let_go = time.monotonic()

    def _news_line(self) -> bytes:
        """The next line of bubblewrap's news, which it writes at once; empty at their end."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._news, 1)):
            line += byte
        return line

    def _limit(self, pid: int) -> None:
        """A spare user has no other processes, so its limits are set before bubblewrap begins. An ordinary user has: its number of
        processes is bounded only when the box is a namespace of its own, which is the place to set limits from outside.
        """
        bounds = self.bounds
        limits = {
            resource.RLIMIT_AS: bounds.memory,
            resource.RLIMIT_NPROC: bounds.processes + (0 if pid else 1),  # bubblewrap itself is another one of the spare user
            resource.RLIMIT_FSIZE: bounds.file,
            resource.RLIMIT_NOFILE: _OPEN_FILES,
            resource.RLIMIT_CORE: 0,
            resource.RLIMIT_CPU: math.ceil(bounds.seconds * _CORES) + 1,
        }
        for what, value in limits.items():
            hard = resource.prlimit(pid, what)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, what, (value, value))

    def _wait_for(self, descriptor: int, event: int) -> None:
        """Until ``event`` happens there, or the other side closes it."""
        poll = select.poll()
        poll.register(descriptor, event)
        for controller in self.controllers:
            poll.register(controller, select.POLLIN)
        ready = [found for found, _ in poll.poll(self._left() * 1000)]
        self._check(ready)

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _check(self, ready: Sequence[int]) -> None:
        if any(controller in ready for controller in self.controllers):
            raise Abandoned
        if self._left() == 0.0:
            raise Ended("timeout", f"no end within limits.seconds: {self.bounds.seconds:g} s")

    def _not_begun(self) -> Ended:
        """What bubblewrap says of why the program did not begin."""
        os.set_blocking(self._stderr, True)
        while self._read(self._stderr):
            pass
        words = self.said.decode(errors="replace").strip().removeprefix("bwrap: ")
        if words.startswith("execvp "):
            return Ended("build", f"the program cannot be started: {words.removeprefix('execvp ')}")
        return Ended("infrastructure", f"bubblewrap could not set up the box: {words or 'it gave no reason'}")

    # --- while it runs

    def _attend(self) -> None:
        poll = select.poll()
        for descriptor in (self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        for descriptor in (self._stdout, self._stderr, self._monitor, *self.controllers):
            poll.register(descriptor, select.POLLIN)
        pause, next_look = _FIRST_LOOK, self._let_go + _FIRST_LOOK
        while True:
            wait = max(0.0, min(next_look, self._deadline) - time.monotonic())
            ready = [descriptor for descriptor, _ in poll.poll(wait * 1000)]
            if self._monitor in ready:
                return self._finish()
            self._check(ready)
            for descriptor in ready:
                if not self._read(descriptor):
                    poll.unregister(descriptor)
            if (now := time.monotonic()) >= next_look:
                self._look_at_family()
                self.look()
                pause = min(2 * pause, _LOOKS)
                next_look = now + pause

    def _read(self, descriptor: int) -> bool:
        """What is there, at most a chunk. False at the end of it."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return True
        if descriptor == self._stderr:
            self.said = (self.said + data)[-_SAID_KEPT:]
            self.hear(data)
        else:
            self._output += data
            if len(self._output) > self.bounds.output:
                raise Ended("oversize", f"stdout got more than limits.output_mb: {self.bounds.output} bytes")
        return bool(data)

    def _look_at_family(self) -> None:
        pids = tree.family(self._pid)
        self._most_cpu = max(self._most_cpu, sum(map(kernel.cpu_seconds, pids)))
        used, allowed = tree.resident(pids[1:]), self.bounds.memory
        self._most_resident = max(self._most_resident, used)
        if used > allowed:
            raise Ended("memory", f"the memory limit was reached: {used >> 20} MB resident, limits.memory_mb is {allowed >> 20}")

    def _finish(self) -> None:
        """The program has ended. What it started goes too, so what they wrote is all there."""
        self._ended = time.monotonic()
        self._kill()
        for descriptor in (self._stdout, self._stderr):
            os.set_blocking(descriptor, True)
            while self._read(descriptor):
                pass
        if not self._news_line():
            raise self._not_begun()

    # --- afterwards

    def _kill(self) -> None:
        """bubblewrap first, or it would reap the box's first process. With that one the kernel ends and reaps all others."""
        if not self._pid:  # it has not said yet who that is; whoever it is runs nothing but bubblewrap
            for child in tree.family(self._process.pid)[1:]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        for process in (self._monitor, *([self._inside] if self._pid else [])):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], _PATIENCE)

    def _end(self) -> None:
        """Kill what is left, reap it, read the clocks."""
        ended = self._ended or time.monotonic()
        if self._let_go and not self._ended:
            with suppress(Ended):
                self._look_at_family()
        self._kill()
        self.status = self._process.wait()
        cpu, peak = self._reap() if self._pid else (0.0, 0)
        if self._let_go:
            cpu = max(cpu, self._most_cpu) - self._cpu_before
            self.measure = Measure(ended - self._let_go, max(0.0, cpu), max(peak, self._most_resident))

    def _reap(self) -> tuple[float, int]:
        """CPU seconds and peak bytes of the box's first process and all that it had reaped, as the kernel counted them.

        bubblewrap ends without waiting for it, so it is ours if this process adopts orphans, as guards do. What was killed with it, or was
        never waited for, is not in there: of that only the looks tell.
        """
        try:
            _, _, used = os.wait4(self._pid, 0)
        except ChildProcessError:
            return 0.0, 0
        return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def _offer_to_the_killer(pid: int) -> None:
    """Should the machine run out of memory, the kernel takes the box before anything else."""
    with suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"1000")


def _sealed(data: bytes) -> int:
    """An open file with ``data``, which nobody can change."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return descriptor
