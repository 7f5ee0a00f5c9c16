"""What boxes do for every candidate, done in the zygote before they are forked: what Python learns meanwhile it need not learn in each."""

from __future__ import annotations

import linecache
import os
import socket
import sys
from typing import Any

from agentopt.core import wire
from agentopt.sandbox.harness import Work, serve
from agentopt.sandbox.program import Piece, pieces_to_json

__all__ = ["rehearse"]

_PIECE = Piece("agentopt_rehearsal", "code", "def f(x):\n    return x\n", "python", "f", None)
_TIMES = 20
"""The interpreter adapts a function to how it is used after some 8 calls."""
_NONCE = "0" * 16
_CAP = 1 << 10


def rehearse() -> None:
    """The life of a box with a candidate of no consequence, a few times over."""
    load, call = wire.encode(pieces_to_json([_PIECE])), wire.encode(2)
    requests = wire.pack({"nonce": _NONCE}, load) + wire.pack({"nonce": _NONCE, "rng_seed": 0}, call)
    for _ in range(_TIMES):
        guard, box = socket.socketpair()
        with guard, box:
            guard.sendall(requests)
            guard.shutdown(socket.SHUT_WR)
            serve(box, _work, os.curdir, _CAP)
        sys.modules.pop(_PIECE.module, None)
    linecache.cache.pop(_PIECE.file, None)


def _work() -> Work:
    return Work(_run)


def _run(program: Any, data: Any) -> Any:
    return getattr(program, _PIECE.name)(data)
