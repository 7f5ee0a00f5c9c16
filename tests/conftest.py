"""For all tests: nothing is reached but this machine."""

from __future__ import annotations

import sys
from typing import Any

_HERE = ("localhost", "127.", "::1", "0.0.0.0")


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, because it also sees what libraries connect to. Sockets in the file system have no host."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host and not str(host).startswith(_HERE):
        raise RuntimeError(f"a test tried to reach {host}; tests reach loopback only")


sys.addaudithook(_stay_here)
