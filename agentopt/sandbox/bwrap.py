"""The command line of bubblewrap: what a whole program sees of the machine, and what it may do there.

A private root with the machine's programs and libraries, read-only; a folder of its own at ``/box``; new /proc, /dev and /tmp;
no network, no other processes, no rights. Flags are those of bubblewrap 0.8.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from agentopt.core.boot import THREADS_ONE
from agentopt.core.errors import TaskError
from agentopt.sandbox import seccomp

__all__ = ["BOX", "View", "arguments", "check_words", "environment", "filter_descriptor", "find_bwrap"]

BOX = "/box"
"""Where a program finds its files."""
_PATH = "/usr/local/bin:/usr/bin:/bin"
_NOT_ROOT = "1000"
_LINKED = ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32")
_SETTINGS = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/usr/libx32", "/usr/local/lib", "/usr/local/lib64")
_COMPILERS = ("/usr/lib/gcc", "/usr/lib64/gcc", "/usr/lib/llvm*/bin", "/usr/lib64/llvm*/bin", "/usr/lib/go*", "/usr/lib/rustlib")
_NAMESPACES = ("--unshare-all", "--unshare-user", "--disable-userns", "--uid", _NOT_ROOT, "--gid", _NOT_ROOT)
_ENDS = ("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--chdir", BOX)


@dataclass(frozen=True)
class View:
    """``folder`` becomes /box. ``space`` is the size of /tmp and of /dev/shm in bytes.

    ``built`` is for what a compiler made: of the machine's programs it sees the one that it is started with, if any, and no compiler.
    """

    folder: str
    space: int
    writable: bool = False
    built: bool = False
    sees: Sequence[tuple[str, str]] = ()
    """``(source, place)`` of more that can be read: files or folders."""


def find_bwrap() -> str | None:
    return shutil.which("bwrap", path=_PATH)


def environment(rng_seed: int) -> dict[str, str]:
    """All that a program finds in its environment."""
    fixed = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/tmp", "TMPDIR": "/tmp", "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1"}
    return {**fixed, **THREADS_ONE, "AGENTOPT_RNG_SEED": str(rng_seed)}


def filter_descriptor() -> int:
    """The filter of system calls as an open file. Raises OSError for a machine whose calls are not known."""
    code = seccomp.program_filter(platform.machine())
    descriptor = os.memfd_create("filter")
    os.write(descriptor, code)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def arguments(view: View, words: Sequence[str], descriptors: Mapping[str, int]) -> list[str]:
    """bubblewrap's arguments for running ``words``. ``descriptors`` maps flags that take one (``--seccomp``) to theirs."""
    found: list[str] = [*_NAMESPACES]
    found += _only_libraries(words[0]) if view.built else ["--ro-bind", "/usr", "/usr"]
    found += [*_links(), *_own_folder(words[0])]
    for path in _SETTINGS:
        found += ["--ro-bind-try", path, path]
    size = ["--size", str(view.space)]
    # the first process of the box is bubblewrap's own and not behind the filter: a program must not reach into its memory
    found += ["--proc", "/proc", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1"]
    found += ["--dev", "/dev", *size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev", *size, "--tmpfs", "/tmp"]
    for source, place in view.sees:
        found += ["--ro-bind", source, place]
    found += ["--bind" if view.writable else "--ro-bind", view.folder, BOX, "--remount-ro", "/", *_ENDS]
    for flag, descriptor in descriptors.items():
        found += [flag, str(descriptor)]
    return [*found, "--", *words]


def _links() -> list[str]:
    """/bin and its like as the machine has them: today mostly links into /usr."""
    found: list[str] = []
    for path in _LINKED:
        if os.path.islink(path):
            found += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            found += ["--ro-bind", path, path]
    return found


def _only_libraries(word: str) -> list[str]:
    found: list[str] = []
    for path in filter(os.path.isdir, _LIBRARIES):
        found += ["--ro-bind", path, path]
    for pattern in _COMPILERS:
        for path in filter(os.path.isdir, glob(pattern)):
            found += ["--tmpfs", path, "--remount-ro", path]
    if (tool := _tool(word)) is not None:
        real = os.path.realpath(tool)
        found += ["--ro-bind", real, real] if os.path.dirname(real) in _PATH.split(":") else []
        found += ["--symlink", real, tool] if tool != real else []
    return found


def _own_folder(word: str) -> list[str]:
    """What was installed below /opt is bound as a whole, by itself."""
    tool = _tool(word)
    parts = Path(os.path.realpath(tool)).parts[:3] if tool else ()
    return ["--ro-bind", str(Path(*parts)), str(Path(*parts))] if parts[:2] == ("/", "opt") else []


def _in_the_box(word: str) -> bool:
    return "/" in word and (not word.startswith("/") or word.startswith(f"{BOX}/"))


def _tool(word: str) -> str | None:
    """The machine's program that ``word`` names; None for one that lies in the box, or nowhere."""
    if _in_the_box(word):
        return None
    return word if "/" in word else shutil.which(word, path=_PATH)


def check_words(task: str, key: str, words: Sequence[str], sees: Sequence[str] = ()) -> None:
    """Raises TaskError if ``words`` start with a program that cannot be seen from inside a box, where ``sees`` is seen too."""
    if not words or _in_the_box(words[0]) or any(Path(words[0]).is_relative_to(path) for path in sees):
        return
    tool = _tool(words[0]) or shutil.which(words[0])
    if tool is None or not os.path.exists(tool):
        raise TaskError(f"task {task!r}: {key} starts {words[0]!r}, which is not installed on this machine (looked for in {_PATH})")
    if not os.path.realpath(tool).startswith(("/usr/", "/opt/", "/bin/", "/sbin/")):
        raise TaskError(f"task {task!r}: {key} starts {tool}, which boxes do not see; install it below /usr or /opt")
