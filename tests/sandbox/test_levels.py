"""Which walls a run gets. Machines are made up here: what is decided must not depend on the one that runs the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentopt.core.errors import ConfigError, ConsentError, TaskError
from agentopt.core.protocols import Wish
from agentopt.core.task import NEEDS
from agentopt.executors.inline import Inline
from agentopt.executors.worker import Worker
from agentopt.sandbox import levels
from agentopt.sandbox.levels import PROVIDES, Sandbox, brief, choose, level_of
from agentopt.sandbox.probe import Machine
from tests.boxes import context, make_task
from tests.toys import number_task

ALL = Machine(7, "", "", "", "Linux 6.18")
NO_NAMESPACES = Machine(4, "", "", "unshare: refused", "Linux 6.8")
NO_LANDLOCK = Machine(0, "this kernel has no landlock", "", "", "Linux 5.10")
NO_SECCOMP = Machine(7, "", "no table for riscv64", "", "Linux 6.18")
NOTHING = Machine(0, "no landlock", "no seccomp", "no namespaces", "Linux 4.4")


@pytest.fixture(autouse=True)
def world(monkeypatch):
    """A function that makes the machine up: what it can do, who asks, and what boxes would read."""

    def make(machine: Machine, uid: int = 1000, readable: tuple[str, ...] = ("/usr",)) -> None:
        monkeypatch.setattr(levels, "look_at", lambda: machine)
        monkeypatch.setattr(os, "getuid", lambda: uid)
        monkeypatch.setattr(levels, "readable_paths", lambda task: list(readable))

    make(ALL)
    return make


def test_the_best_level_there_is_comes_by_itself(world):
    assert choose(make_task(), Wish()) == Sandbox(
        "L2",
        "L2/landlock-7+seccomp+namespaces/Linux 6.18",
        {"level": "L2", "namespaces": True, "uid": None, "readable": ["/usr"]},
    )
    world(NO_NAMESPACES)
    found = choose(make_task(), Wish())
    assert (found.level, found.text) == ("L2", "L2/landlock-4+seccomp/Linux 6.8")
    assert found.orders == {"level": "L2", "namespaces": False, "uid": None, "readable": ["/usr"]}


@pytest.mark.parametrize("machine", [NO_LANDLOCK, NO_SECCOMP, NOTHING])
def test_where_a_wall_is_missing_it_is_level_1(world, machine):
    world(machine)
    found = choose(make_task(), Wish())
    assert found == Sandbox("L1", f"L1/{machine.kernel}", {"level": "L1", "namespaces": False, "uid": None, "readable": []})


def test_a_level_can_be_asked_for():
    assert choose(make_task(), Wish("L1")).text == "L1/Linux 6.18"
    assert choose(make_task(), Wish("L2")).level == "L2"


@pytest.mark.parametrize(
    ("machine", "why"), [(NO_LANDLOCK, "this kernel has no landlock"), (NO_SECCOMP, "no table for riscv64"), (NOTHING, "no landlock")]
)
def test_level_2_is_not_made_do_with_less(world, machine, why):
    world(machine)
    with pytest.raises(ConfigError, match=f"sandbox: this machine cannot give level L2: {why}"):
        choose(make_task(), Wish("L2", allow_weak=True))


def test_no_walls_need_a_flag_of_their_own():
    with pytest.raises(ConfigError, match="level L0 has no walls at all; give --unsafe if you mean it"):
        choose(make_task(), Wish("L0"))
    for level in ("auto", "L0"):
        assert choose(make_task(), Wish(level, unsafe=True)) == Sandbox(
            "L0", "L0/Linux 6.18", {"level": "L0", "namespaces": False, "uid": None, "readable": []}
        )
    for level in ("L1", "L2"):
        with pytest.raises(ConfigError, match=f"--unsafe asks for no walls and sandbox={level} for some; give one of them"):
            choose(make_task(), Wish(level, unsafe=True))


def test_code_from_elsewhere_needs_consent_below_level_2(world):
    assert choose(make_task(), Wish(strangers=True)).level == "L2"
    with pytest.raises(ConsentError, match=r"at level L1, with your rights .*\(level L1 was asked for\); give --allow-weak-sandbox"):
        choose(make_task(), Wish("L1", strangers=True))
    world(NO_LANDLOCK)
    with pytest.raises(ConsentError, match=r"\(this kernel has no landlock\); give --allow-weak-sandbox to allow that"):
        choose(make_task(), Wish(strangers=True))
    assert choose(make_task(), Wish(strangers=True, allow_weak=True)).level == "L1"
    assert choose(make_task(), Wish(strangers=True, unsafe=True)).level == "L0", "that flag is a consent too"


def test_what_a_task_needs_is_given_or_it_does_not_run(world):
    assert choose(make_task(needs=NEEDS), Wish()).level == "L2"
    with pytest.raises(TaskError, match=r"needs no_files, no_network, which level L1 does not give \(leave out the setting sandbox\)"):
        choose(make_task(needs=("no_network", "tree_kill", "no_files")), Wish("L1"))
    with pytest.raises(TaskError, match=r"task 'double': needs tree_kill, which level L0 does not give \(leave out --unsafe\)"):
        choose(make_task(needs=("tree_kill",)), Wish(unsafe=True))
    world(NO_SECCOMP)
    with pytest.raises(TaskError, match=r"needs no_processes, which level L1 does not give \(no table for riscv64\)"):
        choose(make_task(needs=("no_processes",)), Wish(allow_weak=True))
    assert choose(make_task(needs=("tree_kill", "memory_bound", "clean_environment")), Wish()).level == "L1"


def test_each_level_gives_what_the_one_below_gives_and_all_needs_can_be_met():
    given = [PROVIDES[level] for level in ("L0", "L1", "L2")]
    assert given == sorted(given, key=len)
    assert given[0] <= given[1] <= given[2] == set(NEEDS)


# --- root


def test_root_with_namespaces_stays_root_in_them(world):
    world(ALL, uid=0)
    assert choose(make_task(), Wish()).orders["uid"] is None


def test_root_without_namespaces_becomes_a_user_who_owns_nothing(world, open_folder):
    world(NO_NAMESPACES, uid=0, readable=("/usr", str(open_folder)))
    found = choose(make_task(), Wish())
    assert found.text == "L2/landlock-4+seccomp+spare uid/Linux 6.8"
    assert found.orders["uid"] == 0x70000000
    assert found.orders["namespaces"] is False


@pytest.fixture
def open_folder(tmp_path, monkeypatch):
    """A folder into which everybody may look, whatever pytest's own folders are: the way to it is made of names in the root."""
    folder = tmp_path / "home" / "python"
    folder.mkdir(parents=True)
    (folder / "module.py").write_text("")
    real = Path.stat

    def stat(path, **options):
        found = real(path, **options)
        return os.stat_result((found.st_mode | 0o055, *found[1:])) if path in tmp_path.parents or path == tmp_path else found

    monkeypatch.setattr(Path, "stat", stat)
    for path in (folder.parent, folder):
        path.chmod(0o755)
    (folder / "module.py").chmod(0o644)
    return folder


