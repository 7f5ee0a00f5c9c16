"""The spare: the next candidate's box, forked before this candidate's bytes are here.

A guard carries inputs, outputs and sources of one candidate after another, and a fork hands down all of a process's memory, also
what was freed in it. So boxes do not come from the guard as it is, but from a line of processes that never saw a byte: before a
spare becomes a box, it forks the spare after it.
"""

from __future__ import annotations

import marshal
import os
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from agentopt.sandbox.kernel import hide_memory, plain_fork

__all__ = ["Spare"]

Live = Callable[[Mapping[str, Any], socket.socket, int], None]
"""The life of a box: its orders, the socket to the guard and the descriptor to print to."""
_MESSAGE = 1 << 16


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
        self.pid = int(answer)
        return box


def _wait(line: socket.socket, live: Live) -> None:
    """In the spare; only the process that became a box leaves it, when its life is over."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(line, _MESSAGE, 2)
        if not message:
            os._exit(0)  # the guard is gone
        hide_memory(False)  # the guard is to measure the box, from the moment on at which it knows its pid
        if plain_fork() == 0:
            hide_memory(True)
            for descriptor in descriptors:
                os.close(descriptor)
            line.send(b"%d" % os.getpid())  # the line is this process's from now on
            continue
        line.close()
        inside, writer = descriptors
        live(marshal.loads(message), socket.socket(fileno=inside), writer)
        os._exit(0)
