"""Commands as an ordinary user, for suites that run as root."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

UID = 1234
ROOT = Path(__file__).resolve().parents[2]


def closed_folders() -> dict[str, list[str]]:
    """Folders that others may not enter -> the folders in them without which Python or this checkout does not work."""
    found: dict[str, list[str]] = {}
    needed = {str(Path(path).resolve()) for path in (sys.prefix, sys.base_prefix, ROOT)}
    for path in sorted(needed):
        for parent in [*reversed(Path(path).parents)][1:]:
            if not parent.stat().st_mode & 0o001:
                found.setdefault(str(parent), []).append(path)
                break
    return found


def script(command: Sequence[str], aside: Path, uid: int) -> str:
    """For a shell in a mount namespace of its own: each closed folder is covered, and what is needed of it shines through."""
    lines = ["set -e"]
    for number, (closed, needed) in enumerate(closed_folders().items()):
        places = [aside / f"{number}-{k}" for k in range(len(needed))]
        for place, path in zip(places, needed, strict=True):
            lines += [f"mkdir {place}", f"mount --rbind {shlex.quote(path)} {place}"]
        lines.append(f"mount -t tmpfs -o mode=755 cover {shlex.quote(closed)}")
        for place, path in zip(places, needed, strict=True):
            lines += [f"mkdir -p {shlex.quote(path)}", f"mount --move {place} {shlex.quote(path)}"]
    become = f"setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all --bounding-set=-all " if uid else ""
    lines.append(f"exec {become}{shlex.join(command)}")
    return "\n".join(lines)


def why_not() -> str:
    """Why root cannot be an ordinary user here; empty if root can."""
    if lacking := [tool for tool in ("unshare", "mount", "setpriv") if shutil.which(tool) is None]:
        return f"{lacking[0]} is not installed"
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, text=True)
    return tried.stderr.strip() if tried.returncode else ""


@contextmanager
def home(uid: int) -> Iterator[Path]:
    """A folder that the user owns and everybody can reach."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="agentopt-user-") as folder:
        os.chmod(folder, 0o755)
        own = Path(folder) / "home"
        own.mkdir()
        os.chown(own, uid, uid)
        yield own


def run(command: Sequence[str], seconds: float, uid: int = UID) -> subprocess.CompletedProcess[str]:
    """The command in the checkout; as root, for whom everybody may enter everything, if ``uid`` is 0."""
    with home(uid) as own:
        aside = own.parent / "aside"
        aside.mkdir()
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PYTHONPATH", "AGENTOPT_TEST_ALL")}
        environment = {**kept, "HOME": str(own), "TMPDIR": str(own), "PYTHONDONTWRITEBYTECODE": "1"}
        words = ["unshare", "-m", "--propagation", "private", "/bin/sh", "-c", script(command, aside, uid)]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)
