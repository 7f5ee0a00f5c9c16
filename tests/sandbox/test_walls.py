"""The walls of each level: what a box starts with, and what is left to it when they stand."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.task import Limits
from agentopt.executors.boxed import Boxed
from agentopt.sandbox import kernel, landlock, levels, seccomp, walls
from agentopt.sandbox.probe import look_at
from agentopt.sandbox.walls import WallError, Walls
from tests.boxes import make_task, once, opened
from tests.children import closes, in_child, start

CAPS = walls.caps_of(Limits(memory_mb=100, file_mb=2, output_mb=3, printed_mb=0.5))
KEEP = 200
SPARE = 0x70000000
MACHINE = look_at()
needs_level_2 = pytest.mark.skipif(not MACHINE.l2, reason="this machine cannot give level L2")
needs_namespaces = pytest.mark.skipif(bool(MACHINE.without_namespaces), reason="this machine gives no namespaces")
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")


def made(level: str, namespaces: bool = False, uid: int | None = None, readable: Sequence[str] = ("/usr",)) -> Walls:
    return Walls({"level": level, "namespaces": namespaces, "uid": uid, "readable": readable})


def rise(walls_: Walls, scratch: Path) -> None:
    walls_.move()
    walls_.prepare()
    walls_.rise(CAPS, str(scratch), KEEP)


def limits() -> dict[int, tuple[int, int]]:
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)
    return {kind: resource.getrlimit(kind) for kind in kinds}


def works(action: Any) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def test_caps_are_in_bytes():
    assert CAPS[:4] == (100 << 20, 2 << 20, 3 << 20, 1 << 19)


@pytest.mark.parametrize("level", ["L1", pytest.param("L2", marks=needs_level_2)])
def test_a_box_has_its_limits_and_cannot_lift_them(tmp_path, level):
    def raised() -> tuple[int, dict[int, tuple[int, int]]]:
        size = walls._address_space()
        rise(made(level), tmp_path)
        return size, limits()

    size, now = in_child(raised)
    assert size < now[resource.RLIMIT_AS][1] <= size + (101 << 20)
    assert now[resource.RLIMIT_FSIZE] == (2 << 20, 2 << 20)
    assert now[resource.RLIMIT_NOFILE] == (256, 256)
    assert now[resource.RLIMIT_CORE] == (0, 0)


def test_a_limit_of_the_users_is_never_widened(tmp_path):
    def narrow() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        rise(made("L1"), tmp_path)
        return resource.getrlimit(resource.RLIMIT_FSIZE)

    assert in_child(narrow) == (1000, 1000)


@pytest.mark.parametrize("level", ["worker", "L0"])
def test_without_walls_there_are_no_limits(tmp_path, level):
    def unchanged() -> bool:
        before = limits()
        rise(made(level), tmp_path)
        return limits() == before and works(lambda: os.listdir("/"))

    assert in_child(unchanged)


@pytest.mark.parametrize("level", ["worker", "L0", "L1", pytest.param("L2", marks=needs_level_2)])
def test_only_what_is_kept_stays_open(tmp_path, level):
    def left() -> list[bool]:
        descriptors = [KEEP, KEEP + 1, 300, 600]
        for descriptor in descriptors:
            os.dup2(0, descriptor)
        rise(made(level), tmp_path)
        return [works(lambda descriptor=descriptor: os.fstat(descriptor)) for descriptor in descriptors]

    assert in_child(left) == [True, False, False, False]


# --- level 2


@needs_level_2
@pytest.mark.parametrize("namespaces", [False, pytest.param(True, marks=needs_namespaces)])
def test_at_level_2_a_box_has_its_folder_and_what_it_may_read(tmp_path, namespaces):
    scratch, library, outside = (tmp_path / name for name in ("scratch", "library", "outside"))
    for folder in (scratch, library, outside):
        folder.mkdir()
        (folder / "file").write_text(folder.name)

    def left() -> dict[str, bool]:
        rise(made("L2", namespaces, readable=(str(library),)), scratch)
        return {
            "write a file": works(lambda: (scratch / "new").write_text("new")),
            "read a library": works((library / "file").read_text),
            "throw away": works(lambda: Path(os.devnull).write_text("nothing")),
            "change a library": works(lambda: (library / "file").write_text("changed")),
            "read elsewhere": works((outside / "file").read_text),
            "make a socket": works(lambda: socket.socket().close()),
            "fork": kernel.libc().fork() >= 0,
            "become root": works(lambda: os.setresuid(0, 0, 0)),
        }

    may = {"write a file", "read a library", "throw away"}
    assert {what for what, it_works in in_child(left).items() if it_works} == may
    assert (library / "file").read_text() == "library"


@needs_level_2
def test_a_box_may_read_more_folders_than_it_may_have_open_files(tmp_path):
    for k in range(1200):
        (tmp_path / str(k)).touch()
    (tmp_path / "scratch").mkdir()

    def read() -> list[bool]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        rise(made("L2", readable=[str(tmp_path / str(k)) for k in range(1200)]), tmp_path / "scratch")
        return [works((tmp_path / name).read_text) for name in ("0", "1199", "scratch/../nothing")]

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 2000:
        pytest.skip(f"this user may open {hard} files")
    assert in_child(read) == [True, True, False]


@needs_level_2
def test_running_out_of_descriptors_is_not_passed_over(tmp_path):
    def made_with_few() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        try:
            made("L2", readable=["/usr"] * 200).prepare()
        except OSError as error:
            return str(error)
        return ""

    assert "Too many open files" in in_child(made_with_few)


@pytest.fixture
def open_folder():
    """A scratch folder to which another user finds the way, unlike to those of pytest."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    (folder / "scratch" / "deep").mkdir(parents=True)
    (folder / "scratch" / "deep" / "file").write_text("")
    yield folder / "scratch"
    shutil.rmtree(folder)


