"""The spare: the next candidate's box, forked before this candidate's bytes are here.

A guard carries inputs, outputs and sources of one candidate after another, and a fork hands down all of a process's memory, also
what was freed in it. So boxes do not come from the guard as it is, but from a line of processes that never saw a byte: before a
spare becomes a box, it forks the spare after it.
"""

from __future__ import annotations

import errno
import marshal
import os
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentopt.sandbox.kernel import ended_by_itself, hide_memory, plain_fork

__all__ = ["Spare"]

Live = Callable[[Mapping[str, Any], int, int, int], None]
"""The life of a box: its orders, the descriptors of the socket to the guard and of what to print to, and the pid of the next spare.

The ``environment`` in the orders is set already.
"""
_MESSAGE = 1 << 16
_MOMENT = 0.05
_GONE = "the process that was to become the box is gone"


class Spare:
    """Make it while this process has not seen a byte of any candidate's. ``pid`` is the process that waits to become a box.

    A spare is a child of the box before it. So that this cannot get at it, call ``hide_memory`` before.
    """

    def __init__(self, live: Live, unneeded: int) -> None:
        """``unneeded`` is a descriptor that boxes have no use for."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = plain_fork()
        if self.pid == 0:
            try:
                self._line.close()
                os.close(unneeded)
                _wait(theirs, live)
            except BaseException:
                traceback.print_exc()
                os._exit(70)
        theirs.close()

    def become_box(self, orders: dict[str, Any], inside: socket.socket, writer: int) -> None:
        """The last box has to be dead. Set ``pid`` to what the box says of the next spare. Raises OSError."""
        try:
            socket.send_fds(self._line, [marshal.dumps(orders)], [inside.fileno(), writer])
        except ConnectionError:
            raise OSError(_GONE) from None

    def refusal(self) -> str:
        """Why the spare did not become a box; empty if it did, and ended. Ask when the box hung up without a word."""
        gone = False
        while True:
            try:
                return self._line.recv(_MESSAGE, socket.MSG_DONTWAIT).decode() or _GONE
            except BlockingIOError:
                if gone:
                    return ""
            except ConnectionError:
                return _GONE
            gone = ended_by_itself(self.pid, _MOMENT)


def _wait(line: socket.socket, live: Live) -> None:
    """In the spare; only the process that became a box leaves it, when its life is over."""
    environment: dict[str, str] = {}
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, _MESSAGE, 2)
        if not message:
            os._exit(0)  # the guard is gone
        orders: dict[str, Any] = marshal.loads(message)
        if orders["environment"] != environment:  # most often it is the one that the spare before had, and was inherited
            environment = orders["environment"]
            os.environ.update(environment)
        if heir := _heir(line, descriptors):
            hide_memory(False)  # the guard is to measure the box
            inside, writer = descriptors
            live(orders, inside, writer, heir)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _heir(line: socket.socket, descriptors: Sequence[int]) -> int:
    """The process to which this one leaves the line, to become a box; 0 in it, and if there is none: the guard is told why."""
    try:
        if len(descriptors) < 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return plain_fork()
    except OSError as error:
        line.send(str(error).encode())
        return 0
