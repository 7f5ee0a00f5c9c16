"""One candidate that means harm, and how it has to end."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

__all__ = ["ALWAYS", "Attack", "deed"]

ALWAYS = "always"
"""The wall of what every level stops: nothing that a candidate does makes its score."""

_TOOLS = """
import ctypes, errno, gc, os, platform, signal, socket, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
"""
_DEED = """
def f(x):
    try:
        found = deed(x)
    except OSError as error:
        return "denied " + errno.errorcode.get(error.errno, str(error))
    return "got " + str(found)

def deed(x):
"""


@dataclass(frozen=True)
class Attack:
    """``source`` defines ``f(x)``, which is to answer 4; ``x`` holds what it may aim at (``Targets``).

    Outcomes are ``kind: message`` of a failure, or the score and the answer: ``1: 4``. ``stopped`` is how the outcome begins where the
    ``wall`` stands: ``always``, or one of ``core.task.NEEDS``. ``open`` is how it begins where the wall does not stand; empty: it is
    not tried there. ``by`` is the layer that stops it.
    """

    name: str
    wall: str
    by: str
    stopped: str
    code: str
    open: str = ""

    @property
    def source(self) -> str:
        return _TOOLS + self.code

    def stopped_by(self, outcome: str) -> bool:
        """Whether that is being stopped. With which error a deed is denied may differ from one kernel to another."""
        return outcome.startswith("0: denied " if self.stopped.startswith("0: denied ") else self.stopped)


def deed(name: str, wall: str, by: str, error: str, body: str, open: str = "") -> Attack:
    """Something a candidate may not do; ``body`` is a function's, returns what it got by it or raises OSError."""
    return Attack(name, wall, by, f"0: denied {error}", _DEED + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n", open)