@pytest.mark.parametrize(
    ("closed", "mode", "readable"),
    [
        ("home", 0o700, "home/python"),
        ("home", 0o744, "home/python"),
        ("home/python", 0o711, "home/python"),
        ("home/python", 0o744, "home/python"),
        ("home/python/module.py", 0o640, "home/python/module.py"),
    ],
)
def test_root_without_namespaces_and_with_python_in_a_closed_home_is_told_so(world, open_folder, tmp_path, closed, mode, readable):
    (tmp_path / closed).chmod(mode)
    world(NO_NAMESPACES, uid=0, readable=("/usr", str(tmp_path / readable)))
    with pytest.raises(TaskError) as error:
        choose(make_task(), Wish())
    assert str(error.value) == (
        f"task 'double': boxes of root need a user namespace (unshare: refused), or a user without rights who can read "
        f"{tmp_path / readable}; {tmp_path / closed} is closed to others: move the Python environment, or run as an ordinary user"
    )


# --- executors without walls


@pytest.mark.parametrize("executor", [Inline, Worker])
def test_without_walls_nothing_is_promised(executor):
    name = executor.__name__.lower()
    with pytest.raises(TaskError, match=f"needs no_network, which the executor {name} does not give; use boxed"):
        executor(context(make_task(needs=("no_network",))))


@pytest.mark.parametrize("executor", [Inline, Worker])
def test_without_walls_code_from_elsewhere_needs_consent(executor):
    name = executor.__name__.lower()
    with pytest.raises(ConsentError, match=rf"without any walls \(the executor {name} was asked for\); give --allow-weak-sandbox"):
        executor(context(make_task(), wish=Wish(strangers=True)))
    executor(context(make_task(), wish=Wish(strangers=True, allow_weak=True)))
    executor(context(number_task(), wish=Wish(strangers=True)))


# --- the text


@pytest.mark.parametrize(
    ("text", "level", "short"),
    [
        ("L2/landlock-7+seccomp+namespaces/Linux 6.18", "L2", "L2 (landlock-7, seccomp, namespaces)"),
        ("L2/landlock-4+seccomp+spare uid/Linux 6.8/odd", "L2", "L2 (landlock-4, seccomp, spare uid)"),
        ("L1/Linux 6.18", "L1", "L1"),
        ("L1", "L1", "L1"),
        ("worker", "worker", "worker"),
        ("package.module:Executor", "package.module:Executor", "package.module:Executor"),
    ],
)
def test_the_text_has_a_level_and_a_short_form(text, level, short):
    assert level_of(text) == level
    assert brief(text) == short


# --- what programs see beside the system's


@pytest.fixture
def program(monkeypatch, tmp_path):
    """A task with a command that sees a folder which only its owner can enter."""
    monkeypatch.setattr(levels, "probe_programs", lambda: "")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    task = make_task(command=["sh"], sees=[str(closed)])
    del task.functions["run"]
    return task


def test_an_ordinary_user_shows_what_he_can_read(world, program):
    orders = choose(program, Wish()).orders["programs"]
    assert orders["sees"] == [(program.sees[0], program.sees[0])]
    assert orders["staged"] is False


def test_root_shows_what_only_root_can_reach_where_it_may_mount(world, program, monkeypatch):
    world(ALL, uid=0)
    monkeypatch.setattr(levels, "may_mount", lambda: True)
    assert choose(program, Wish()).orders["programs"]["staged"] is True
    monkeypatch.setattr(levels, "may_mount", lambda: False)
    with pytest.raises(TaskError, match=r"who cannot read /.*; move what they need to a folder that is open to others"):
        choose(program, Wish())
