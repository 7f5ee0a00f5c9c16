"""The process that stands between us and an agent: it starts the agent, hands on what it writes, and ends all that came of it.

It outlives us by as long as that takes: when the pipe to us closes, for whatever reason, the agent ends.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

__all__ = ["main"]

_PR_SET_CHILD_SUBREAPER = 36
_CHUNK = 1 << 16
_SAID_KEPT = 16 << 10
_NOT_STARTED = 127


def main(folder: str, control: str, most: str, *words: str) -> None:
    """Run ``words`` once a byte comes through the descriptor ``control``, until the other side closes it; then remove ``folder``.

    At most ``most`` bytes of stdout and one more are handed on, and the end of stderr. The exit status is the agent's, or 128 and the
    number of the signal that ended it.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what the agent leaves behind becomes ours, to be ended
    status = _NOT_STARTED
    try:
        if os.read(int(control), 1):
            status = _keep(int(control), int(most), words)
    finally:
        _remove(folder)
    sys.exit(status)


def _keep(control: int, most: int, words: Sequence[str]) -> int:
    try:
        agent = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    except OSError as error:
        _write(2, f"{words[0]}: {error.strerror}".encode())
        return _NOT_STARTED
    assert agent.stdout
    assert agent.stderr
    out, err, ended = agent.stdout.fileno(), agent.stderr.fileno(), os.pidfd_open(agent.pid)
    kept = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for descriptor in (control, ended, out, err):
        poll.register(descriptor, select.POLLIN)
    while len(kept[out]) <= most:
        ready = [descriptor for descriptor, _ in poll.poll()]
        for descriptor in {out, err}.intersection(ready):
            if not _read(descriptor, kept[descriptor]):
                poll.unregister(descriptor)
        del kept[err][:-_SAID_KEPT]
        if ended in ready or control in ready:
            break
    status = _end_all(agent)
    for descriptor, data in kept.items():
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):  # somebody whom we may not end still holds it
            while len(kept[out]) <= most and _read(descriptor, data):
                pass
    _write(1, kept[out][: most + 1])
    _write(2, kept[err][-_SAID_KEPT:])
    return status


def _read(descriptor: int, kept: bytearray) -> bool:
    data = os.read(descriptor, _CHUNK)
    kept += data
    return bool(data)


def _write(descriptor: int, data: bytes | bytearray) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)


def _end_all(agent: subprocess.Popen[bytes]) -> int:
    """Kill and reap every descendant, also those that were started meanwhile; the agent's status, if it ended by itself."""
    status = agent.poll()
    while True:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            pid, found = os.waitpid(-1, 0)
        except ChildProcessError:
            break
        if pid == agent.pid:
            status = os.waitstatus_to_exitcode(found)
    agent.returncode = status = status if status is not None else -signal.SIGKILL
    return status if status >= 0 else 128 - status


def _descendants(pid: int) -> Iterator[int]:
    for thread in _listed(f"/proc/{pid}/task"):
        with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            for child in map(int, file.read().split()):
                yield child
                yield from _descendants(child)


def _listed(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _remove(folder: str) -> None:
    """However deep the agent made it, and also what it locked itself out of."""
    for tool in (["/bin/chmod", "-R", "u+rwx"], ["/bin/rm", "-rf"]):
        subprocess.run([*tool, "--", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
