"""More attacks, of the kinds that doctor tries a few of. They aim at what ``Targets`` offers and at ``x["run"]`` and ``x["bundled"]``."""

from __future__ import annotations

import os
import platform

from agentopt.attacks.attack import ALWAYS, Attack, deed
from agentopt.attacks.corpus import FORBIDDEN_CALLS
from agentopt.sandbox import seccomp
from agentopt.sandbox.syscalls import MACHINES


def ours(name: str, stopped: str, *lines: str, open: str = "", wall: str = ALWAYS, by: str = "the guard") -> Attack:
    return Attack(name, wall, by, stopped, "\n".join(lines) + "\n", open)


def file(name: str, error: str, *lines: str, open: str = "", by: str = "landlock") -> Attack:
    return deed(name, "no_files", by, error, "\n".join(lines), open)


def wire(name: str, *lines: str, error: str = "EPERM") -> Attack:
    return deed(name, "no_network", "seccomp", error, "\n".join(lines))


def other(name: str, *lines: str, error: str = "EPERM") -> Attack:
    return deed(name, "no_processes", "seccomp", error, "\n".join(lines))


# --- the clock

TIME = [
    ours("an endless loop at import", "timeout: no answer within", "while True: pass"),
    ours("C code that holds the interpreter", "timeout: no answer within", "def f(x): return 3 ** (10 ** 9) % 7"),
    ours(
        "deaf to every signal",
        "timeout: no answer within",
        "def f(x):",
        "    for s in set(range(1, 32)) - {9, 19}: signal.signal(s, signal.SIG_IGN)",
        "    while True: pass",
    ),
    ours("sleeping", "timeout: no answer within", "def f(x): time.sleep(600)"),
    ours("half a reply", "timeout: no answer within", "def f(x):", "    os.write(3, b'aopt' + b'\\1')", "    time.sleep(600)"),
    ours(
        "a lock that nobody opens",
        "timeout: no answer within",
        "def f(x):",
        "    lock = threading.Lock()",
        "    lock.acquire(); lock.acquire()",
    ),
    ours(
        "threads that all compute",
        "timeout: no answer within",
        "def g():",
        "    while True: pass",
        "def f(x):",
        "    for _ in range(8): threading.Thread(target=g).start()",
        "    g()",
    ),
    ours(
        "an exit that waits for a thread",
        "1: 4",
        "def f(x):",
        "    threading.Thread(target=time.sleep, args=(600,)).start()",
        "    return 4",
    ),
    ours(
        "a limit of CPU seconds lifted, its signal ignored",
        "timeout: no answer within",
        "import resource",
        "def f(x):",
        "    resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "    signal.signal(signal.SIGXCPU, signal.SIG_IGN)",
        "    while True: pass",
    ),
    ours(
        "an error whose text takes forever",
        "timeout: no answer within",
        "class E(Exception):",
        "    def __str__(self):",
        "        while True: pass",
        "def f(x): raise E",
    ),
    ours(
        "an answer that takes forever to be read",
        "timeout: no answer within",
        "class D(dict):",
        "    def items(self):",
        "        while True: pass",
        "def f(x): return D(a=1)",
    ),
]
HASTY = {attack.name for attack in TIME if attack.stopped.startswith("timeout")} | {
    "an endless loop",
    "a clock that stands still",
    "deaf to the next question",
}
"""Those that end by the deadline."""

# --- memory and other goods

