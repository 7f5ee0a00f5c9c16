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
from typing import Any

from agentopt.core import wire
from agentopt.core.evaluation import Measured
from agentopt.core.task import Case
from agentopt.scoring.judge import Judge

__all__ = ["answer", "main"]


def main(descriptor: str, controller: str) -> None:
    _hide_memory()
    _die_with(int(controller))
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)  # what score prints is seen when it is printed
    with sys.stdin.buffer as file:
        orders = file.read()
    control_length, _ = wire.parse_header(orders[: wire.HEADER.size])
    start = wire.HEADER.size + control_length
    sys.path[:0] = wire.parse_control(orders[wire.HEADER.size : start])["path"]
    with socket.socket(fileno=int(descriptor)) as plain:
        connection = wire.FrameSocket(plain)
        try:
            judge, cases = pickle.loads(orders[start:])
        except Exception as error:
            connection.send({"error": f"{type(error).__name__}: {error}"})
            return
        connection.send({"ready": True})
        answer(connection, judge, cases)


def _hide_memory() -> None:
    """Answers and the judge lie in it: where no other wall stands, boxes are processes of the same user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)


def _die_with(controller: int) -> None:
    """End when the controller does, even in the middle of a long score."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != controller:
            os._exit(1)


def answer(connection: wire.FrameSocket, judge: Judge, cases: Mapping[str, Case]) -> None:
    """Until the controller hangs up."""
    while (frame := connection.receive()) is not None:
        control, data = frame
        verdicts: list[Mapping[str, Any]] = []
        place = 0
        for case_id, length, *measured in control["calls"]:
            verdicts.append(judge.judge(cases[case_id], data[place : place + length], Measured(*measured)).to_json())
            place += length
        connection.send({"verdicts": verdicts})
