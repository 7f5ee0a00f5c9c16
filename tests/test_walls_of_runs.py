"""The level of the sandbox as users meet it: asked for, consented to, stamped on a run, and the same when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agentopt as ao
from agentopt.core.errors import ConfigError, ConsentError, StoreError, TaskError
from agentopt.core.events import canonical
from agentopt.inspection import score_candidate
from agentopt.sandbox import levels
from agentopt.sandbox.levels import level_of
from agentopt.sandbox.probe import Machine, look_at
from agentopt.store.sqlite import SqliteStore
from tests.toys import TASK_FILE, number_task, write_task

STEPS = "tests.toys:Steps"
WEAK = Machine(0, "this kernel has no landlock", "", "", "Linux 5.10")
needs_level_2 = pytest.mark.skipif(not look_at().l2, reason="this machine cannot give level L2")


@pytest.fixture(autouse=True)
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task file; the working folder is the one around it."""
    monkeypatch.chdir(tmp_path)
    return write_task(tmp_path / "line")


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that gives level L1 at most."""
    monkeypatch.setattr(levels, "look_at", lambda: WEAK)


def run(task: Any, out: str = "run", **options: Any) -> ao.Result:
    return ao.evolve(task, **({"budget": "6evals", "optimizer": STEPS, "workers": 1, "out": out} | options))


def events(folder: str) -> list[Any]:
    with SqliteStore.open(Path(folder), read_only=True) as store:
        return list(store.read())


@needs_level_2
def test_the_level_and_its_walls_are_in_the_log(line: Path):
    result = run(line)
    machine = look_at()
    begun = events("run")[0]
    text = begun.data["sandbox"]
    assert text.startswith(f"L2/landlock-{machine.landlock}+seccomp")
    assert text.endswith(f"/{machine.kernel}")
    stamped = [event for event in events("run") if event.kind in ("evaluated", "confirmed")]
    assert {event.kind for event in stamped} == {"evaluated", "confirmed"}
    assert {event.data["sandbox"] for event in stamped} == {text}
    assert result.summary["sandbox"] == json.loads(Path("run/summary.json").read_text())["sandbox"] == text


@needs_level_2
def test_the_walls_make_no_difference_to_what_is_found(line: Path, monkeypatch: pytest.MonkeyPatch):
    run(line, "behind-walls")
    monkeypatch.setattr(levels, "look_at", lambda: WEAK)
    run(line, "without")
    logs = [events(name) for name in ("behind-walls", "without")]
    assert [level_of(log[0].data["sandbox"]) for log in logs] == ["L2", "L1"]
    assert canonical(logs[0]) == canonical(logs[1])


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({"sandbox": "L1"}, "L1"),
        ({"set": ["sandbox=L1"]}, "L1"),
        ({"unsafe": True}, "L0"),
        ({"set": ["unsafe=true"], "sandbox": "L0"}, "L0"),
        ({"executor": "inline"}, "inline"),
    ],
)
def test_a_level_can_be_asked_for(line: Path, options: dict[str, Any], level: str):
    assert level_of(run(line, **options).summary["sandbox"]) == level


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sandbox": "L0"}, ConfigError, "level L0 has no walls at all; give --unsafe if you mean it"),
        ({"sandbox": "L9"}, ConfigError, r"settings: sandbox is 'L9'; input should be 'auto', "),
        ({"sandbox": "L1", "unsafe": True}, ConfigError, "--unsafe asks for no walls and sandbox=L1 for some"),
        ({"sandbox": "L1", "from_": "other.py"}, ConsentError, "level L1 was asked for.*--allow-weak-sandbox"),
        ({"executor": "inline", "from_": "other.py"}, ConsentError, "without any walls.*--allow-weak-sandbox"),
        ({"executor": "worker", "from_": "other.py"}, ConsentError, "without any walls.*--allow-weak-sandbox"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_is_written(
    line: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
):
    (tmp_path / "other.py").write_text("def f(x):\n    return 2 * x\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        run(line, **options)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("weak")
def test_a_weak_machine_runs_ones_own_code_and_asks_before_others(line: Path, tmp_path: Path):
    assert level_of(run(line).summary["sandbox"]) == "L1"
    (tmp_path / "other.py").write_text("def f(x):\n    return 2 * x\n")
    for source in ("other.py", "run"):
        with pytest.raises(ConsentError, match=r"code from elsewhere .* at level L1.*this kernel has no landlock"):
            run(line, "second", from_=source)
        assert not Path("second").exists()
    assert level_of(run(line, "second", from_="other.py", allow_weak_sandbox=True).summary["sandbox"]) == "L1"
    with pytest.raises(ConfigError, match="this machine cannot give level L2: this kernel has no landlock"):
        run(line, "third", sandbox="L2")


@pytest.mark.usefixtures("weak")
def test_numbers_from_elsewhere_are_no_code(tmp_path: Path):
    run(number_task(), "first", executor="auto")
    assert run(number_task(), "second", from_="first").status == "budget"


@pytest.mark.usefixtures("weak")
def test_a_candidate_that_is_scored_is_a_strangers_unless_it_is_the_tasks_own_seed(line: Path):
    task = ao.load_task(line)
    other = {"f": "def f(x):\n    return 2 * x\n"}
    assert level_of(score_candidate(task, task.seed_values, "train").sandbox) == "L1"
    with pytest.raises(ConsentError):
        score_candidate(task, other, "train")
    found = score_candidate(task, other, "train", allow_weak_sandbox=True)
    assert (level_of(found.sandbox), found.failure) == ("L1", None)
    assert level_of(score_candidate(task, other, "train", unsafe=True).sandbox) == "L0"
    with pytest.raises(ConfigError, match="sandbox is 'L9'"):
        score_candidate(task, other, "train", sandbox="L9")


def test_a_task_says_what_it_needs(line: Path, tmp_path: Path):
    line.write_text(TASK_FILE.replace('name="line",', 'name="line", needs=("no_network",),'))
    for options in ({"sandbox": "L1"}, {"unsafe": True}, {"executor": "inline"}, {"executor": "worker"}):
        with pytest.raises(TaskError, match="task 'line': needs no_network, which "):
            run(line, **options)
        assert not Path("run").exists()


@needs_level_2
def test_a_task_that_needs_walls_gets_them_even_without_code():
    assert level_of(run(number_task(needs=("no_network",)), executor="auto").summary["sandbox"]) == "L2"
    assert run(number_task(), "other", executor="auto").summary["sandbox"] == "worker"


@needs_level_2
def test_a_run_is_not_resumed_at_another_level(line: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as weaker:
        weaker.setattr(levels, "look_at", lambda: WEAK)
        run(line, "begun-at-1")
    with pytest.raises(StoreError, match=r"begun at sandbox level L1, this machine gives L2, .*; start a new run with --from begun-at-1"):
        ao.resume("begun-at-1", budget="+2evals")
    run(line, "begun-at-2")
    assert ao.resume("begun-at-2", budget="+2evals").evaluations == 8
    before = len(events("begun-at-2"))
    monkeypatch.setattr(levels, "look_at", lambda: WEAK)
    with pytest.raises(StoreError, match="begun at sandbox level L2, this machine gives L1"):
        ao.resume("begun-at-2", budget="+2evals")
    assert len(events("begun-at-2")) == before


def test_a_run_keeps_the_level_that_was_asked_for(line: Path):
    for name, options in (("one", {"sandbox": "L1"}), ("two", {"unsafe": True})):
        begun = level_of(run(line, name, **options).summary["sandbox"])
        ao.resume(name, budget="+2evals")
        assert {level_of(event.data["sandbox"]) for event in events(name) if event.kind in ("evaluated", "confirmed")} == {begun}
