"""For all tests: nothing is reached but this machine."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

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
