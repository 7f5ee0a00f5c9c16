"""What doctor tries: the score, the limits, files, the network, other processes, the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from agentopt.attacks.attack import ALWAYS, Attack, deed

__all__ = ["ATTACKS", "FORBIDDEN_CALLS"]

_LANDLOCK, _SECCOMP, _LIMITS, _GUARD, _SCORER = "landlock", "seccomp", "resource limits", "the guard", "the scorer"

_SCORE: Sequence[Attack] = (
    Attack("an endless loop", ALWAYS, _GUARD, "timeout: no answer within", "def f(x):\n    while True: pass\n"),
    Attack("os._exit(0)", ALWAYS, _GUARD, "crash: the process ended with exit status 0", "def f(x): os._exit(0)\n"),
    Attack("a segmentation fault", ALWAYS, _GUARD, "crash: the process was ended by SIGSEGV", "def f(x): ctypes.string_at(0)\n"),
    Attack(
        "200 MB of print",
        ALWAYS,
        _GUARD,
        "oversize: it printed",
        "def f(x): [print('x' * (1 << 20)) for _ in range(200)]\n",
    ),
    Attack("200 MB as an answer", ALWAYS, _GUARD, "oversize: the output", "def f(x): return 'x' * (200 << 20)\n"),
    Attack("NaN as an answer", ALWAYS, _SCORER, "nonfinite:", "def f(x): return float('nan')\n"),
    Attack("a score that is printed", ALWAYS, _SCORER, "0: 0", "def f(x):\n    print('{\"right\": 1.0}')\n    return 0\n"),
    Attack(
        "answers forged on every descriptor",
        ALWAYS,
        _GUARD,
        "cheat: the box sent a reply that nobody had asked for",
        """
def f(x):
    from agentopt.core import wire
    frame = wire.pack({"nonce": "0" * 16, "status": "ok", "message": ""}, wire.encode(4))
    for descriptor in range(300):
        try:
            os.write(descriptor, frame)
        except OSError:
            pass
    return 0
""",
    ),
    Attack(
        "an answer that is a pickle",
        ALWAYS,
        _SCORER,
        "cheat:",
        """
import pickle
import agentopt.core.wire as wire
wire.encode = lambda *given: pickle.dumps(print)
def f(x): return 4
""",
    ),
    Attack(
        "a clock that stands still",
        ALWAYS,
        _GUARD,
        "timeout: no answer within",
        "time.monotonic = time.perf_counter = time.time = lambda: 0.0\ndef f(x): time.sleep(60)\n",
    ),
)
_BOUNDS: Sequence[Attack] = (
    Attack("4 GB of memory", "memory_bound", _LIMITS, "memory: the memory limit", "def f(x): return len(bytearray(4 << 30))\n"),
    Attack(
        "4 GB of shared maps",
        "memory_bound",
        _LIMITS,
        "memory: the memory limit",
        "import mmap\ndef f(x): return len([mmap.mmap(-1, 100 << 20) for _ in range(40)])\n",
    ),
    Attack(
        "1,000 threads",
        "memory_bound",
        _GUARD,
        "oversize: it started more than",
        """
def f(x):
    threading.stack_size(1 << 16)
    for _ in range(1000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(60)
""",
    ),
    Attack(
        "a file of 1 GB",
        ALWAYS,
        _LIMITS,
        "0: denied EFBIG",
        """
def f(x):
    try:
        with open("big", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 1 << 30)
    except OSError as error:
        return "denied " + errno.errorcode[error.errno]
""",
    ),
    Attack(
        "a child that outlives its box",
        "tree_kill",
        _GUARD,
        "1: 4",
        """
def f(x):
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.3)
            open(x["folder"] + "/survivor", "w").close()
            os._exit(0)
    except OSError:
        pass
    return 4
""",
    ),
    deed(
        "reading a key in the environment",
        "clean_environment",
        "clean environment",
        "ENOENT",
        """
        for value in os.environ.values():
            if x["word"] in value[::-1]:
                return value
        raise OSError(errno.ENOENT, "nothing")
        """,
    ),
)


def _file(name: str, error: str, body: str, open: str = "", by: str = _LANDLOCK) -> Attack:
    return deed(name, "no_files", by, error, body, open)


def _wire(name: str, body: str, open: str = "") -> Attack:
    return deed(name, "no_network", _SECCOMP, "EPERM", body, open)


def _other(name: str, body: str, open: str = "") -> Attack:
    return deed(name, "no_processes", _SECCOMP, "EPERM", body, open)


_MODE = """
before = os.stat(x["file"]).st_mode
os.chmod(x["file"], 0o777)
if os.stat(x["file"]).st_mode == before:
    raise OSError("nothing happened")
