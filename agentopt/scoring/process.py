"""The scorer process: holds score and the cases, answers one judgement after another.

Started by ``client`` with its orders on stdin: the import path as the control of a frame, ``(Judge, cases by id)`` pickled as its body.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import sys
from collections.abc import Mapping

from agentopt.core import wire
from agentopt.core.evaluation import Measured
from agentopt.core.task import Case
from agentopt.scoring.judge import Judge

__all__ = ["answer", "main"]


def main(descriptor: str, controller: str) -> None:
    _die_with(int(controller))
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # what score prints is seen when it is printed
    with sys.stdin.buffer as file:
        orders = file.read()
    control_length, _ = wire.parse_header(orders[: wire.HEADER.size])
    start = wire.HEADER.size + control_length
    sys.path[:0] = wire.parse_control(orders[wire.HEADER.size : start])["path"]
    with socket.socket(fileno=int(descriptor)) as connection:
        try:
            judge, cases = pickle.loads(orders[start:])
        except Exception as error:
            connection.sendall(wire.pack({"error": f"{type(error).__name__}: {error}"}))
            return
        connection.sendall(wire.pack({"ready": True}))
        answer(connection, judge, cases)


def _die_with(controller: int) -> None:
    """End when the controller does, even in the middle of a long score."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != controller:
            os._exit(1)


def answer(connection: socket.socket, judge: Judge, cases: Mapping[str, Case]) -> None:
    """Until the controller hangs up."""
    while (frame := wire.receive(connection)) is not None:
        control, data = frame
        verdict = judge.judge(cases[control["case"]], data, Measured(*control["measured"]))
        connection.sendall(wire.pack(verdict.to_json()))
