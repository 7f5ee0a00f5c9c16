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

from agentopt.sandbox.kernel import hide_memory, plain_fork

__all__ = ["Spare"]

Live = Callable[[Mapping[str, Any], int, int], None]
"""The life of a box: its orders, the descriptors of the socket to the guard and of what to print to."""
_MESSAGE = 1 << 16
_REFUSED = b"refused: "


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

    def become_box(self, orders: dict[str, Any], inside: socket.socket, writer: int) -> int:
        """The pid of the box; this object stands for the next spare then. The last box has to be dead. Raises OSError."""
        box = self.pid
        try:
            socket.send_fds(self._line, [marshal.dumps(orders)], [inside.fileno(), writer])
            answer = self._line.recv(_MESSAGE)
        except ConnectionError:
            answer = b""
        if not answer:
            raise OSError("the process that was to become the box is gone")
        if answer.startswith(_REFUSED):
            raise OSError(answer.removeprefix(_REFUSED).decode())
        self.pid = int(answer)
        return box


def _wait(line: socket.socket, live: Live) -> None:
    """In the spare; only the process that became a box leaves it, when its life is over."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, _MESSAGE, 2)
        if not message:
            os._exit(0)  # the guard is gone
        if _leaves_heir(line, descriptors):
            line.close()
            inside, writer = descriptors
            live(marshal.loads(message), inside, writer)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _leaves_heir(line: socket.socket, descriptors: Sequence[int]) -> bool:
    """Whether this process is to become the box: the line is another's then. What keeps it from that, the guard is told."""
    try:
        if len(descriptors) < 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        hide_memory(False)  # the guard is to measure the box, from the moment on at which it knows its pid
        pid = plain_fork()
    except OSError as error:
        hide_memory(True)
        line.send(_REFUSED + str(error).encode())
        return False
    if pid == 0:
        hide_memory(True)
        line.send(b"%d" % os.getpid())
    return pid != 0
