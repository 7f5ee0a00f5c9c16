"""For all tests: nothing is reached but this machine."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

os.environ.pop("COLUMNS", None)  # what commands print is as wide as in a pipe, wherever the tests run

_HERE = ("localhost", "127.", "::1", "0.0.0.0")


def _stay_here(host: Any) -> None:
    host = host.decode() if isinstance(host, bytes) else host
    if host and not str(host).startswith(_HERE):
        raise RuntimeError(f"a test tried to reach {host}; tests reach loopback only")


def _guarded(method: Any) -> Any:
    @functools.wraps(method)
    def connect(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple):  # sockets in the file system have no host
            _stay_here(address[0])
        return method(self, address)

    return connect


def _looked_up(host: Any, *args: Any, **kwargs: Any) -> Any:
    _stay_here(host)
    return _LOOK_UP(host, *args, **kwargs)


# no audit hook: with one in Python, CPython 3.11 ends threads that begin while another one installs coverage's trace function
_LOOK_UP = socket.getaddrinfo
socket.getaddrinfo = _looked_up
for _name in ("connect", "connect_ex"):
    setattr(socket.socket, _name, _guarded(getattr(socket.socket, _name)))


@pytest.fixture(scope="module", autouse=True)
def no_boxes_left() -> Generator[None]:
    """The runner of code that a whole process shares is closed behind each module: others look for processes that were left."""
    yield
    trainables = sys.modules.get("agentopt.trainables")
    if trainables and trainables._opened.cache_info().currsize:
        trainables.shared_runner().close()
        trainables._opened.cache_clear()


@pytest.fixture
def level_3(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """A machine that runs whole programs, and a temporary folder that the spare user of root's boxes may enter.

    Elsewhere the test is skipped with the reason; where everything has to be tested (AGENTOPT_CI) it fails with it.
    """
    from agentopt.sandbox.files import remove_folder
    from agentopt.sandbox.program_probe import probe_programs

    folder = Path(tempfile.mkdtemp(prefix="agentopt-tests-", dir="/tmp"))
    folder.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    try:
        why = probe_programs() or ("" if shutil.which("g++") else "there is no g++ to build with")
        if why and os.environ.get("AGENTOPT_CI"):
            pytest.fail(why)
        if why:
            pytest.skip(why)
        yield folder
    finally:
        remove_folder(folder)


@pytest.fixture
def box() -> None:
    """A machine that makes boxes for agents. Elsewhere the test is skipped with the reason, or fails with it, as with ``level_3``."""
    from agentopt.llm import agent_box

    bwrap = agent_box.find_bwrap()
    why = agent_box.why_not(bwrap, ()) if bwrap else "bubblewrap is not installed"
    if why:
        (pytest.fail if os.environ.get("AGENTOPT_CI") else pytest.skip)(why)