"""
_REACH_FILES: Sequence[Attack] = (
    _file("reading the task's answers", "EACCES", "return open(x['task']).read()[:9]", "0: got answers ="),
    _file("reading another file of yours", "EACCES", "return len(open(x['file']).read())", "0: got "),
    _file("listing your home folder", "EACCES", "return len(os.listdir(x['home']))", "0: got "),
    _file("listing the temporary folder", "EACCES", "return len(os.listdir(x['temporary']))", "0: got "),
    _file("reading /etc/passwd", "EACCES", "return open('/etc/passwd').readline()", "0: got "),
    _file("reading its own memory through /proc", "EACCES", "return open('/proc/self/mem', 'rb').fileno()", "0: got "),
    _file("reading the environment of another process", "EACCES", "return open(f'/proc/{os.getppid()}/environ').read()"),
    _file("writing a file beside yours", "EACCES", "return open(x['folder'] + '/new', 'w').write('x')"),
    _file("overwriting your file", "EACCES", "return open(x['file'], 'r+').write('x')"),
    _file("emptying your file", "EPERM", "return os.open(x['file'], os.O_RDONLY | os.O_TRUNC)", by=_SECCOMP),
    _file("deleting your file", "EACCES", "return os.unlink(x['file'])"),
    _file("renaming your file", "E", "return os.rename(x['file'], x['file'] + '2')"),
    _file("a link to your file", "EPERM", "return os.link(x['file'], 'link')", by=_SECCOMP),
    _file("a symbolic link to your file", "EPERM", "return os.symlink(x['file'], 'link')", by=_SECCOMP),
    _file("changing the mode of your file", "nothing happened", _MODE, by=_SECCOMP),
)
_REACH_OTHERS: Sequence[Attack] = (
    _wire("connecting to a server", "return socket.create_connection(('127.0.0.1', x['tcp']), 2)", "0: got "),
    _wire("sending a datagram", "return socket.socket(2, 2).sendto(b'x', ('127.0.0.1', x['udp']))", "0: got 1"),
    _wire("a socket in the file system", "return socket.socket(1).connect(x['unix'])", "0: got "),
    _wire("a socket outside of the file system", "return socket.socket(1).connect('\\0' + x['abstract'])", "0: got "),
    _other("a child that sleeps on", "if os.fork() == 0: time.sleep(600)\nreturn 'a child'", "0: got a child"),
    _other("running a program", "return os.execv('/bin/true', ['true'])"),
    _other("killing your process", "return os.kill(x['pid'], 9)"),
    _other("killing everything", "return os.kill(-1, 9)"),
    _other("killing the guard", "return os.kill(os.getppid(), 9)"),
    _other("a time limit for your process", "import resource\nreturn resource.prlimit(x['pid'], 0, (1, 1))"),
    _other("slowing your process down", "return os.sched_setaffinity(x['pid'], {0})"),
    _other("signals by way of a descriptor", "import fcntl\nreturn fcntl.fcntl(3, fcntl.F_SETOWN, os.getppid())"),
    _other("memory in a file without a name", "return os.memfd_create('x')", "0: got "),
)
FORBIDDEN_CALLS = {
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "execve": (59, 221), "execveat": (322, 281), "setpriority": (141, 140), "ioprio_set": (251, 30)},
    **{"sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239)},
    **{"unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51)},
    **{"move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442)},
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425)},
    **{"io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_setup": (206, 0), "seccomp": (317, 277)},
    **{"landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446), "keyctl": (250, 219), "add_key": (248, 217)},
    **{"request_key": (249, 218), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225)},
    **{"quotactl": (179, 60), "acct": (163, 89), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171)},
    **{"clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162), "syslog": (103, 116), "vhangup": (153, 58)},
    **{"personality": (135, 92), "setuid": (105, 146), "setgid": (106, 144), "setresuid": (117, 147), "setresgid": (119, 149)},
    **{"setgroups": (116, 159), "setfsuid": (122, 151), "capset": (126, 91), "open_by_handle_at": (304, 265)},
    **{"name_to_handle_at": (303, 264), "fanotify_init": (300, 262), "inotify_init1": (294, 26), "mknodat": (259, 33)},
    **{"shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180)},
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "mlock": (149, 228), "mlockall": (151, 230), "splice": (275, 76)},
    **{"vmsplice": (278, 75), "tee": (276, 77), "recvmsg": (47, 212), "sendmsg": (46, 211), "sendmmsg": (307, 269)},
    **{"socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept4": (288, 242)},
    **{"setsockopt": (54, 208), "flock": (73, 32), "setxattr": (188, 5), "removexattr": (197, 14), "fchownat": (260, 54)},
    **{"linkat": (265, 37), "symlinkat": (266, 36), "truncate": (76, 45), "setsid": (112, 157), "setpgid": (109, 154), "iopl": (172, 0)},
    **{"ioperm": (173, 0), "modify_ldt": (154, 0), "fork": (57, 0), "vfork": (58, 0), "creat": (85, 0), "timer_create": (222, 107)},
    **{"lookup_dcookie": (212, 18), "nfsservctl": (180, 42), "remap_file_pages": (216, 234), "pidfd_open": (434, 434)},
}
"""System calls that a box has no business with -> numbers on x86_64 and aarch64, 0 where there is none."""
_CALLS = f"""
for name, numbers in {FORBIDDEN_CALLS!r}.items():
    if number := numbers[platform.machine() == "aarch64"]:
        try:
            call(number, -1, -1, -1, -1, -1, -1)
        except OSError as error:
            if error.errno == errno.EPERM:
                continue
        return name
raise OSError(errno.EPERM, "all of them")
"""
ATTACKS: Sequence[Attack] = (
    *_SCORE,
    *_BOUNDS,
    *_REACH_FILES,
    *_REACH_OTHERS,
    _other(f"{len(FORBIDDEN_CALLS)} system calls that reach for more", _CALLS),
)
"""Names are unique."""
