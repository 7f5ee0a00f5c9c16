"""The filter of system calls: an allow-list, and for calls that can name another process or object, a look at their arguments.

Filters are assembled by hand (classic BPF, linux/seccomp.h): nothing has to be installed. What is not listed fails with EPERM, so
that an honest library meets an ordinary error; a foreign machine's calls (32 bit, x32) end the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from collections.abc import Sequence

from agentopt.sandbox.kernel import libc, no_new_privileges
from agentopt.sandbox.syscalls import MACHINES

__all__ = ["ANYBODY", "Assembly", "Filter", "program_filter", "python_filter"]

Test = tuple[int, int, int]
"""A half of an argument (``_low``, ``_high``), a mask, and the value that must be left."""

ANYBODY = 0x5EED5EED
"""Stands for a process in a filter that is made before the process is; no pid is that large."""
_NUMBER_OF = struct.Struct("=I")
_ALL = 0xFFFFFFFF
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _MASK, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x54, 0x06
_SIZE, _FARTHEST = 8, 255
"""Bytes of an instruction; how many of them a test can jump over."""
_FOREIGN = 0x40000000
"""The numbers of x32 begin here."""
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020000
_AF_UNIX, _SOCK_STREAM = 1, 1
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41
_O_ACCMODE, _O_TRUNC, _O_TMPFILE = 0o3, 0o1000, 0o20000000
_TCGETS, _TIOCGWINSZ = 0x5401, 0x5413
_DESCRIPTOR_CONTROLS = (0x5421, 0x5451, 0x5450, 0x541B)  # FIONBIO, FIOCLEX, FIONCLEX, FIONREAD
_DESCRIPTOR_COMMANDS = (fcntl.F_DUPFD, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_DUPFD_CLOEXEC)
_LOCK_COMMANDS = (fcntl.F_GETLK, fcntl.F_SETLK, fcntl.F_SETLKW)  # of records: SQLite cannot do without
_SIGKILL, _SIGSTOP = 9, 19

_MEMORY = "mmap mprotect munmap brk mremap msync madvise membarrier"
_FILES = (
    "read write close fstat lseek pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 dup dup2 dup3 fsync fdatasync ftruncate "
    "fallocate getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir mkdirat rmdir unlink unlinkat readlink readlinkat "
    "stat lstat newfstatat statx access faccessat faccessat2 statfs fstatfs sendfile copy_file_range close_range pipe pipe2 umask"
)
_WAITING = (
    "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 "
    "timerfd_create timerfd_settime timerfd_gettime futex futex_waitv set_robust_list get_robust_list nanosleep clock_nanosleep pause"
)
_TIME = "clock_gettime clock_getres gettimeofday time times getitimer setitimer alarm"
_SIGNALS = "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack restart_syscall"
_WHO = (
    "getpid getppid gettid getuid getgid geteuid getegid getresuid getresgid getgroups getpgrp getpgid getsid getpriority uname sysinfo "
    "getrusage getrlimit setrlimit capget getcpu getrandom sched_yield sched_getaffinity sched_getparam sched_getscheduler "
    "sched_get_priority_max sched_get_priority_min set_tid_address rseq exit exit_group recvfrom shutdown getsockname getpeername "
    "getsockopt"
)
# what copies and unpacks files sets their modes and times by habit, of files that may be anybody's: it is told that this was done
_PRETENDED = "chmod fchmod fchmodat fchmodat2 utime utimensat"
# nor does its file system have what copying looks for
_NO_ATTRIBUTES = "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr"
_PYTHON = f"{_MEMORY} {_FILES} {_WAITING} {_TIME} {_SIGNALS} {_WHO}"
# a whole program starts others, waits for them and changes the modes of its own files; what it may see is up to its namespaces.
# It may not make a memfd: that memory would count for no process.
_PROGRAM = (
    "open openat openat2 fork vfork execve execveat wait4 waitid kill tkill tgkill setsid setpgid chmod fchmod fchmodat fchmodat2 utime "
    "utimensat link linkat symlink symlinkat flock fcntl socketpair sendto sendmsg recvmsg prlimit64 sched_setaffinity timer_create "
    "timer_settime timer_gettime timer_getoverrun timer_delete mincore pidfd_open arch_prctl bind connect listen accept "
    "accept4 setsockopt prctl truncate getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr fadvise64 signalfd4"
)


class Assembly:
    """A filter in the making. What is said first of a call holds; what is said nothing of is refused."""

    def __init__(self, machine: str) -> None:
        """Raises OSError for a machine whose calls are not known here."""
        if machine not in MACHINES:
            raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
        self._audit, self._numbers = MACHINES[machine]
        self._exceptions: dict[int, bytes] = {}
        self._answers: dict[int, bytes] = {}

    def _answer(self, name: str, code: bytes) -> None:
        if name in self._numbers:
            self._answers.setdefault(self._numbers[name], code)

    def allow(self, names: str) -> None:
        """Calls by name, whatever their arguments. Those that this machine does not have are passed over."""
        for name in names.split():
            self._answer(name, _return(_ALLOW))

    def refuse(self, name: str, error: int) -> None:
        self._answer(name, _return(_ERRNO | error))

    def never(self, name: str, half: int, values: Sequence[int], error: int = errno.EPERM) -> None:
        """Refuse ``name`` if that half of an argument is one of ``values``; else what else is said of it decides."""
        if name in self._numbers:
            self._exceptions[self._numbers[name]] = _any_of(half, values, _ALL, _return(_ERRNO | error))

    def when(self, name: str, tests: Sequence[Test]) -> None:
        """Allow ``name`` if every test holds."""
        code = _return(_ALLOW)
        for half, mask, value in reversed(tests):
            code = _load(half) + _one(_MASK, mask) + _one(_EQUAL, value, 0, len(code) // _SIZE) + code
        self._answer(name, code + _REFUSE)

    def only(self, name: str, half: int, values: Sequence[int], mask: int = _ALL, error: int = errno.EPERM) -> None:
        """Allow ``name`` if that half of an argument, masked, is one of ``values``."""
        self._answer(name, _any_of(half, values, mask, _return(_ALLOW)) + _return(_ERRNO | error))

    def threads_only(self) -> None:
        """clone may make threads, in no namespace of their own. clone3, whose flags lie in memory, does not exist: libraries fall back."""
        self.refuse("clone3", errno.ENOSYS)
        self.only("clone", _low(0), (_CLONE_THREAD,), _CLONE_THREAD | _CLONE_NEW)

    def no_namespaces(self) -> None:
        """clone may make processes, but in no namespace of their own."""
        self.refuse("clone3", errno.ENOSYS)
        self.only("clone", _low(0), (0,), _CLONE_NEW)

    def finish(self) -> bytes:
        kill = _return(_KILL)
        parts = [(0, _REFUSE)]
        for number in sorted(self._exceptions | self._answers):
            code = self._exceptions.get(number, b"") + self._answers.get(number, _REFUSE)
            if parts[-1][0] == number:
                parts.pop()
            if not parts or parts[-1][1] != code:
                parts.append((number, code))
            parts.append((number + 1, _REFUSE))
        parts.append((_FOREIGN, kill))
        return _one(_LOAD, _MACHINE) + _one(_EQUAL, self._audit, 1, 0) + kill + _one(_LOAD, _NUMBER) + _halved(parts)


def _halved(parts: Sequence[tuple[int, bytes]]) -> bytes:
    """Each part answers the calls from its number on. The kernel goes through all calls there are when a filter is installed."""
    if len(parts) == 1:
        return parts[0][1]
    middle = len(parts) // 2
    low, high = _halved(parts[:middle]), _halved(parts[middle:])
    size = len(low) // _SIZE
    if size <= _FARTHEST:
        return _one(_AT_LEAST, parts[middle][0], size, 0) + low + high
    return _one(_AT_LEAST, parts[middle][0], 0, 1) + _one(_JUMP, size) + low + high


def _any_of(half: int, values: Sequence[int], mask: int, then: bytes) -> bytes:
    """``then``, one instruction, if that half of an argument, masked, is one of ``values``; else what follows."""
    tests = [_one(_EQUAL, value, left, 0 if left else 1) for left, value in zip(range(len(values) - 1, -1, -1), values, strict=True)]
    return b"".join((_load(half), b"" if mask == _ALL else _one(_MASK, mask), *tests, then))


def _load(half: int) -> bytes:
    return _one(_LOAD, _ARGUMENTS + 4 * half)


def _return(value: int) -> bytes:
    return _one(_RETURN, value)


def _one(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """An instruction. Jumps are counted in instructions that follow."""
    return struct.pack("<HBBI", code, if_true, if_false, value & _ALL)


_REFUSE = _return(_ERRNO | errno.EPERM)


def _low(argument: int) -> int:
    return 2 * argument


def _high(argument: int) -> int:
    return 2 * argument + 1


def python_filter(machine: str, pid: int) -> bytes:
    """For a candidate that is Python code in the process ``pid``: threads, files, memory, time; no other process, no network."""
    made = Assembly(machine)
    made.threads_only()
    for name, number in (("kill", 1), ("tgkill", 2), ("tkill", 1)):
        # whoever is killed was killed by the system then: for want of memory
        made.never(name, _low(number), (_SIGKILL, _SIGSTOP))
        made.only(name, _low(0), (pid,))
    for name in ("prlimit64", "sched_setaffinity"):
        made.only(name, _low(0), (0, pid))
    # where landlock is older than its third version, O_TRUNC would empty a file that may only be read
    for name, flags in (("open", 1), ("openat", 2)):
        # and a file without a name leaves no trace in its folder, which is looked at to see whether the folder was used
        made.only(name, _low(flags), (0, 1, 2, 1 | _O_TRUNC, 2 | _O_TRUNC), _O_ACCMODE | _O_TRUNC | _O_TMPFILE)
    made.refuse("openat2", errno.ENOSYS)
    made.only("fcntl", _low(1), (*_DESCRIPTOR_COMMANDS, *_LOCK_COMMANDS))
    made.only("ioctl", _low(1), _DESCRIPTOR_CONTROLS, error=errno.ENOTTY)
    made.only("prctl", _low(0), (_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA))
    # asyncio wakes itself through a pair; pairs of other types could send to any address
    made.when("socketpair", [(_low(0), _ALL, _AF_UNIX), (_low(1), 0xF, _SOCK_STREAM)])
    made.when("sendto", [(_low(4), _ALL, 0), (_high(4), _ALL, 0)])
    for name in _PRETENDED.split():
        made.refuse(name, 0)
    for name in _NO_ATTRIBUTES.split():
        made.refuse(name, errno.ENOTSUP)
    made.allow(_PYTHON)
    return made.finish()


def program_filter(machine: str) -> bytes:
    """For a whole program in namespaces of its own: processes and local sockets too, but nothing that reaches for more rights."""
    made = Assembly(machine)
    made.no_namespaces()
    made.only("socket", _low(0), (_AF_UNIX,))
    made.only("ioctl", _low(1), (_TCGETS, _TIOCGWINSZ, *_DESCRIPTOR_CONTROLS), error=errno.ENOTTY)
    made.allow(f"{_PYTHON} {_PROGRAM}")
    return made.finish()


class Filter:
    """A filter where the kernel takes it from, made once: in a fork only the process's own number is put in for ``ANYBODY``.

    Assembling one takes longer than all other walls together.
    """

    def __init__(self, code: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(code, len(code))
        self._program = struct.pack("H6xQ", len(code) // _SIZE, ctypes.addressof(self._buffer))
        constants = range(_SIZE // 2, len(code), _SIZE)
        self._places = [place for place in constants if _NUMBER_OF.unpack_from(code, place)[0] == ANYBODY]

    @property
    def code(self) -> bytes:
        return self._buffer.raw

    def install(self, pid: int) -> None:
        """For this process, ``pid``, and all its threads, for good. Raises OSError."""
        for place in self._places:
            _NUMBER_OF.pack_into(self._buffer, place, pid)
        no_new_privileges()
        if libc().prctl(_PR_SET_SECCOMP, _MODE_FILTER, self._program, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "seccomp")
