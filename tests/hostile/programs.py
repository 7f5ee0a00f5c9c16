"""Whole programs that mean harm, and honest ones, with how each must end at level L3. Also runs by itself, for another user to run it.

Needs nothing but agentopt and cloudpickle, so that it works from a copy in a folder that another user can read.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.protocols import ExecutorContext
from agentopt.core.task import Case, Limits, Objective, Parameter, Score, Task
from agentopt.executors.boxed import Boxed

P = """
import ctypes, errno, mmap, os, resource, signal, socket, subprocess, sys, threading, time
def refused(*attempts):
    for number, attempt in enumerate(attempts):
        try:
            got = attempt()
        except (OSError, ValueError):
            continue
        print("done:", number, repr(got)[:200])
        return
    print("refused")
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if (got := libc.syscall(*arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
    return got
"""
PYTHON = {
    "endless loop": ("while True: pass", "timeout: no end within limits.seconds"),
    "ignoring every signal": (
        P + "for s in range(1, 32):\n if s not in (9, 19): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        "timeout: no end within",
    ),
    "sleeping": (P + "time.sleep(60)", "timeout: no end within"),
    "fork bomb": (P + "while True:\n try: os.fork()\n except OSError: pass", "timeout: no end within"),
    "counting forks": (
        P + "n = 0\ntry:\n while n < 500:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\nexcept OSError: print(40 < n < 64)",
        "True",
    ),
    "counting threads": (
        P + "threading.stack_size(1 << 16)\nn = 0\ntry:\n while n < 500:\n"
        "  threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n  n += 1\n"
        "except RuntimeError: print(40 < n < 64, flush=True)\nos._exit(0)",
        "True",
    ),
    "4 GB": ("x = bytearray(4 << 30)", "memory: the memory limit was reached"),
    "memory across forks": (
        P + "for _ in range(8):\n if os.fork() == 0: x = os.urandom(1 << 20) * 100; time.sleep(60)\ntime.sleep(60)",
        "memory: the memory limit was reached",
    ),
    "memory across forks that hide their maps": (
        P + "libc.prctl(4, 0, 0, 0, 0)\n"
        "for _ in range(8):\n if os.fork() == 0: x = os.urandom(1 << 20) * 100; time.sleep(60)\ntime.sleep(60)",
        "memory: the memory limit was reached",
    ),
    "shared memory is counted once": (
        P + "x = os.urandom(1 << 20) * 100\nfor _ in range(8):\n if os.fork() == 0: sum(x[::4096]); time.sleep(60)\n"
        "time.sleep(0.5)\nprint('fine')",
        "fine",
    ),
    "memfd flood": (P + "refused(lambda: os.memfd_create('x'))", "refused"),
    "TCP, UDP, DNS and rarer sockets": (
        P + "refused(lambda: socket.socket(), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),\n"
        " lambda: socket.socket(socket.AF_INET6), lambda: socket.create_connection(('127.0.0.1', {port}), 1),\n"
        " lambda: socket.getaddrinfo('localhost.invalid', 80), lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),\n"
        " lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), lambda: socket.socket(40, socket.SOCK_STREAM))",
        "refused",
    ),
    "Unix sockets, by path and abstract": (
        P + "def to(name):\n s = socket.socket(socket.AF_UNIX)\n s.connect(name)\n return s\n"
        "refused(lambda: to('{socket}'), lambda: to('\\0{abstract}'))",
        "refused",
    ),
    "files of the user and of the task": (
        P + "refused(*(lambda path=path: open(path).read(50) for path in ('{secret}', '/etc/passwd', '/etc/shadow', '/etc/hostname',\n"
        " '/proc/{pid}/environ', '/proc/1/environ', '/run/systemd/notify')),\n"
        " *(lambda path=path: os.listdir(path) for path in ('{home}', '{folder}', '/root', '/home', '/sys')))",
        "refused",
    ),
    "the environment": (
        P + "print(sorted(k for k in os.environ if 'AGENTOPT' in k or 'KEY' in k), os.environ['HOME'])",
        "['AGENTOPT_RNG_SEED'] /tmp",
    ),
    "other processes": (
        P + "print([p for p in os.listdir('/proc') if p.isdigit() and p not in ('1', str(os.getpid()))], os.listdir('/proc/1'))",
        "[] []",
    ),
    "killing, tracing and reading others": (
        P + "ptrace, readv = (101, 310) if os.uname().machine == 'x86_64' else (117, 270)\n"
        "refused(lambda: os.kill({pid}, 9), lambda: call(ptrace, 16, 1, 0, 0), lambda: open('/proc/1/mem', 'r+b'),\n"
        " lambda: call(readv, 1, 0, 0, 0, 0, 0), lambda: call(438, 3, 4, 0), lambda: os.sched_setaffinity({pid}, [0]),\n"
        " lambda: resource.prlimit({pid}, resource.RLIMIT_CPU, (1, 1)))",
        "refused",
    ),
    "kill everybody": (
        P + "signal.signal(15, signal.SIG_IGN)\nwith __import__('contextlib').suppress(OSError): os.kill(-1, 15)\nprint('fine')",
        "fine",
    ),
    "killing the first process of the box": (P + "os.kill(1, 9); time.sleep(0.1); print(os.getppid())", "1"),
    "writing outside": (
        P + "places = ('', '/usr', '/usr/lib', '/box', '/etc', '/dev', '/proc/1', '/bin', '/proc/sys/kernel', '{folder}')\n"
        "refused(*(lambda place=place: open(place + '/x', 'w') for place in places), lambda: os.chmod('solve.py', 0o777),\n"
        " lambda: os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY), lambda: os.rename('solve.py', 'x'),\n"
        " lambda: os.unlink('solve.py'))",
        "refused",
    ),
    "changing the question": (
        P + "refused(lambda: os.write(os.open('/proc/self/fd/0', os.O_RDWR), b'x'), lambda: os.truncate('/proc/self/fd/0', 1 << 30))",
        "refused",
    ),
    "filling /tmp and /dev/shm": (
        P + "n = 0\nfor place in ('/tmp', '/dev/shm'):\n try:\n"
        "  for k in range(1000): open(f'{{place}}/{{k}}', 'wb').write(bytes(1 << 19)); n += 1\n"
        " except OSError: pass\nprint(n < 9)",
        "True",
    ),
    "a large file": (P + "refused(lambda: open('/tmp/x', 'wb').write(bytes(3 << 20)))", "refused"),
    "all descriptors": (P + "n = 0\ntry:\n while True: os.dup(0); n += 1\nexcept OSError: print(n < 256)", "True"),
    "raising limits": (
        P + "refused(*(lambda what=what: resource.setrlimit(what, (1 << 40, 1 << 40)) for what in\n"
        " (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CPU)))",
        "refused",
    ),
    "200 MB on stdout": (P + "for _ in range(200): os.write(1, b'x' * (1 << 20))", "oversize: stdout got more than limits.output_mb"),
    "200 MB on stderr": (P + "for _ in range(200): os.write(2, b'x' * (1 << 20))", "oversize: it printed more than limits.printed_mb"),
    "bytes that are no text": (P + "os.write(1, b'\\xff\\x00\\x1b[2J')", "\ufffd[2J"),
    "exit 0 without an answer": ("pass", ""),
    "an exit status": (P + "print('42'); sys.exit(3)", "crash: exit status 3"),
    "a traceback": ("print('42'); raise ValueError('bad luck')", "crash: exit status 1\nTraceback"),
    "words that paint the terminal": (P + "sys.stderr.write('\\x1b]0;owned\\x07'); sys.exit(1)", "crash: exit status 1\n]0;owned"),
    "segfault": (P + "ctypes.string_at(0)", "crash: ended by SIGSEGV"),
    "abort": (P + "os.abort()", "crash: ended by SIGABRT"),
    "killing itself": (P + "os.kill(os.getpid(), 9)", "memory: the system killed the program"),
    "daemons left behind": (
        P + "for _ in range(5):\n if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(60)\n  os._exit(0)\nprint('fine')",
        "fine",
    ),
    "namespaces, mounts and more rights": (
        P + "refused(lambda: call(272 if os.uname().machine == 'x86_64' else 97, 0x10000000), lambda: os.setuid(0),\n"
        " lambda: libc.mount(b'x', b'/tmp', b'tmpfs', 0, None) and open('/nowhere'), lambda: os.chroot('/tmp'),\n"
        " lambda: call(56 if os.uname().machine == 'x86_64' else 220, 0x10000011, 0, 0, 0, 0), lambda: call(435, 0, 0),\n"
        " lambda: os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)), lambda: socket.sethostname('x'))",
        "refused",
    ),
    "calls that reach into the kernel": (
        P + "calls = (321, 250, 298, 323, 165, 169, 246) if os.uname().machine == 'x86_64' else (280, 219, 241, 282, 40, 142, 104)\n"
        "refused(*(lambda n=n: call(n, 0, 0, 0, 0, 0) for n in (425, 426, *calls)))",
        "refused",
    ),
    "a program of another user's rights": (
        P
        + "print(subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True, stdin=subprocess.DEVNULL).returncode != 0, os.geteuid())",
        "True 1000",
    ),
}
"""name -> (source, ``kind: beginning of the message``, or what it prints)"""

SECRET_CODE = "int main() {{ return 0; }}\n"
CPP = {
    "reading a secret by #include": ('#include "{secret}"\n' + SECRET_CODE, "build: g++: exit status 1"),
    "reading the task's folder by #include": ('#include "{folder}/secret.txt"\n' + SECRET_CODE, "build: g++: exit status 1"),
    "reading the shadow file by #include": ('#include "/etc/shadow"\n' + SECRET_CODE, "build: g++: exit status 1"),
    "reading a secret by .incbin": ('asm(".incbin \\"{secret}\\"");\n' + SECRET_CODE, "build: g++: exit status 1"),
    "reading a secret up the tree": ('#include "../../../../../../{secret}"\n' + SECRET_CODE, "build: g++: exit status 1"),
    "reading an endless device": ('#include "/dev/zero"\n' + SECRET_CODE, "build: g++: "),
    "including itself": ("#include __FILE__\n", "build: g++: exit status 1"),
    "endless templates": (
        "template <int N> struct A {{ static const int v = A<N + 1>::v; }};\nint main() {{ return A<0>::v; }}\n",
        "build: g++: exit status 1",
    ),
    "endless constexpr": (
        "constexpr int f() {{ int n = 0; for (;;) n ^= 1; return n; }}\nconstexpr int x = f();\nint main() {{ return x; }}\n",
        "build: g++: exit status 1",
    ),
    "a giant program": ("char big[1 << 30] = {{1}};\nint main() {{ return big[5]; }}\n", "build: g++: "),
    "an error of many megabytes": ("#error " + "x" * 100_000 + "\n", "build: g++: exit status 1"),
    "nothing to build": ("", "build: g++: exit status 1"),
    "memory in one piece": (
        "#include <vector>\nint main() {{ std::vector<char> x(4ull << 30, 1); return x[7] == 1 ? 0 : 1; }}\n",
        "memory: the memory limit was reached: ended by SIGABRT",
    ),
    "memory in small pieces": (
        "#include <cstdlib>\n#include <cstring>\nint main() {{ for (;;) {{ void* p = malloc(1 << 16);"
        " if (p) memset(p, 1, 1 << 16); else abort(); }} }}\n",
        "crash: ended by SIGABRT",
    ),
    "a deep recursion": (
        "int f(volatile int n) {{ volatile char x[999]; x[n % 999] = 1; return f(n + 1) + x[n % 7]; }}\nint main() {{ return f(0); }}\n",
        "crash: ended by SIGSEGV",
    ),
    "the compiler is not there when the program runs": (
        "#include <cstdio>\n#include <initializer_list>\n#include <unistd.h>\nint main() {{ int found = 0;"
        ' for (const char* p : {{"/usr/bin/g++", "/usr/bin/as", "/usr/bin/sh", "/bin/sh",'
        ' "/usr/include/stdio.h", "/usr/lib/gcc/x86_64-linux-gnu"}})'
        ' found += access(p, F_OK) == 0; printf("%d", found); }}\n',
        "0",
    ),
    "changing itself": (
        '#include <cstdio>\nint main() {{ printf("%d", fopen("solve", "r+") || fopen("solve.cpp", "w") || fopen("new", "w")); }}\n',
        "0",
    ),
}
SHELL = {
    "a build that writes outside": (
        "(echo x > /usr/x) || (echo x > {folder}/x) || (echo x > /etc/x) || echo 'echo fine' > solve; chmod +x solve",
        "fine",
    ),
    "a build that reads secrets": ("cat {secret} > solve || echo 'echo nothing' > solve; chmod +x solve", "nothing"),
    "a build that bombs": (":; while :; do sleep 60 & done", "build: sh: exit status 2"),
    "a build that fills the disk": (
        "while :; do i=$((i+1)); head -c 30000000 /dev/zero > x$i; done",
        "oversize: the build: its files take more than limits.scratch_mb",
    ),
    "a build of many files": (
        "for i in 1 2 3; do touch $(seq ${{i}}0000 ${{i}}9999); done; sleep 60",
        "oversize: the build: its files take more than limits.scratch_mb",
    ),
    "a build that nests folders": (
        "p=$(printf 'd/%.0s' $(seq 200)); for i in 1 2 3 4 5 6 7 8; do mkdir -p $p; cd $p; done; sleep 60",
        "oversize: the build: its files take more",
    ),
    "a build that leaves daemons": ("(setsid sleep 60 &) ; echo 'echo fine' > solve; chmod +x solve", "fine"),
    "a build that links out": ("ln -s / root; ln -s {secret} solve", "crash: exit status 2\nsh: 0: cannot open"),
    "a build that makes nothing": ("true", "crash: exit status 2\nsh: 0: cannot open"),
    "a build that locks its folder": ("mkdir a; touch a/x; echo 'echo fine' > solve; chmod 755 solve; chmod 555 a .", "fine"),
    "a build that makes a program for nobody": ("echo 'echo fine' > solve; chmod 0 solve", "crash: exit status 2\nsh: 0: cannot open"),
}
HONEST = {
    "python": "import os, sys\nprint(sum(map(int, sys.stdin.read().split())), len(os.environ['AGENTOPT_RNG_SEED']) > 0)\n",
    "cpp": '#include <cstdio>\nint main() {{ long s = 0, x; while (scanf("%ld", &x) == 1) s += x; printf("%ld True\\n", s); }}\n',
    "shell": "cp /dev/null solve\necho 's=0; while read -r x; do s=$((s + x)); done; echo $s True' > solve; chmod 755 solve\n",
}
"""name of the language -> a program that adds up its input"""
BUILDS: dict[str, dict[str, Any]] = {
    "python": {"command": ["python3", "solve.py"]},
    "cpp": {"build": ["g++", "-O1", "-o", "solve", "solve.cpp"], "command": ["./solve"]},
    "shell": {"build": ["sh", "solve.sh"], "command": ["sh", "./solve"]},
}
ATTACKS = {"python": PYTHON, "cpp": CPP, "shell": SHELL}
SECONDS = {"python": 2.0, "cpp": 20.0, "shell": 20.0}
"""Long enough for honest builds on a busy machine, and short where the table holds programs that never end."""


def score(case: Case, output: Any, measured: Any) -> Score:
    return Score(right=float(output == case.expected), feedback=output)


def make_task(language: str, **changes: Any) -> Task:
    path = {"shell": "solve.sh"}.get(language)
    settings: dict[str, Any] = {
        "parameters": {"solve": Parameter("solve", "code", HONEST[language], language=language, path=path)},
        "objectives": [Objective("right", "max")],
        "cases": {"train": [Case("sum", "1\n2\n39\n", "42 True\n")]},
        "limits": Limits(seconds=SECONDS[language], memory_mb=256, printed_mb=1.0, output_mb=1.0, file_mb=1.0, scratch_mb=2.0),
        "functions": {"score": score},
        **BUILDS[language],
    }
    task = Task(f"programs-{language}", **settings | changes)
    task.check()
    return task


@dataclass
class World:
    """What lies around the boxes and must not be reached."""

    folder: Path
    names: dict[str, Any]
    listening: list[socket.socket]

    @classmethod
    def make(cls, folder: Path) -> World:
        (folder / "secret.txt").write_text("expected-answer-canary")
        path = socket.socket(socket.AF_UNIX)
        path.bind(str(folder / "socket"))
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind(f"\0agentopt-{os.getpid()}")
        network = socket.socket()
        network.bind(("127.0.0.1", 0))
        for made in (path, abstract, network):
            made.listen()
        names = {"folder": folder, "secret": folder / "secret.txt", "socket": folder / "socket", "home": os.path.expanduser("~")}
        names |= {"abstract": f"agentopt-{os.getpid()}", "port": network.getsockname()[1], "pid": os.getpid()}
        return cls(folder, names, [path, abstract, network])

    def fill(self, source: str) -> str:
        """``{name}`` -> what it stands for; doubled braces are braces."""
        return source.format(**self.names) if "{" in source else source

    def close(self) -> None:
        for made in self.listening:
            made.close()


def left_behind() -> list[str]:
    """Processes of boxes below our temporary folder that still live, however they were detached: it is among their mounts."""
    mark = Path(tempfile.gettempdir()).name.encode()
    found: list[str] = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                if mark in (path / "mountinfo").read_bytes():
                    found.append(path.name)
    return found


async def outcome(executor: Boxed, task: Task, source: str) -> str:
    """``kind: message`` of the failure, or what was printed."""
    session = await executor.open(Candidate.of(Proposal({"solve": source}), task.resolved))
    try:
        rollout = await session.rollout("sum", 0, 7)
    finally:
        await session.close()
    return f"{rollout.failure.kind}: {rollout.failure.message}" if rollout.failure else rollout.feedback


async def examine() -> dict[str, str]:
    """Every attack that did not end as it must, with how it ended."""
    wrong: dict[str, str] = {}
    folder = Path(tempfile.mkdtemp(prefix="programs-"))
    folder.chmod(0o711)
    tempfile.tempdir = str(folder)
    world = World.make(folder)
    for language, attacks in ATTACKS.items():
        task = make_task(language)
        executor = Boxed(ExecutorContext(task, task.make_cases()))
        try:
            for name, (source, expected) in attacks.items():
                found = await outcome(executor, task, world.fill(source))
                if not as_expected(found, expected):
                    wrong[f"{language}: {name}"] = found
                if left := left_behind():
                    wrong[f"{language}: {name}, left behind"] = str(left)
            honest = [await outcome(executor, task, world.fill(HONEST[language])) for _ in range(20)]
            if honest != ["42 True\n"] * 20:
                wrong[f"{language}: honest"] = str(honest)
        finally:
            await executor.close()
    world.close()
    return wrong


def as_expected(found: str, expected: str) -> bool:
    failure = expected.partition(":")[0].isidentifier() and ": " in expected
    return found.startswith(expected) if failure else found.removesuffix("\n") == expected


if __name__ == "__main__":
    json.dump(asyncio.run(examine()), sys.stdout)
