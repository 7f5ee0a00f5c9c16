"""The filters of system calls: what they answer on each machine, and that this machine's kernel answers the same."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import signal
import socket
import threading
from types import SimpleNamespace

import pytest

from agentopt.sandbox import kernel, seccomp
from agentopt.sandbox.syscalls import MACHINES
from tests.children import in_child
from tests.sandbox.bpf import verdict
from tests.sandbox.test_syscalls import BY_ARGUMENTS, header

PID = 4711
HIGH = 1 << 32
THREAD = 0x003D0F00
"""The flags with which the C library makes a thread: CLONE_THREAD and what has to go with it."""
O_PATH, O_TRUNC, O_CREAT, O_APPEND = 0o10000000, 0o1000, 0o100, 0o2000
AT_FDCWD = -100

# (call, arguments, answer), the same on both machines
PYTHON = [
    ("read", (0, 1, 2), "allow"),
    ("exit_group", (0,), "allow"),
    ("mmap", (0, 1 << 40, 7), "allow"),
    ("clone", (THREAD,), "allow"),
    ("clone", (signal.SIGCHLD,), "EPERM"),
    ("clone", (0x4111,), "EPERM"),  # vfork
    ("clone", (THREAD | 0x10000000,), "EPERM"),  # in a user namespace of its own
    ("clone", (THREAD | 0x40000000,), "EPERM"),  # in a network namespace of its own
    ("clone3", (), "ENOSYS"),
    ("kill", (PID, 15), "allow"),
    ("kill", (PID, 9), "EPERM"),  # so whoever was killed was killed by the system
    ("kill", (PID, HIGH + 9), "EPERM"),
    ("kill", (PID, 19), "EPERM"),
    ("kill", (PID + 1, 15), "EPERM"),
    ("kill", (-1, 15), "EPERM"),
    ("kill", (0, 15), "EPERM"),
    ("tgkill", (PID, PID + 1, 15), "allow"),
    ("tgkill", (PID, PID + 1, 9), "EPERM"),
    ("tgkill", (PID, PID + 1, 19), "EPERM"),
    ("tgkill", (PID + 1, PID, 15), "EPERM"),
    ("tkill", (PID, 15), "allow"),
    ("tkill", (PID, 9), "EPERM"),
    ("tkill", (PID + 1, 15), "EPERM"),
    ("prlimit64", (0, 7), "allow"),
    ("prlimit64", (PID, 7), "allow"),
    ("prlimit64", (PID - 1, 7), "EPERM"),
    ("sched_setaffinity", (0,), "allow"),
    ("sched_setaffinity", (1,), "EPERM"),
    ("openat", (AT_FDCWD, 0, os.O_RDONLY), "allow"),
    ("openat", (AT_FDCWD, 0, os.O_WRONLY | O_CREAT | O_TRUNC), "allow"),
    ("openat", (AT_FDCWD, 0, os.O_RDWR | O_APPEND), "allow"),
    ("openat", (AT_FDCWD, 0, os.O_RDONLY | O_TRUNC), "EPERM"),
    ("openat", (AT_FDCWD, 0, O_PATH | O_TRUNC), "EPERM"),
    ("openat", (AT_FDCWD, 0, 3), "EPERM"),
    ("openat2", (), "ENOSYS"),
    ("fcntl", (0, 0), "allow"),  # F_DUPFD
    ("fcntl", (0, 1), "allow"),  # F_GETFD
    ("fcntl", (0, 4), "allow"),  # F_SETFL
    ("fcntl", (0, 1030), "allow"),  # F_DUPFD_CLOEXEC
    ("fcntl", (0, 6), "allow"),  # F_SETLK
    ("fcntl", (0, 8), "EPERM"),  # F_SETOWN
    ("fcntl", (0, 10), "EPERM"),  # F_SETSIG
    ("fcntl", (0, 1024), "EPERM"),  # F_SETLEASE
    ("ioctl", (0, 0x5421), "allow"),  # FIONBIO
    ("ioctl", (0, 0x541B), "allow"),  # FIONREAD
    ("ioctl", (0, 0x5412), "ENOTTY"),  # TIOCSTI
    ("ioctl", (0, 0x5401), "ENOTTY"),  # TCGETS
    ("prctl", (15,), "allow"),  # PR_SET_NAME
    ("prctl", (0x53564D41,), "allow"),  # PR_SET_VMA
    ("prctl", (4,), "EPERM"),  # PR_SET_DUMPABLE
    ("prctl", (36,), "EPERM"),  # PR_SET_CHILD_SUBREAPER
    ("socketpair", (1, 1), "allow"),
    ("socketpair", (1, 1 | 0o2000000 | 0o4000), "allow"),  # SOCK_CLOEXEC, SOCK_NONBLOCK
    ("socketpair", (1, 2), "EPERM"),  # datagrams can be sent to any address
    ("socketpair", (2, 1), "EPERM"),
    ("sendto", (3, 1, 1, 0, 0, 0), "allow"),
    ("sendto", (3, 1, 1, 0, 1, 16), "EPERM"),
    ("sendto", (3, 1, 1, 0, HIGH, 16), "EPERM"),
    ("sendmsg", (), "EPERM"),
    ("recvmsg", (), "EPERM"),
    ("socket", (1, 1), "EPERM"),
    ("connect", (), "EPERM"),
    ("bind", (), "EPERM"),
    ("execve", (), "EPERM"),
    ("execveat", (), "EPERM"),
    ("fork", (), "EPERM"),
    ("vfork", (), "EPERM"),
    ("setsid", (), "EPERM"),
    ("fchmod", (3, 0o4777), "pretend"),
    ("fchmodat", (AT_FDCWD, 0, 0o4777), "pretend"),
    ("utimensat", (), "pretend"),
    ("getxattr", (), "ENOTSUP"),
    ("flistxattr", (), "ENOTSUP"),
    ("truncate", (), "EPERM"),
    ("pidfd_open", (), "EPERM"),
]
OLD_PYTHON = [
    ("open", (0, os.O_RDONLY), "allow"),
    ("open", (0, os.O_WRONLY | O_CREAT | O_TRUNC), "allow"),
    ("open", (0, os.O_RDONLY | O_TRUNC), "EPERM"),
    ("open", (0, 3), "EPERM"),
    ("chmod", (0, 0o4777), "pretend"),
    ("utime", (), "pretend"),
    ("link", (), "EPERM"),
    ("symlink", (), "EPERM"),
]
PROGRAM = [
    ("clone", (signal.SIGCHLD,), "allow"),
    ("clone", (THREAD,), "allow"),
    *[("clone", (signal.SIGCHLD | flag,), "EPERM") for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000)],
    ("clone", (signal.SIGCHLD | 0x40000000,), "EPERM"),
    ("clone3", (), "ENOSYS"),
    ("execve", (), "allow"),
    ("wait4", (), "allow"),
    ("kill", (PID, 9), "allow"),
    ("kill", (PID + 1, 9), "allow"),
    ("openat", (AT_FDCWD, 0, O_TRUNC), "allow"),
    ("socket", (1, 1), "allow"),
    ("socket", (2, 1), "EPERM"),
    ("socket", (16, 3), "EPERM"),  # netlink
    ("ioctl", (0, 0x5401), "allow"),  # TCGETS
    ("ioctl", (0, 0x5413), "allow"),  # TIOCGWINSZ
    ("ioctl", (0, 0x5412), "ENOTTY"),  # TIOCSTI
]
NEVER = {
    "x86_64": {
        **{"ptrace": 101, "mount": 165, "umount2": 166, "chroot": 161, "pivot_root": 155, "unshare": 272, "setns": 308, "bpf": 321},
        **{"keyctl": 250, "add_key": 248, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426},
        **{"process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "init_module": 175, "kexec_load": 246, "reboot": 169},
        **{"mknod": 133, "mknodat": 259, "setuid": 105, "setgid": 106, "setresuid": 117, "setgroups": 116, "capset": 126},
        **{"shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240, "sethostname": 170, "settimeofday": 164, "seccomp": 317},
        **{
            "memfd_create": 319,
            "open_by_handle_at": 304,
            "fanotify_init": 300,
            "inotify_init1": 294,
            "pidfd_getfd": 438,
            "pidfd_send_signal": 424,
        },
        **{
            "landlock_restrict_self": 446,
            "memfd_create": 319,
            "personality": 135,
            "modify_ldt": 154,
            "ioperm": 173,
            "iopl": 172,
            "clone3": 435,
        },
    },
    "aarch64": {
        **{"ptrace": 117, "mount": 40, "umount2": 39, "chroot": 51, "pivot_root": 41, "unshare": 97, "setns": 268, "bpf": 280},
        **{"keyctl": 219, "add_key": 217, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425, "io_uring_enter": 426},
        **{"process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "init_module": 105, "kexec_load": 104, "reboot": 142},
        **{"mknodat": 33, "setuid": 146, "setgid": 144, "setresuid": 147, "setgroups": 159, "capset": 91},
        **{"shmget": 194, "msgget": 186, "semget": 190, "mq_open": 180, "sethostname": 161, "settimeofday": 170, "seccomp": 277},
        **{
            "memfd_create": 279,
            "open_by_handle_at": 265,
            "fanotify_init": 262,
            "inotify_init1": 26,
            "pidfd_getfd": 438,
            "pidfd_send_signal": 424,
        },
        **{"landlock_restrict_self": 446, "memfd_create": 279, "personality": 92, "clone3": 435},
    },
}
"""Calls that no filter ever allows, whatever their arguments."""

both = pytest.mark.parametrize("machine", MACHINES)


def answers(code: bytes, machine: str, table: list) -> list:
    numbers = MACHINES[machine].numbers
    return [(name, asked, verdict(code, machine, numbers[name], asked)) for name, asked, _ in table if name in numbers]


def known(machine: str, table: list) -> list:
    return [row for row in table if row[0] in MACHINES[machine].numbers]


@both
def test_python_code_gets_what_it_needs_and_no_more(machine):
    code = seccomp.python_filter(machine, PID)
    assert answers(code, machine, PYTHON + OLD_PYTHON) == known(machine, PYTHON + OLD_PYTHON)


@both
def test_a_program_may_start_others_but_not_reach_out(machine):
    code = seccomp.program_filter(machine)
    assert answers(code, machine, PROGRAM) == known(machine, PROGRAM)


@both
@pytest.mark.parametrize("arguments", [(), (PID,) * 6, (1,) * 6, (0xFFFFFFFF,) * 6, (0xFFFFFFFFFFFFFFFF,) * 6])
def test_what_is_not_listed_does_not_work(machine, arguments):
    numbers = MACHINES[machine].numbers
    answered = f"{seccomp._PYTHON} {seccomp._PRETENDED} {seccomp._NO_ATTRIBUTES} {BY_ARGUMENTS}".split()
    listed = {numbers[name] for name in answered if name in numbers}
    code = seccomp.python_filter(machine, PID)
    others = [number for number in range(601) if number not in listed]
    assert len(others) > 300
    assert {verdict(code, machine, number, arguments) for number in others} == {"EPERM"}
    listed |= {numbers[name] for name in seccomp._PROGRAM.split() if name in numbers}
    code = seccomp.program_filter(machine)
    assert {verdict(code, machine, number, arguments) for number in range(601) if number not in listed} == {"EPERM"}


@both
@pytest.mark.parametrize("arguments", [(), (1,) * 6, (0xFFFFFFFF,) * 6])
def test_what_reaches_for_more_is_never_allowed(machine, arguments):
    python, program = seccomp.python_filter(machine, PID), seccomp.program_filter(machine)
    for name, number in NEVER[machine].items():
        assert verdict(python, machine, number, arguments) in ("EPERM", "ENOSYS"), name
        assert verdict(program, machine, number, arguments) in ("EPERM", "ENOSYS"), name


@both
def test_calls_of_another_machine_end_the_process(machine):
    for code in (seccomp.python_filter(machine, PID), seccomp.program_filter(machine)):
        for other in {"x86_64", "aarch64", "i386", "arm"} - {machine}:
            assert {verdict(code, other, number) for number in range(601)} == {"kill"}
        for number in (0x40000000, 0x40000001, 0xFFFFFFFF):  # x32, and what is no number at all
            assert verdict(code, machine, number) == "kill"


def test_a_machine_without_a_table_has_no_filter():
    with pytest.raises(OSError, match="no table of system calls for riscv64") as error:
        seccomp.Assembly("riscv64")
    assert error.value.errno == errno.ENOSYS


@both
def test_both_halves_of_an_argument_are_looked_at(machine):
    made = seccomp.Assembly(machine)
    made.when("read", [(seccomp._low(5), 0xFF, 7), (seccomp._high(5), 0xFFFFFFFF, 9)])
    made.only("write", seccomp._high(0), (3, 4), 0xFF, errno.EIO)
    code = made.finish()
    read, write = (MACHINES[machine].numbers[name] for name in ("read", "write"))

    def answer(number: int, *arguments: int) -> str:
        return verdict(code, machine, number, arguments)

    assert answer(read, 1, 2, 3, 4, 5, 9 * HIGH + 0x1207) == "allow"
    assert answer(read, 1, 2, 3, 4, 5, 9 * HIGH + 0x1208) == "EPERM"
    assert answer(read, 1, 2, 3, 4, 5, 8 * HIGH + 0x1207) == "EPERM"
    assert [answer(write, value * HIGH) for value in (2, 3, 4, 5)] == ["EIO", "allow", "allow", "EIO"]


@both
def test_what_the_machine_does_not_have_takes_no_room(machine):
    made, empty = seccomp.Assembly(machine), seccomp.Assembly(machine)
    made.when("no_such_call", [(0, 1, 1)])
    made.only("no_such_call", 0, (1,))
    made.refuse("no_such_call", errno.EIO)
    made.never("no_such_call", 0, (1,))
    made.allow("no_such_call")
    assert made.finish() == empty.finish()


def install() -> None:
    seccomp.Filter(seccomp.python_filter(platform.machine(), os.getpid())).install(os.getpid())


def refused(action) -> str:
    """The name of the error that ``action`` ends with; empty if it works."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def test_the_kernel_answers_as_the_interpreter_does(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "file").chmod(0o644)

    def tried() -> dict[str, str]:
        install()
        parent = os.getppid()
        tries = {
            "fork": kernel.libc().fork() < 0 and "EPERM",
            "exec": refused(lambda: os.execv("/bin/true", ["true"])),
            "socket": refused(lambda: socket.socket(socket.AF_UNIX)),
            "udp": refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
            "kill the parent": refused(lambda: os.kill(parent, 0)),
            "kill all": refused(lambda: os.kill(-1, 0)),
            "ask for itself": refused(lambda: os.kill(os.getpid(), 0)),
            "empty a file that is read": refused(lambda: os.open(tmp_path / "file", os.O_RDONLY | os.O_TRUNC)),
            "change a mode": refused(lambda: os.chmod(tmp_path / "file", 0o4777)),
            "kill itself": refused(lambda: os.kill(os.getpid(), signal.SIGKILL)),
            "lock a record": refused(lambda: fcntl.lockf(os.open(tmp_path / "file", os.O_RDWR), fcntl.LOCK_EX)),
            "link": refused(lambda: os.link(tmp_path / "file", tmp_path / "other")),
            "a terminal": refused(lambda: os.tcgetpgrp(0)),
            "write a file": refused(lambda: (tmp_path / "new").write_text("text")),
            "a pair": refused(lambda: [side.close() for side in socket.socketpair()]),
            "a limit of the parent": refused(lambda: __import__("resource").prlimit(parent, 7)),
            "a limit of its own": refused(lambda: __import__("resource").prlimit(0, 7)),
        }
        heard: list[int] = []
        thread = threading.Thread(target=lambda: heard.append(1))
        thread.start()
        thread.join()
        return tries | {"threads": str(heard)}

    assert in_child(tried) == {
        **dict.fromkeys(("fork", "exec", "socket", "udp", "kill the parent", "kill all", "empty a file that is read"), "EPERM"),
        **dict.fromkeys(("kill itself", "link", "a limit of the parent"), "EPERM"),
        "a terminal": "ENOTTY",
        **dict.fromkeys(("ask for itself", "write a file", "a pair", "a limit of its own", "lock a record", "change a mode"), ""),
        "threads": "[1]",
    }
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o644, "only said to be done"