GOODS = [
    ours("4 GB at import", "memory: the memory limit", "x = bytearray(4 << 30)", "def f(x): return 4", wall="memory_bound"),
    ours(
        "4 GB of numpy",
        "memory: the memory limit",
        "import numpy",
        "def f(x): return float(numpy.ones(1 << 29).sum())",
        wall="memory_bound",
    ),
    ours(
        "memory by brk",
        "memory: the memory limit",
        "libc.malloc.restype = ctypes.c_void_p",
        "def f(x):",
        "    while libc.malloc(ctypes.c_size_t(100 << 20)): pass",
        "    raise MemoryError",
        wall="memory_bound",
    ),
    ours(
        "raising the limit of memory",
        "memory: the memory limit",
        "import resource",
        "def f(x):",
        "    try: resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "    except (ValueError, OSError): pass",
        "    return len(bytearray(4 << 30))",
        wall="memory_bound",
    ),
    ours(
        "mapping large files",
        "0: denied ENOMEM",
        "import mmap",
        "def f(x):",
        "    kept = []",
        "    try:",
        "        for k in range(99):",
        "            with open(str(k), 'w+b') as file:",
        "                file.truncate(8 << 20)",
        "                kept.append(mmap.mmap(file.fileno(), 8 << 20))",
        "    except OSError as error:",
        "        return 'denied ' + errno.errorcode[error.errno]",
        wall="memory_bound",
    ),
    ours(
        "10,000 threads of which none lives long",
        "1: 4",
        "def f(x):",
        "    for _ in range(10_000):",
        "        t = threading.Thread(target=int); t.start(); t.join()",
        "    return 4",
    ),
    ours("no descriptors left", "crash:", "def f(x):", "    while True: os.dup(0)"),
    ours(
        "a gigabyte in small files",
        "0: denied ENOSPC",
        "def f(x):",
        "    try:",
        "        for k in range(1000):",
        "            with open(str(k), 'wb') as file: file.write(bytes(1 << 20))",
        "    except OSError as error:",
        "        return 'denied ' + errno.errorcode[error.errno]",
        open="oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "a gigabyte in files without a name",
        "0: denied ENOSPC",
        "def f(x):",
        "    try:",
        "        for k in range(200):",
        "            d = os.open('a', os.O_CREAT | os.O_WRONLY); os.unlink('a')",
        "            for _ in range(5): os.write(d, bytes(1 << 20))",
        "    except OSError as error:",
        "        return 'denied ' + errno.errorcode[error.errno]",
        open="oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "100,000 empty files",
        "0: denied ENOSPC",
        "def f(x):",
        "    try:",
        "        for k in range(100_000): os.close(os.open(str(k), os.O_CREAT | os.O_WRONLY))",
        "    except OSError as error:",
        "        return 'denied ' + errno.errorcode[error.errno]",
        "    return os.getcwd()",
        open="oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "a room set aside beyond the limit",
        "0: denied",
        "def f(x):",
        "    try:",
        "        for k in range(200): os.posix_fallocate(os.open(str(k), os.O_CREAT | os.O_WRONLY), 0, 7 << 20)",
        "    except OSError as error:",
        "        return 'denied ' + errno.errorcode[error.errno]",
        "    return 4",
        open="oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "1,500 folders in folders",
        "1: 4",
        "def f(x):",
        "    for k in range(1500): os.mkdir('d'); os.chdir('d')",
        "    return 4",
        open="oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "folders that nobody may read",
        "1: 4",
        "def f(x):",
        "    os.mkdir('a', 0o300); open('a/b', 'w').close(); os.mkdir('a/c', 0); os.umask(0o777); os.mkdir('d')",
        "    return 4",
        open="1: 4" if os.getuid() == 0 else "oversize: its files take",
        wall="namespaces",
        by="a file system of its own",
    ),
    ours(
        "pipes full of bytes",
        "1: 4",
        "def f(x):",
        "    for _ in range(100):",
        "        r, w = os.pipe(); os.set_blocking(w, False); os.write(w, bytes(1 << 16))",
        "    return 4",
    ),
]

# --- the end of the process

ENDS = [
    ours("sys.exit", "crash: ", "def f(x): sys.exit(0)"),
    ours("abort", "crash: the process was ended by SIGABRT", "def f(x): os.abort()"),
    ours("exit at import", "crash: the process ended with exit status 0", "os._exit(0)"),
    ours("exit when Python ends", "1: 4", "import atexit", "atexit.register(os._exit, 0)", "def f(x): return 4"),
    ours(
        "exit in a thread",
        "crash: the process ended with exit status 7",
        "def f(x):",
        "    threading.Thread(target=os._exit, args=(7,)).start()",
        "    time.sleep(9)",
    ),
    ours("the exit status of a box without memory", "memory:", "def f(x): os._exit(86)"),
    ours(
        "an instruction that does not exist",
        "crash: the process was ended by SIG",
        "import mmap",
        "m = mmap.mmap(-1, 4096, prot=7)",
        "m.write(b'\\x0f\\x0b' * 8 if platform.machine() == 'x86_64' else bytes(16))",
        "def f(x): ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
    ),
    ours(
        "an alarm for itself",
        "crash: the process was ended by SIGALRM",
        "def f(x):",
        "    signal.setitimer(signal.ITIMER_REAL, 0.01)",
        "    time.sleep(60)",
    ),
    ours("a signal to itself", "crash: the process was ended by SIGUSR1", "def f(x): os.kill(os.getpid(), signal.SIGUSR1)"),
    ours("closing the socket", "crash: the box closed its connection", "def f(x):", "    os.close(3)", "    time.sleep(600)"),
    ours(
        "closing every descriptor", "crash: the box closed its connection", "def f(x):", "    os.closerange(0, 300)", "    time.sleep(600)"
    ),
    ours("closing stdout", "crash: ", "def f(x):", "    sys.stdout.close(); sys.stderr.close(); raise ValueError('still heard')"),
    ours(
        "replacing stdout",
        "1: 4",
        "class Out:",
        "    def flush(self): raise ZeroDivisionError",
        "    def write(self, text): raise ZeroDivisionError",
        "sys.stdout = sys.stderr = Out()",
        "def f(x): return 4",
    ),
]