@as_root
@needs_level_2
def test_a_box_of_root_without_namespaces_is_a_user_who_owns_its_folder_only(open_folder):
    boxed = made("L2", uid=SPARE)
    boxed.own(str(open_folder))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (open_folder, *open_folder.rglob("*"))} == {(SPARE, SPARE)}

    def left() -> dict[str, Any]:
        status = os.open("/proc/thread-self/status", os.O_RDONLY)
        rise(boxed, open_folder)
        lines = dict(line.split(":", 1) for line in os.pread(status, 4096, 0).decode().splitlines())
        return {
            "ids": {*os.getresuid(), *os.getresgid(), *os.getgroups()},
            "capabilities": {int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")},
            "write": works(lambda: (open_folder / "deep" / "file").write_text("written")),
        }

    assert in_child(left) == {"ids": {SPARE}, "capabilities": {0}, "write": True}


def test_nobody_but_root_changes_whom_the_folder_belongs_to(tmp_path):
    before = tmp_path.stat().st_uid
    made("L2").own(str(tmp_path))
    assert tmp_path.stat().st_uid == before


@as_root
@needs_level_2
@pytest.mark.parametrize("uid", [None, SPARE])
def test_a_box_dies_with_its_guard_whoever_it_has_become(open_folder, uid):
    """The kernel calls the promise off for a process that becomes another user."""
    boxed = made("L2", uid=uid)
    boxed.own(str(open_folder))

    def box(guard: int) -> None:
        kernel.die_with_parent(guard)
        rise(boxed, open_folder)
        os.write(say, b"x")
        time.sleep(60)

    def guard() -> None:
        me = os.getpid()
        start(lambda: box(me))
        os.close(say)
        signal.pause()

    hear, say = os.pipe()
    pid = start(guard)
    os.close(say)
    assert os.read(hear, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert closes(hear), "the box has ended"
    os.close(hear)


@as_root
@needs_level_2
async def test_a_root_without_namespaces_has_boxes_as_good_as_others(open_folder, monkeypatch):
    """As in a container: the box is a user who owns nothing but its folder, and all the rest is as everywhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder.parent))
    monkeypatch.setattr(levels, "look_at", lambda: replace(MACHINE, without_namespaces="unshare: refused"))
    monkeypatch.setattr(levels, "_closed_to_others", lambda path: None)  # what the box needs is loaded before it becomes nobody
    task = make_task()
    task.score(lambda case, output, measured: {"right": 1.0, "feedback": repr(output)})
    async with opened(Boxed, task) as executor:
        assert executor.sandbox.startswith(f"L2/landlock-{MACHINE.landlock}+seccomp+spare uid/")
        who = await once(executor, task, "import os\ndef f(x):\n    open('note', 'w').close()\n    return [os.getuid(), os.listdir()]")
        assert who.feedback == f"[{SPARE}, ['note']]"
        for source, kind in ENDS.items():
            assert (await once(executor, task, source)).failure.kind == kind
        assert (await once(executor, task, "def f(x): return x")).failure is None


ENDS = {
    "import os\ndef f(x): return os.listdir('/')": "crash",
    "def f(x):\n    while True: pass": "timeout",
    "def f(x): return len(bytearray(1 << 30))": "memory",
    "import os\ndef f(x): os._exit(0)": "crash",
}


# --- felt, not believed


@needs_level_2
@pytest.mark.parametrize(
    ("module", "name", "words"),
    [(landlock.Rules, "apply", "the folder / can be listed"), (seccomp.Filter, "install", "a socket can be made")],
)
def test_a_wall_that_does_not_stand_is_noticed(tmp_path, monkeypatch, module, name, words):
    monkeypatch.setattr(module, name, lambda *arguments: None)

    def risen() -> str:
        try:
            rise(made("L2"), tmp_path)
        except WallError as error:
            return str(error)
        return ""

    assert in_child(risen) == words


@pytest.mark.parametrize(("pid", "words"), [(12345, "a process can be forked"), (-1, "")])
def test_a_fork_that_works_is_noticed(monkeypatch, pid, words):
    def refuse(*arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(kernel.libc(), "fork", lambda: pid, raising=False)
    if words:
        with pytest.raises(WallError, match=words):
            walls.feel()
    else:
        walls.feel()


def test_the_process_that_should_not_have_been_forked_ends(monkeypatch):
    def refuse(*arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(kernel.libc(), "fork", lambda: 0, raising=False)
    pid = start(walls.feel)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- environment and clocks


@pytest.mark.parametrize("level", ["L1", "L2"])
def test_the_environment_of_a_box_is_a_short_list(monkeypatch, level):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    box = walls.environment(level)
    assert {"OPENAI_API_KEY", "PYTHONPATH", "LD_PRELOAD"}.isdisjoint(box)
    assert (box["OMP_NUM_THREADS"], box["PYTHONHASHSEED"], box["TMPDIR"]) == ("1", "0", tempfile.gettempdir())


@pytest.mark.parametrize("level", ["worker", "L0"])
def test_without_walls_the_environment_is_the_users(monkeypatch, level):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    worker = walls.environment(level)
    assert (worker["OPENAI_API_KEY"], worker["OMP_NUM_THREADS"]) == ("secret", "1")


@pytest.mark.parametrize("hard", [resource.RLIM_INFINITY, 50])
def test_the_second_clock_counts_from_now(hard):
    def clocked() -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        clock = walls.CpuClock(os.getpid())
        clock.allow(10)
        clock.allow(10)
        return resource.getrlimit(resource.RLIMIT_CPU)[0]

    cores = os.cpu_count() or 1
    assert in_child(clocked) in (range(10 * cores, 10 * cores + 30) if hard != 50 else range(10, 51))


def test_elsewhere_there_is_no_second_clock_and_a_guess_at_the_size(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_CPU)
    monkeypatch.setattr(kernel, "LINUX", False)
    walls.CpuClock(os.getpid()).allow(1)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before

    def refuse(*arguments):
        raise OSError

    monkeypatch.setattr(os, "open", refuse)
    assert walls._address_space() == 1 << 30
