"""What attacks may aim at: a user's files, process, sockets and key, made for the purpose, and whether they took harm."""

from __future__ import annotations

import os
import resource
import secrets
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Targets"]

_KEY = "AGENTOPT_DOCTOR_KEY"


class Targets:
    """``aims`` is what an attack gets to know of them. A context manager; all of it is gone at the end."""

    def __init__(self) -> None:
        self.word = secrets.token_hex(8)
        self._stack = ExitStack()
        self.aims: dict[str, Any] = {}

    def __enter__(self) -> Targets:
        with self._stack:
            self._make()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _make(self) -> None:
        enter = self._stack.enter_context
        self.folder = Path(enter(tempfile.TemporaryDirectory(prefix="agentopt-targets-")))
        self._task, self._file = self.folder / "task.py", self.folder / "notes.txt"
        self._task.write_text(f"answers = {self.word!r}\n")
        self._file.write_text(f"{self.word}\n")
        # open to all, so that it is not for want of ordinary permissions that they are not reached
        self.folder.chmod(0o755)
        self._file.chmod(0o644)
        self._process = enter(subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL))
        self._stack.callback(self._process.kill)
        self._tcp = enter(socket.create_server(("127.0.0.1", 0)))
        self._udp = enter(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._udp.bind(("127.0.0.1", 0))
        self._unix, self._abstract = (enter(socket.socket(socket.AF_UNIX)) for _ in range(2))
        self._unix.bind(str(self.folder / "socket"))
        self._abstract.bind(f"\0agentopt-{self.word}")
        for listening in (self._tcp, self._udp, self._unix, self._abstract):
            listening.setblocking(False)
        for listening in (self._unix, self._abstract):
            listening.listen()
        os.environ[_KEY] = self.word
        self._stack.callback(os.environ.pop, _KEY, None)
        self.settle()
        self.aims = {
            "word": self.word[::-1],
            "home": os.path.expanduser("~"),
            "temporary": tempfile.gettempdir(),
            "folder": str(self.folder),
            "task": str(self._task),
            "file": str(self._file),
            "pid": self._process.pid,
            "controller": os.getpid(),
            "tcp": self._tcp.getsockname()[1],
            "udp": self._udp.getsockname()[1],
            "unix": str(self.folder / "socket"),
            "abstract": f"agentopt-{self.word}",
        }

    def settle(self) -> None:
        """What there is now is what has to be there at the end."""
        self._before = self._state()

    def _state(self) -> dict[str, Any]:
        files = sorted(self.folder.iterdir())
        pid = self._process.pid
        return {
            "the files in a folder": [path.name for path in files],
            "the content of a file": [path.read_bytes() for path in files if path.is_file()],
            "mode, owner and times of a file": [
                (found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_mtime_ns) for found in map(os.stat, files)
            ],
            "attributes of a file": [os.listxattr(path) for path in files],
            "a process": self._process.poll(),
            "the cores, priority and limits of a process": (
                os.sched_getaffinity(pid),
                os.getpriority(os.PRIO_PROCESS, pid),
                [resource.prlimit(pid, what) for what in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)],
            ),
        }

    def harmed(self) -> list[str]:
        """What is not as it was, and which sockets heard something."""
        if self._process.poll() is not None:
            return ["a process"]
        now = self._state()
        found = [what for what, before in self._before.items() if now[what] != before]
        return found + [f"a {word} socket" for word in self.heard()]

    def heard(self) -> list[str]:
        """The sockets that somebody reached since the last call."""
        found: list[str] = []
        for word, listening in (("TCP", self._tcp), ("Unix", self._unix), ("nameless Unix", self._abstract)):
            try:
                listening.accept()[0].close()
                found.append(word)
            except BlockingIOError:
                pass
        try:
            self._udp.recv(1)
            found.append("UDP")
        except BlockingIOError:
            pass
        return found