# --- what it says and answers

FORGE = (
    "import agentopt.core.wire as wire\ntext = {text}\n"
    "wire.encode = lambda *given: len(text).to_bytes(8, 'little') + text + {rest}\ndef f(x): return 4\n"
)


def forged(name: str, stopped: str, text: str, rest: str = "b''") -> Attack:
    return ours(name, stopped, FORGE.format(text=text, rest=rest), by="the scorer")


def array(name: str, dtype: str, shape: str, length: int, stopped: str = "cheat: ") -> Attack:
    return forged(name, stopped, repr(f'{{"$wire":["array","{dtype}",{shape},{length}]}}'.encode()), f"bytes({max(0, length)})")


ANSWERS = [
    ours(
        "200 MB written to the descriptor of stdout",
        "oversize: it printed",
        "def f(x):",
        "    for _ in range(200): os.write(1, bytes(1 << 20))",
        "    return 4",
    ),
    ours(
        "200 MB written to stderr",
        "oversize: it printed",
        "def f(x):",
        "    for _ in range(200): sys.stderr.write('x' * (1 << 20))",
        "    return 4",
    ),
    ours("16 MB of numbers", "oversize: the output", "import numpy", "def f(x): return numpy.zeros(2 << 20)"),
    ours(
        "a giant frame",
        "oversize: the output",
        "def f(x):",
        "    os.write(3, b'aopt' + (2).to_bytes(4, 'little') + (1 << 60).to_bytes(8, 'little'))",
        "    time.sleep(600)",
    ),
    ours(
        "rubbish on the socket",
        "cheat: the box sent something that is no reply",
        "def f(x):",
        "    os.write(3, b'x' * 100)",
        "    return 4",
    ),
    ours(
        "a long control",
        "cheat: the box sent something that is no reply",
        "def f(x):",
        "    os.write(3, b'aopt' + (1 << 19).to_bytes(4, 'little') + bytes(8))",
        "    return 4",
    ),
    ours(
        "a control of brackets",
        "cheat: the box sent something that is no reply",
        "def f(x):",
        "    os.write(3, b'aopt' + (60_000).to_bytes(4, 'little') + bytes(8) + b'[' * 60_000)",
        "    return 4",
    ),
    ours(
        "a control that is a number of 60,000 digits",
        "cheat: the box sent something that is no reply",
        "def f(x):",
        "    os.write(3, b'aopt' + (60_000).to_bytes(4, 'little') + bytes(8) + b'1' * 60_000)",
        "    return 4",
    ),
    ours(
        "an unknown status",
        "cheat: the box sent a reply with an unknown status",
        "import agentopt.sandbox.harness as h",
        "h.Harness.rollout = lambda *a: h.Outcome('infrastructure', 'not me')",
        "def f(x): return 4",
    ),
    ours(
        "a message that is no text",
        "cheat: the box sent a reply with an unknown status",
        "import agentopt.sandbox.harness as h",
        "h.Harness.rollout = lambda *a: h.Outcome('crash', 4)",
        "def f(x): return 4",
    ),
    ours(
        "a status that no table can look up",
        "cheat: the box sent a reply with an unknown status",
        "import agentopt.sandbox.harness as h",
        "h.Harness.rollout = lambda *a: h.Outcome([], 'not me')",
        "def f(x): return 4",
    ),
    ours("a signal without a name", "crash: the process was ended by signal 40", "def f(x): os.kill(os.getpid(), 40)"),
    ours(
        "an answer by a thread that outlives the first",
        "cheat: its first thread ended before the answer",
        "import ctypes, platform, threading",
        "import agentopt.sandbox.harness as h",
        "send = h.wire.FrameSocket.send",
        "libc = ctypes.CDLL(None)",
        "sent = []",
        "def late(line, *parts):",
        "    sent.append(parts)",
        "    if len(sent) == 1: return send(line, *parts)",
        "    def answer():",
        "        time.sleep(0.3)",
        "        send(line, *parts)",
        "        time.sleep(60)",
        "    threading.Thread(target=answer).start()",
        "    libc.syscall({'x86_64': 60}.get(platform.machine(), 93), 0)",
        "h.wire.FrameSocket.send = late",
        "def f(x): return 4",
    ),
    ours(
        "two answers in one",
        "cheat: the box sent a reply that nobody had asked for",
        "import agentopt.sandbox.harness as h",
        "send = h.wire.FrameSocket.send",
        "def twice(line, reply, output):",
        "    send(line, reply, h.wire.encode(0)); send(line, reply, output)",
        "h.wire.FrameSocket.send = twice",
        "def f(x): return 4",
    ),
    ours(
        "patched json and struct",
        "1: 4",
        "import json, struct",
        "json.dumps = json.loads = struct.pack = struct.unpack = lambda *a, **k: 1 / 0",
        "def f(x): return 4",
    ),
    ours(
        "a harness without its functions",
        "crash:",
        "import agentopt.sandbox.harness as h",
        "for name in dir(h.wire): setattr(h.wire, name, None)",
        "def f(x): return 4",
    ),
    ours("builtins that lie", "crash: ", "import builtins", "builtins.len = builtins.isinstance = lambda *a: 1", "def f(x): return 4"),
    ours(
        "clocks that run backwards",
        "1: 4",
        "import itertools",
        "time.time = time.monotonic = time.perf_counter = lambda n=itertools.count(): -float(next(n))",
        "def f(x): return 4",
    ),
    ours("a random generator that does not listen", "1: 4", "import random", "random.seed = lambda *a: None", "def f(x): return 4"),
    ours(
        "garbage collection that bites",
        "1: 4",
        "class C:",
        "    def __del__(self): raise SystemExit",
        "kept = [C()]; kept.append(kept)",
        "def f(x):",
        "    kept.clear(); return 4",
    ),
    ours("an audit hook", "1: 4", "sys.addaudithook(lambda *a: None)", "def f(x): return 4"),
    ours("a trace function", "1: 4", "def f(x):", "    sys.settrace(lambda *a: None); sys.setprofile(lambda *a: None); return 4"),
    ours("Infinity", "nonfinite: ", "def f(x): return [[float('inf')]]", by="the scorer"),
    ours("NaN in an array", "0: array([nan])", "import numpy", "def f(x): return numpy.array([float('nan')])", by="the scorer"),
    forged("a forged 1e999", "nonfinite: ", "b'1e999'"),
    forged("a forged NaN", "nonfinite: ", "b'[NaN]'"),
    forged("forged brackets", "cheat: ", "b'[' * 200_000"),
    forged("a number of 5,000 digits", "cheat: ", "b'4' * 5000"),
    forged("bytes that belong to nothing", "cheat: ", "b'4'", "b'x'"),
    forged("a lone surrogate", "cheat: ", "b'\"\\xed\\xa0\\x80\"'"),
    forged("a surrogate, escaped", "0: ", "b'\"\\\\ud800\"'"),
    forged("no value", "cheat: ", "b''"),
    forged("an unknown tag", "cheat: ", 'b\'{"$wire":["pickle",0]}\''),
    forged("a tag within a tag", "0: ", 'b\'{"$wire":["dict",{"$wire":4}]}\''),
    forged("one key twice", "0: {'right': 2}", 'b\'{"right":1,"right":2}\''),
    forged("bytes of negative length", "cheat: ", 'b\'{"$wire":["bytes",-1]}\''),
    array("an array of objects", "|O", "[1]", 8),
    array("an array of text", "<U4", "[1]", 16),
    array("an array of dates", "<M8", "[1]", 8),
    array("an array with fields", "|V8", "[1]", 8),
    array("an array of a negative side", "<f8", "[-1]", -8),
    array("an array of a giant side", "<f8", "[0,1180591620717411303424]", 0),
    array("an array of many giant sides", "<f8", "[0,9223372036854775807,9223372036854775807]", 0),
    array("an array of more bytes than there are", "<f8", "[1000]", 16),
    array("an array of 40 dimensions", "<f8", "[" + ",".join("1" * 40) + "]", 8),
    array("an array of a type that does not exist", "<f3", "[1]", 3),
    array("an array of bools that are none", "|b1", "[1]", 1, "0: array([False])"),
    array("an array of long floats", "<f16", "[1]", 16, "0: array([0.]"),
    ours("an array that holds itself", "wrong: ", "import numpy", "def f(x):", "    a = numpy.empty(1, object); a[0] = a; return a"),
    ours(
        "an array class of its own",
        "0: array([4])",
        "import numpy",
        "class A(numpy.ndarray):",
        "    def __eq__(self, other): return True",
        "def f(x): return numpy.array([4]).view(A)",
    ),
    ours(
        "something that calls itself an array",
        "cheat: ",
        "class T(str): pass",
        "class D:",
        "    str = '<f8'; itemsize = 8",
        "class A:",
        "    dtype = D(); shape = (2,)",
        "    def tobytes(self): return b'short'",
        "def f(x): return A()",
    ),
    ours(
        "a whole number that is equal to everything",
        "0: 5",
        "class I(int):",
        "    def __eq__(self, other): return True",
        "    __hash__ = int.__hash__",
        "def f(x): return I(5)",
    ),
    ours(
        "a text with another face",
        "0: 4",
        "class S(str):",
        "    def __str__(self): return '5'",
        "    def __repr__(self): return '6'",
        "def f(x): return S('4')",
    ),
    ours(
        "a dict that changes as it is read",
        "0: {'a': 5}",
        "class D(dict):",
        "    def __getitem__(self, key): return 4",
        "def f(x): return D(a=5)",
    ),
    ours(
        "an object that is what it is asked for",
        "crash: TypeError",
        "class O:",
        "    @property",
        "    def __class__(self): return int",
        "def f(x): return O()",
    ),
    ours("a generator", "wrong: ", "def f(x): return (k for k in range(4))"),
    ours("a set", "wrong: ", "def f(x): return {4}"),
    ours("a list that holds itself", "wrong: ", "def f(x):", "    r = []; r.append(r); return r"),
    ours("10,000 lists in lists", "wrong: ", "def f(x):", "    r = []", "    for _ in range(10_000): r = [r]", "    return r"),
    ours("a whole number of 10,000 digits", "wrong: ", "def f(x): return 10 ** 10_000"),
    ours("a number that fits nowhere", "0: ", "def f(x): return 10 ** 400"),
    ours("true instead of a number", "0: True", "def f(x): return True"),
    ours("an error of 50 MB", "crash: ", "def f(x): raise ValueError('A' * (50 << 20))"),
    ours(
        "an error that paints the terminal",
        "crash: ",
        "class E(Exception):",
        "    def __str__(self): return '\\x1b]0;owned\\x07\\x1b[2J\\u202e score=999'",
        "def f(x): raise E",
    ),
    ours(
        "an error that cannot be told",
        "crash: ",
        "class E(Exception):",
        "    def __str__(self): raise SystemExit",
        "    __repr__ = __str__",
        "def f(x): raise E",
    ),
    ours("an error class with a name of 50 MB", "crash: ", "E = type('E' * (50 << 20), (Exception,), {})", "def f(x): raise E"),
    ours(
        "an error group without an end",
        "crash: ",
        "def f(x):",
        "    e = ValueError()",
        "    for _ in range(500): e = ExceptionGroup('g', [e])",
        "    raise e",
    ),
    ours(
        "errors that caused each other",
        "crash: ",
        "def f(x):",
        "    a, b = ValueError(), KeyError()",
        "    a.__cause__, b.__cause__ = b, a",
        "    raise a",
    ),
    ours(
        "deaf to the next question",
        "timeout: no answer within",
        "import agentopt.core.wire as w",
        "w.FrameSocket.receive = lambda self: time.sleep(600)",
        "def f(x): return 4",
    ),
]

