"""What this machine's kernel can do for a box, found by doing it: nothing here is concluded from a version or a name.

Runs as a process of its own (``python -m``-like, through ``boot_command``): each probe takes rights away from a child of it.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from agentopt.core.boot import boot_command
from agentopt.sandbox import landlock, seccomp
from agentopt.sandbox.namespaces import drop_capabilities, move_in
from agentopt.sandbox.walls import WallError, feel

__all__ = ["Machine", "look_at", "main"]

_SECONDS = 20.0


@dataclass(frozen=True)
class Machine:
    """``landlock`` is the version that was felt to work, 0 for none. The texts are empty, or say why a mechanism is not to be had."""

    landlock: int
    without_landlock: str
    without_seccomp: str
    without_namespaces: str
    kernel: str

    @property
    def l2(self) -> bool:
        return not self.without_landlock and not self.without_seccomp


@cache
def look_at() -> Machine:
    """Takes some 60 ms, once per process. A machine where even the look fails has nothing."""
    try:
        done = subprocess.run(boot_command("agentopt.sandbox.probe"), capture_output=True, timeout=_SECONDS, check=True)
        return Machine(**json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = f"the probe failed: {error}"
        return Machine(0, why, why, why, _kernel())


def main() -> None:
    found = Machine(
        landlock.abi() if sys.platform == "linux" else 0,
        _try(_feel_landlock),
        _try(_feel_seccomp),
        _try(_feel_namespaces),
        _kernel(),
    )
    sys.stdout.write(json.dumps(vars(found)))


def _kernel() -> str:
    return f"{platform.system()} {platform.release()}"


def _try(probe: Callable[[], None]) -> str:
    """In a child, for what it does cannot be undone. Why it failed; empty if it did not."""
    heard, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            probe()
        except BaseException as error:
            os.write(say, str(error).encode()[:500] or b"no reason given")
        os._exit(0)
    os.close(say)
    with open(heard, "rb") as pipe:
        why = pipe.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return why


def _feel_landlock() -> None:
    landlock.Rules([]).apply([])
    try:
        os.listdir("/")
    except PermissionError:
        return
    raise WallError("landlock took nothing away")


def _feel_seccomp() -> None:
    landlock.Rules([]).apply([])
    seccomp.Filter(seccomp.python_filter(platform.machine(), seccomp.ANYBODY)).install(os.getpid())
    feel()


def _feel_namespaces() -> None:
    move_in()
    others = [name for name in os.listdir("/proc") if name.isdigit()]
    if os.getpid() != 1 or others != ["1"]:
        raise WallError("other processes can be seen")
    if any(name != "lo" for _, name in socket.if_nameindex()):
        raise WallError("a network can be seen")
    drop_capabilities()
    try:
        socket.sethostname("x")
    except PermissionError:
        return
    raise WallError("capabilities could not be given up")