def test_a_filter_cannot_be_taken_off_again():
    def loosened() -> int:
        install()
        return kernel.libc().prctl(22, 0, 0, 0, 0)

    assert in_child(loosened) == -1


def test_a_filter_that_the_kernel_does_not_take():
    assert in_child(lambda: refused(lambda: seccomp.Filter(b"\xff" * 8).install(os.getpid()))) == "EINVAL"


@both
def test_the_calls_that_are_never_allowed_bear_their_own_numbers(machine):
    theirs = header(machine)
    assert {name: theirs.get(name) for name in NEVER[machine] if name in theirs} == {n: v for n, v in NEVER[machine].items() if n in theirs}
    assert len(set(NEVER[machine]) & set(theirs)) > 25


@pytest.mark.parametrize("machine", MACHINES)
def test_a_filter_made_for_anybody_becomes_one_for_a_process(monkeypatch, machine):
    made = seccomp.Filter(seccomp.python_filter(machine, seccomp.ANYBODY))
    monkeypatch.setattr(seccomp, "no_new_privileges", lambda: None)
    monkeypatch.setattr(seccomp, "libc", lambda: SimpleNamespace(prctl=lambda *arguments: 0))
    made.install(PID)
    assert made.code == seccomp.python_filter(machine, PID)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_filter_may_be_longer_than_a_test_can_jump(machine):
    made = seccomp.Assembly(machine)
    numbers = MACHINES[machine].numbers
    for name, number in numbers.items():
        made.only(name, 0, [number, *range(1000, 1009)])
    code = made.finish()
    assert len(code) // 8 > 2000
    for number in range(max(numbers.values()) + 2):
        known = number in numbers.values()
        assert verdict(code, machine, number, (number,)) == ("allow" if known else "EPERM")
        assert verdict(code, machine, number, (number + 1,)) == "EPERM"


def test_what_is_said_first_of_a_call_holds():
    made = seccomp.Assembly("x86_64")
    made.refuse("read", errno.ENOSYS)
    made.allow("read write")
    made.never("write", 0, [7])
    code, numbers = made.finish(), MACHINES["x86_64"].numbers
    assert verdict(code, "x86_64", numbers["read"]) == "ENOSYS"
    assert [verdict(code, "x86_64", numbers["write"], (fd,)) for fd in (6, 7)] == ["allow", "EPERM"]