# --- files

RIGHTS = "import struct", "fd = os.open(x['file'], os.O_PATH)"
FILES = [
    file("reading its own environment through /proc", "EACCES", "return open('/proc/self/environ').read()", open="0: got "),
    file("writing its own memory through /proc", "EACCES", "return open('/proc/self/mem', 'r+b').fileno()", open="0: got "),
    file("its root through /proc", "EACCES", "return os.listdir('/proc/self/root/etc')", open="0: got "),
    file("its descriptors through /proc", "EACCES", "return os.listdir('/proc/self/fd')", open="0: got "),
    file("the machine's connections through /proc", "EACCES", "return open('/proc/self/net/tcp').read()"),
    file("the machine's mounts through /proc", "EACCES", "return open('/proc/self/mountinfo').read()"),
    file("the maps of the first process", "E", "return open('/proc/1/maps').read()"),
    file("the state of the guard", "EACCES", "return open(f'/proc/{os.getppid()}/status').read()"),
    file("reading the memory of the guard", "EACCES", "return open(f'/proc/{os.getppid()}/mem', 'rb').fileno()"),
    file("reading the maps of the guard", "EACCES", "return open(f'/proc/{os.getppid()}/maps').read()"),
    file("the descriptors of the guard", "EACCES", "return os.listdir(f'/proc/{os.getppid()}/fd')"),
    file("a descriptor of the guard", "E", "return os.open(f'/proc/{os.getppid()}/fd/3', os.O_RDWR)"),
    file("listing processes", "EACCES", "return os.listdir('/proc')", open="0: got "),
    file("the root as the guard sees it", "E", "return os.listdir(os.path.join(f'/proc/{os.getppid()}/root', 'etc'))"),
    file("listing /", "EACCES", "return os.listdir('/')", open="0: got "),
    file("listing the folder of all boxes", "EACCES", "return os.listdir('..')"),
    file("another box's folder", "E", "return os.listdir('../' + os.path.basename(os.getcwd())[:-1])"),
    file("the log of a run", "EACCES", "return open(x['run'], 'rb').read(6)", open="0: got "),
    file("writing into the log of a run", "EACCES", "return open(x['run'], 'r+b').write(b'x')"),
    file("listing the bundled tasks", "EACCES", "return os.listdir(x['bundled'])", open="0: got "),
    file("reading /etc/shadow", "E", "return open('/etc/shadow').readline()"),
    file("listing the settings of the kernel", "EACCES", "return os.listdir('/proc/sys/kernel')", open="0: got "),
    file("writing a file in the temporary folder", "EACCES", "return open(x['temporary'] + '/agentopt-x', 'x')"),
    file("writing into shared memory", "EACCES", "return open('/dev/shm/agentopt-x', 'x')"),
    file("a file without a name elsewhere", "EPERM", "return os.open(x['folder'], os.O_TMPFILE | os.O_WRONLY)", by="seccomp"),
    file("a file without a name in its own folder", "EPERM", "return os.open('.', os.O_TMPFILE | os.O_WRONLY)", by="seccomp"),
    file("making a folder", "EACCES", "return os.mkdir(x['folder'] + '/new')"),
    file("removing a folder", "EACCES", "return os.rmdir(x['folder'])"),
    file("moving its own file out", "E", "open('a', 'w').close()", "return os.rename('a', x['folder'] + '/a')"),
    file("moving your file in", "E", "return os.rename(x['file'], 'mine')"),
    file(
        "exchanging files",
        "E",
        "open('a', 'w').close()",
        "return call(316, -100, b'a', -100, x['file'].encode(), 2) if platform.machine() == 'x86_64' else os.rename('a', x['file'])",
    ),
    file("appending to your file", "EACCES", "return open(x['file'], 'a').write('x')"),
    file("emptying your file while opening it for writing", "EACCES", "return os.open(x['file'], os.O_WRONLY | os.O_TRUNC)"),
    file("cutting your file by its path", "EPERM", "return os.truncate(x['file'], 0)", by="seccomp"),
    file("creating over your file", "EACCES", "return os.open(x['file'], os.O_CREAT | os.O_WRONLY)"),
    file(
        "the mode of your file by descriptor",
        "nothing happened",
        "before = os.stat(x['file']).st_mode",
        "os.fchmod(os.open(x['file'], os.O_PATH), 0o777)",
        "if os.stat(x['file']).st_mode == before: raise OSError('nothing happened')",
        by="seccomp",
    ),
    file(
        "the times of your file",
        "nothing happened",
        "before = os.stat(x['file']).st_mtime",
        "os.utime(x['file'], (1, 1))",
        "if os.stat(x['file']).st_mtime == before: raise OSError('nothing happened')",
        by="seccomp",
    ),
    file("the owner of your file", "EPERM", "return os.chown(x['file'], 1, 1)", by="seccomp"),
    file("an attribute of your file", "EPERM", "return os.setxattr(x['file'], 'user.x', b'x')", by="seccomp"),
    file("a link within its own folder", "EPERM", "open('a', 'w').close()", "return os.link('a', 'b')", by="seccomp"),
    file("a device", "EPERM", "return os.mknod('null', 0o20666, os.makedev(1, 3))", by="seccomp"),
    file("a pipe with a name", "EPERM", "return os.mkfifo('pipe')", by="seccomp"),
    file("a lock on a file", "EPERM", "import fcntl", "return fcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX)", by="seccomp"),
    file(
        "a lease on a file",
        "EPERM",
        "import fcntl",
        "return fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
        by="seccomp",
    ),
    file("news of a folder", "EPERM", "import fcntl", "return fcntl.fcntl(os.open('/usr', os.O_RDONLY), fcntl.F_NOTIFY, 2)", by="seccomp"),
    file(
        "a record lock for writing on what it may only read",
        "EBADF",
        "import fcntl",
        "return fcntl.lockf(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)",
    ),
    file("a path held open, then used", "E", "return os.open('notes.txt', os.O_RDONLY, dir_fd=os.open(x['folder'], os.O_PATH))"),
    file("a path held open, then read", "EBADF", "return os.read(os.open(x['file'], os.O_PATH), 1)"),
    file("changing into a folder, then listing it", "EACCES", "os.chdir(x['folder'])", "return os.listdir('.')"),
    file("a map of your file", "EACCES", "import mmap", "return mmap.mmap(os.open(x['file'], os.O_RDWR), 0)"),
    file("copying your file by the kernel", "EACCES", "return os.copy_file_range(os.open(x['file'], os.O_RDONLY), 1, 9)"),
    file("another root by openat2", "ENOSYS", "return call(437, -100, x['file'].encode(), b'\\0' * 24, 24)", by="seccomp"),
    file("a terminal", "E", "return os.open('/dev/tty', os.O_RDWR)"),
    file("typing into the terminal", "ENOTTY", "import fcntl", "return fcntl.ioctl(0, 0x5412, b'x')", by="seccomp"),
    file("the clock of the machine", "E", "return os.open('/dev/rtc0', os.O_RDONLY)"),
    file("a disk", "E", "return [os.open('/dev/' + name, os.O_RDONLY) for name in ('vda', 'sda', 'nvme0n1', 'mem', 'kmsg')]"),
]

