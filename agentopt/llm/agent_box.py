"""What a coding agent sees of the machine: a root of its own, made by bubblewrap, with what it was given and nothing of the user's.

The machine's programs and libraries are there, read-only; so are its name servers and certificates, for the network is the machine's: an
agent has to reach its provider. Its own folder is /box and its home. Flags are those of bubblewrap 0.8.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agentopt.core.errors import ConfigError
from agentopt.llm.secrets import safe_text

__all__ = ["BOX", "PATH", "Allowed", "arguments", "find_bwrap", "furnish", "is_visible", "read_allowed", "why_not"]

BOX = "/box"
PATH = "/usr/local/bin:/usr/bin:/bin"
_ID = "1000"
_TMP_BYTES = 1 << 30
_PROBE_SECONDS = 20.0
_SETTINGS_OF_THE_KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi")
_LINKED = ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
# by name, not as a whole: /etc holds passwords and keys, which root may read
_SETTINGS = (
    *(
        "ld.so.cache",
        "alternatives",
        "localtime",
        "hosts",
        "resolv.conf",
        "nsswitch.conf",
        "host.conf",
        "gai.conf",
        "services",
        "protocols",
    ),
    *("ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/tls/cert.pem", "pki/tls/openssl.cnf"),
    *("pki/ca-trust", "crypto-policies"),
)
_USERS = {"passwd": f"agent:x:{_ID}:{_ID}::{BOX}:/bin/sh\n", "group": f"agent:x:{_ID}:\n"}
_NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--disable-userns")
_ENDS = ("--remount-ro", "/", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--chdir", BOX)


@dataclass(frozen=True)
class Allowed:
    """A file or folder of the user's that an agent may read, or also write."""

    path: str
    writable: bool = False


def read_allowed(texts: Sequence[str]) -> tuple[Allowed, ...]:
    """From ``PATH`` and ``PATH:rw``. Raises ConfigError for what is not there."""
    return tuple(_read_one(text) for text in texts)


def _read_one(text: str) -> Allowed:
    path = os.path.abspath(os.path.expanduser(text.removesuffix(":rw")))
    if not os.path.exists(path):
        raise ConfigError(f"--agent-allow {text}: there is no such file or folder; write PATH, or PATH:rw if the agent may write there")
    if path == "/" or Path(BOX) in (Path(path), *Path(path).parents):
        raise ConfigError(f"--agent-allow {text}: that cannot be given to an agent; name the folders that it needs")
    return Allowed(path, text.endswith(":rw"))


def find_bwrap() -> str | None:
    return shutil.which("bwrap", path=PATH)


def is_visible(tool: str, allowed: Sequence[Allowed]) -> bool:
    """Whether the program, and what it is a link to, can be seen in the box."""
    shown = ("/usr", *_LINKED, *_opt(tool), *(each.path for each in allowed), *(os.path.realpath(each.path) for each in allowed))
    return all(any(Path(path).is_relative_to(place) for place in shown) for path in (tool, os.path.realpath(tool)))


def furnish() -> str:
    """A new folder with what a box is made from; ``work`` in it becomes /box. Raises OSError."""
    folder = tempfile.mkdtemp(prefix="agentopt-agent-")
    os.mkdir(f"{folder}/work")
    for name, text in _USERS.items():
        Path(folder, name).write_text(text)
    return folder


def arguments(folder: str, allowed: Sequence[Allowed], words: Sequence[str]) -> list[str]:
    """bubblewrap's arguments for running ``words`` in what ``furnish`` made. What is allowed stands at its own path."""
    found = [*_NAMESPACES, "--uid", _ID, "--gid", _ID, "--ro-bind", "/usr", "/usr"]
    for path in _LINKED:
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    for path in _opt(words[0]):
        found += ["--ro-bind", path, path]
    for name in _SETTINGS:
        found += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for name in _USERS:
        found += ["--ro-bind", f"{folder}/{name}", f"/etc/{name}"]
    size = ["--size", str(_TMP_BYTES)]
    found += [
        "--proc",
        "/proc",
        *_no_settings(),
        "--dev",
        "/dev",
        *size,
        "--tmpfs",
        "/dev/shm",
        "--remount-ro",
        "/dev",
        *size,
        "--tmpfs",
        "/tmp",
    ]
    for each in sorted(allowed, key=lambda each: len(each.path)):  # a folder before what lies in it
        for path in dict.fromkeys((os.path.realpath(each.path), each.path)):
            found += ["--bind" if each.writable else "--ro-bind", each.path, path]
    return [*found, "--bind", f"{folder}/work", BOX, *_ENDS, "--", *words]


def _no_settings() -> list[str]:
    """The kernel asks for no capability before it takes a setting, only for the user who owns the file: of root's agents that is root."""
    return [word for path in _SETTINGS_OF_THE_KERNEL if os.path.exists(path) for word in ("--ro-bind", path, path)]


def _opt(tool: str) -> list[str]:
    """What was installed below /opt is shown as a whole, by itself."""
    parts = Path(os.path.realpath(tool)).parts[:3]
    return [str(Path(*parts))] if parts[:2] == ("/", "opt") and len(parts) == 3 else []


def why_not(bwrap: str, allowed: Sequence[Allowed]) -> str:
    """Empty if a box can be made here, else what bubblewrap says. Takes some 20 ms."""
    folder = furnish()
    try:
        command = [bwrap, *arguments(folder, allowed, ["/bin/sh", "-c", ":"])]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return safe_text(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    said = safe_text(done.stderr.decode(errors="replace"))
    return "" if done.returncode == 0 else said or f"exit status {done.returncode}"
