"""Namespaces of one's own: a machine without network in which there are no other processes. Asked of the kernel without any rights."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from collections.abc import Sequence
from pathlib import Path

from agentopt.sandbox.kernel import die_with_any_parent, libc

__all__ = ["drop_capabilities", "may_mount", "mount_folder", "move_in", "set_stage", "unmount_folder"]

_MOUNTS, _HOST_NAME, _IPC, _USER, _PROCESSES, _NETWORK = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_NOSUID, _NODEV, _NOEXEC, _NOATIME = 2, 4, 8, 1024
_DETACH = 2
_CAP_SYS_ADMIN = 21
_BIND, _WITH_ALL_BELOW, _PRIVATE = 4096, 16384, 1 << 18
_BYTES_PER_FILE = 16 << 10
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4
_NO_CAPABILITIES = struct.pack("=II", 0x20080522, 0), bytes(24)
_MORE_THAN_ALL_CAPABILITIES = 64


def move_in() -> None:
    """Returns in a new process, the first of its namespaces; the one that called waits for it and ends as it ends.

    When either ends, the kernel kills everything in the namespaces. Raises OSError, in the process that called, if that cannot be had.
    """
    uid, gid = os.getuid(), os.getgid()
    _check(libc().unshare(_USER | _MOUNTS | _NETWORK | _IPC | _HOST_NAME | _PROCESSES), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        _settle(told)
        return
    os.close(told)
    keep = tell  # while it is open, the new process knows that this one lives
    os.closerange(0, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _settle(told: int) -> None:
    """``told`` turns readable when the process that waits has ended."""
    die_with_any_parent()
    if select.select([told], [], [], 0)[0]:
        os._exit(1)
    os.close(told)
    _check(libc().mount(b"proc", b"/proc", b"proc", _NOSUID | _NODEV | _NOEXEC, None), "mount /proc")
    # what nobody in here gets back by executing something: inherited, so that it is done once
    for capability in range(_MORE_THAN_ALL_CAPABILITIES):
        libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc().prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def mount_folder(folder: str, size: int) -> None:
    """``folder`` becomes a file system of its own, in memory, that holds ``size`` bytes and no more than a file per 16 KiB of them."""
    options = f"size={size},nr_inodes={size // _BYTES_PER_FILE + 16},mode=700"
    _check(libc().mount(b"scratch", os.fsencode(folder), b"tmpfs", _NOSUID | _NODEV | _NOATIME, options.encode()), f"mount {folder}")


def unmount_folder(folder: str) -> None:
    """Whatever it holds goes. For a folder that is no file system nothing happens."""
    libc().umount2(os.fsencode(folder), _DETACH)


def may_mount() -> bool:
    """Whether this process may mount what it likes, as only root may, and not in every container."""
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    return bool(effective >> _CAP_SYS_ADMIN & 1)


def set_stage(folder: str, sources: Sequence[str]) -> None:
    """For a process of root, in mounts of its own from then on: ``folder/k`` is what lies at ``sources[k]``, whoever may reach that.

    Nothing of it is seen by other processes, and nothing is left when this one has ended. Raises OSError.
    """
    _check(libc().unshare(_MOUNTS), "unshare")
    _check(libc().mount(b"none", b"/", None, _WITH_ALL_BELOW | _PRIVATE, None), "mount /")
    _check(libc().mount(b"stage", os.fsencode(folder), b"tmpfs", _NOSUID | _NODEV, b"mode=755"), f"mount {folder}")
    for k, source in enumerate(sources):
        place = f"{folder}/{k}"
        if os.path.isdir(source):
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_CREAT, 0o644))
        _check(libc().mount(os.fsencode(source), os.fsencode(place), None, _BIND | _WITH_ALL_BELOW, None), f"mount {source}")


def drop_capabilities() -> None:
    """All of them, for good, after ``move_in``: the owner of the namespaces becomes an ordinary user."""
    _check(libc().capset(*_NO_CAPABILITIES), "capset")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