# --- the network

NETWORK = [
    wire("listening", "return socket.create_server(('127.0.0.1', 0))"),
    wire("asking for a name", "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.53', 53))"),
    wire("a socket of the newer kind", "return socket.socket(socket.AF_INET6)"),
    wire("a netlink socket", "return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    wire("a raw socket", "return socket.socket(socket.AF_INET, socket.SOCK_RAW)"),
    wire("a packet socket", "return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"),
    wire("a socket to the machine around", "return socket.socket(40)"),
    wire("a cipher of the kernel", "return socket.socket(38, 5)"),
    wire("a pair of datagrams", "return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"),
    wire("a pair of another family", "return socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)"),
    wire("an address for a pair's bytes", "return socket.socketpair()[0].sendto(b'x', x['unix'])"),
    wire("an address by sendmsg", "return socket.socketpair()[0].sendmsg([b'x'], [], 0, x['unix'])"),
    wire("a descriptor sent along", "a, b = socket.socketpair()", "return socket.send_fds(a, [b'x'], [0])"),
    wire("a descriptor received", "a, b = socket.socketpair()", "b.send(b'x')", "return socket.recv_fds(a, 1, 1)"),
    wire("connecting one of a pair", "return socket.socketpair()[0].connect(x['unix'])"),
    wire("the guard's socket, connected elsewhere", "return socket.socket(fileno=os.dup(3)).connect(x['unix'])"),
    wire(
        "an option of the guard's socket", "return socket.socket(fileno=os.dup(3)).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 30)"
    ),
]

# --- other processes and the kernel

LOOKED_INTO = "clone clone3 kill tgkill tkill prlimit64 sched_setaffinity open openat openat2 fcntl ioctl prctl socketpair sendto"
"""Allowed for some arguments; what may not be had from them has rows of its own."""
UNFILTERED = [335, 336]
"""uretprobe and uprobe of x86_64: the kernel asks no filter, and ends who calls them from elsewhere than a probe."""
LISTED = sorted(
    MACHINES[platform.machine()].numbers[name]
    for name in f"{seccomp._PYTHON} {seccomp._PRETENDED} {seccomp._NO_ATTRIBUTES} {LOOKED_INTO}".split()
    if name in MACHINES[platform.machine()].numbers
)
PROCESSES = [
    other(
        "every call that is not on the list",
        "wrong = []",
        f"for number in sorted(set(range(512)) - set({LISTED + UNFILTERED})):",
        "    try:",
        "        wrong.append((number, call(number, -1, -1, -1, -1, -1, -1)))",
        "    except OSError as error:",
        "        if error.errno != errno.EPERM: wrong.append((number, error.errno))",
        "if wrong: return wrong",
        "raise OSError(errno.EPERM, 'refused')",
    ),
    other("a child by vfork", "return call({'x86_64': 58}.get(platform.machine(), 220), 0x4111, 0, 0, 0, 0)"),
    other("a child by clone", "return call({'x86_64': 56}.get(platform.machine(), 220), signal.SIGCHLD, 0, 0, 0, 0)"),
    other("a child by clone3", "return call(435, b'\\0' * 64, 64)", error="ENOSYS"),
    other("a child by posix_spawn", "return os.posix_spawn('/bin/true', ['true'], {})"),
    other("a child by subprocess", "import subprocess", "return subprocess.run(['true'])"),
    other("a pool of processes", "import multiprocessing", "return multiprocessing.get_context('fork').Pool(1)"),
    other("a shell", "if os.system('true') != 0: raise OSError(errno.EPERM, 'refused')"),
    other(
        "a thread in namespaces of its own",
        "return call({'x86_64': 56}.get(platform.machine(), 220), 0x50F00 | 0x40000000 | 0x10000000, 0, 0, 0, 0)",
        error="E",
    ),
    *(
        other(f"signal {number} for {whom}", f"return os.kill({pid}, {number})")
        for number in (0, 15, 9)
        for whom, pid in (
            ("the first process", "1"),
            ("its group", "0"),
            ("its group by number", "-os.getpid()"),
            ("the controller", "x['controller']"),
        )
    ),
    *(
        other(
            f"signal {number} for its neighbours",
            f"return [os.kill(p, {number}) for p in range(max(1, os.getpid() - 9), os.getpid() + 9) if p != os.getpid()]",
        )
        for number in (0, 9)
    ),
    other("killing itself, to be taken for a lack of memory", "return os.kill(os.getpid(), 9)"),
    other("stopping itself", "return os.kill(os.getpid(), signal.SIGSTOP)"),
    other("killing itself by its thread", "return signal.pthread_kill(threading.get_ident(), 9)"),
    other("a thread of another process", "return call({'x86_64': 234}.get(platform.machine(), 131), os.getppid(), os.getppid(), 9)"),
    other("a thread of anybody", "return call({'x86_64': 200}.get(platform.machine(), 130), os.getppid(), 9)"),
    other("the limits of the guard, read", "import resource", "return resource.prlimit(os.getppid(), resource.RLIMIT_AS)"),
    other("the limits of the guard, set", "import resource", "return resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))"),
    other("the cores of the guard", "return os.sched_setaffinity(os.getppid(), {0})"),
    other("the priority of all", "return os.setpriority(os.PRIO_USER, 0, 19)"),
    other("its own priority", "return os.nice(1)"),
    other("another signal for news on a descriptor", "import fcntl", "return fcntl.fcntl(3, 10, 9)"),
    other("asynchronous news for the guard", "import fcntl", "return fcntl.fcntl(0, fcntl.F_SETOWN, -os.getppid())"),
    other("a seal on a descriptor", "import fcntl", "return fcntl.fcntl(3, 1033, 0)"),
    other("a larger pipe", "import fcntl", "return fcntl.fcntl(1, 1031, 1 << 20)"),
    other("that its parent's death does not matter", "return call({'x86_64': 157}.get(platform.machine(), 167), 1, 0, 0, 0, 0)"),
    other("becoming a subreaper", "return call({'x86_64': 157}.get(platform.machine(), 167), 36, 1, 0, 0, 0)"),
    other("being traced by anybody", "return call({'x86_64': 157}.get(platform.machine(), 167), 0x59616d61, -1, 0, 0, 0)"),
    other("another filter by prctl", "return call({'x86_64': 157}.get(platform.machine(), 167), 22, 1, 0, 0, 0)"),
    other("other capabilities", "return call({'x86_64': 157}.get(platform.machine(), 167), 24, 0, 0, 0, 0)"),
    other("another user", "return os.setuid(0 if os.getuid() else 1)"),
    other("a session of its own", "return os.setsid()"),
    other("another process group", "return os.setpgid(0, os.getppid())"),
    *(
        other(f"the call {name}", f"return call({numbers}[platform.machine() == 'aarch64'] or 461, -1, -1, -1, -1, -1, -1)")
        for name, numbers in FORBIDDEN_CALLS.items()
    ),
    ours(
        "a call of 32 bits",
        "crash: the process was ended by SIGSYS",
        "import mmap",
        "m = mmap.mmap(-1, 4096, prot=7)",
        "m.write(bytes.fromhex('b814000000cd80c3'))",
        "def f(x): return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
        wall="x86",
        by="seccomp",
    ),
    ours(
        "a call of the x32 kind",
        "crash: the process was ended by SIGSYS",
        "def f(x): return call(0x40000000 + 39)",
        wall="x86",
        by="seccomp",
    ),
]
MORE = [*TIME, *GOODS, *ENDS, *ANSWERS, *FILES, *NETWORK, *PROCESSES]
