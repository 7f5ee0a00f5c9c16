"""Whether this machine can run whole programs behind every wall of level L3, found by running one that tries the walls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from agentopt.core.boot import boot_command
from agentopt.sandbox import kernel
from agentopt.sandbox.bwrap import View, find_bwrap
from agentopt.sandbox.door import Ended
from agentopt.sandbox.files import make_folder, remove_folder
from agentopt.sandbox.launch import Bounds, Launch
from agentopt.sandbox.programs import spare_uid

__all__ = ["main", "probe_programs"]

_SECONDS = 20.0
_BOUNDS = Bounds(_SECONDS, memory=1 << 30, file=1 << 20, output=1 << 20, processes=2)
_INSTALL = "install it: apt-get install bubblewrap (dnf, pacman and apk have it under the same name)"
_RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
# only what every shell has built in, and nothing that forks; each line that comes out names a wall that does not stand
_TRY = """
fault() { echo "$1"; }
network="cannot be looked at"
while read -r device bytes rest; do
  case "$device" in *:) [ "$bytes" = 0 ] && network="" || fault "a network that was used can be seen" ;; esac
done < /proc/net/dev
[ -z "$network" ] || fault "the network $network"
[ $$ -le 3 ] || fault "other processes can be seen"
[ ! -e /proc/1/mem ] || fault "the first process of the box can be reached"
[ ! -e "$1" ] || fault "files outside the box can be seen"
while read -r key value; do
  case "$key" in
    Seccomp:) [ "$value" = 2 ] || fault "system calls are not filtered" ;;
    NoNewPrivs:) [ "$value" = 1 ] || fault "rights can be gained" ;;
    CapEff:|CapBnd:) [ "$value" = 0000000000000000 ] || fault "capabilities are left" ;;
  esac
done < /proc/self/status
for place in . / /usr /dev /etc; do
  if echo > "$place/agentopt-probe"; then fault "$place can be written to"; fi
done
echo > /tmp/agentopt-probe || fault "/tmp cannot be written to"
echo done
"""


def probe_programs() -> str:
    """Empty, or one sentence: why no program can be run at level L3 here, and what would help.

    Takes some 80 ms, once per process and folder for temporary files.
    """
    return _probe(tempfile.gettempdir())


@cache
def _probe(temporary: str) -> str:
    """In a process of its own, for it has to adopt what bubblewrap leaves behind, and this one has other children."""
    try:
        command = boot_command("agentopt.sandbox.program_probe", temporary)
        done = subprocess.run(command, capture_output=True, timeout=2 * _SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"level L3 cannot be had: the probe failed: {error}"
    return done.stdout.decode(errors="replace").strip()


def main(temporary: str) -> None:
    tempfile.tempdir = temporary
    kernel.become_subreaper()
    sys.stdout.write(_look())


def _look() -> str:
    if sys.platform != "linux":
        return "level L3 needs Linux"
    bwrap = find_bwrap()
    if bwrap is None:
        return f"level L3 needs bubblewrap, which is not installed; {_INSTALL}"
    try:
        folder = make_folder()
    except OSError as error:
        return f"level L3 needs a temporary folder: {error}"
    try:
        return _advised(_try(bwrap, folder))
    finally:
        remove_folder(folder)


def _try(bwrap: str, folder: Path) -> str:
    uid = spare_uid(os.getpid())
    if uid is not None and (closed := _closed(folder)):
        return f"programs of root run as a user without rights, who cannot enter {closed}; set TMPDIR to a folder that others may enter"
    (folder / "seen").touch()
    inside = folder / "inside"
    inside.mkdir()
    view, words = View(str(inside), 1 << 20), ["/bin/sh", "-c", _TRY, "sh", str(folder / "seen")]
    try:
        found = Launch(bwrap, view, _BOUNDS, uid).run(words, b"", 0, time.monotonic() + _SECONDS).decode(errors="replace").splitlines()
    except Ended as end:
        return end.message
    except OSError as error:
        return f"bubblewrap cannot be started: {error}"
    if found != ["done"]:
        return f"a wall does not stand: {', '.join(found[:3]) or 'the shell did not answer'}"
    try:
        Launch(bwrap, view, _BOUNDS._replace(processes=1), uid).run(["/bin/sh", "-c", ":"], b"", 0, time.monotonic() + _SECONDS)
    except Ended:
        return ""  # there was no second process to become the program
    return "a wall does not stand: the number of processes is not bounded"


def _closed(folder: Path) -> Path | None:
    """The first folder on the way there that others may not enter."""
    return next((path for path in (*reversed(folder.parents), folder) if not path.stat().st_mode & 0o001), None)


def _advised(why: str) -> str:
    if not why:
        return ""
    fix = ""
    if "disable-userns" in why:
        fix = "; it needs bubblewrap 0.8 or newer"
    elif _RESTRICTED.exists() and _RESTRICTED.read_text().strip() == "1":
        fix = "; AppArmor keeps ordinary programs from making user namespaces: give /usr/bin/bwrap a profile with 'userns,' or set "
        fix += "kernel.apparmor_restrict_unprivileged_userns=0"
    elif "amespace" in why or "uid map" in why:
        fix = "; user namespaces are closed here: in a container, its seccomp profile has to allow them"
    return f"level L3 cannot be had: {why}{fix}"
