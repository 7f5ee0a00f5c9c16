"""The library's front door."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import agentopt as ao
from agentopt.cli.common import print_result
from agentopt.core.errors import ConfigError, MissingExtra, RunFailed, SeedFailed, StoreError
from agentopt.core.events import canonical
from agentopt.store.sqlite import SqliteStore
from tests.toys import SEED, TASK_FILE, Steps, number_task, write_task

STEPS = "tests.toys:Steps"


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def log(folder: Path | None) -> list[Any]:
    assert folder
    with SqliteStore.open(folder, read_only=True) as store:
        return canonical(store.read())


def number(out: str | None = "run", **options: Any) -> ao.Result:
    return ao.evolve(number_task(), **({"budget": "30evals", "executor": "inline", "optimizer": STEPS, "workers": 1, "out": out} | options))


def test_a_run_in_memory_leaves_nothing_behind(in_tmp: Path):
    seen: list[str] = []
    result = number(None, on_event=lambda event, state: seen.append(event.kind))
    assert result.run is None
    assert list(in_tmp.iterdir()) == []
    assert result.status == "budget"
    assert result.evaluations == 30
    assert result.best is not None
    assert result.best.scores["s"] > -1.0
    assert result.best.test is not None
    assert seen[0] == "proposed"
    assert seen[-1] == "stopped"
    assert result.comparisons[0].n == 2


def test_a_run_folder_holds_the_whole_run(in_tmp: Path):
    result = number("here/run")
    assert result.run == Path("here/run")
    summary = json.loads((result.run / "summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary))
    assert {"run", "status", "seed", "best", "evaluations", "failures", "spent", "sandbox"} <= set(summary)
    assert result.best is not None
    assert json.loads((result.run / "best" / "x.json").read_text()) == result.best.values["x"]
    again = ao.load_run("here/run")
    assert again == result
    assert ao.load_run("here") == result, "the one run inside a folder"
    frame = again.to_dataframe()
    assert list(frame.columns) == ["id", "generation", "s"]
    assert frame["s"][0] == result.best.scores["s"]
    assert "budget: the budget is spent (30 evaluations" in result.report()
    assert "test s: best - seed = " in result.report()


def test_without_out_the_run_goes_to_runs(in_tmp: Path):
    result = ao.evolve(number_task(), budget="5evals", executor="inline", optimizer=STEPS)
    assert result.run is not None
    assert result.run.parent == Path("runs")
    assert result.run.name.startswith("number-")


def test_pandas_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pip install pandas"):
        number(None).to_dataframe()


def test_equal_seeds_give_identical_logs_and_others_do_not():
    assert log(number("a").run) == log(number("b").run)
    assert log(number("c", rng_seed=1).run) != log(number("a2").run)


async def test_aevolve_inside_a_running_loop():
    result = await ao.aevolve(number_task(), budget="5evals", executor="inline", optimizer=Steps, out=None)
    assert result.evaluations == 5
    with pytest.raises(RuntimeError, match="use aevolve"):
        number(None)


async def test_a_cancelled_aevolve_can_be_resumed(tmp_path: Path):
    file = write_task(tmp_path / "line")
    begun = asyncio.Event()
    work = asyncio.create_task(
        ao.aevolve(
            file, budget="500evals", optimizer="tests.toys:Slow", out="run", on_event=lambda e, s: begun.set() if s.evals > 1 else None
        )
    )
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert ao.load_run("run").status == "running"


def test_resume_with_more_budget_is_the_longer_run():
    whole = number("whole", budget="40evals")
    part = number("part", budget="25evals")
    done = ao.resume("part", task=number_task())
    assert (done.status, done.evaluations) == ("budget", 25), "a finished run stays as it is"
    more = ao.resume("part", budget="+15evals", task=number_task())
    assert more.evaluations == 40
    assert more.best is not None
    assert whole.best is not None
    assert more.best.id == whole.best.id
    assert part.run == more.run


def test_more_budget_lifts_a_spent_limit_of_another_unit():
    number("run", budget="10evals,500rollouts")
    more = ao.resume("run", budget="+100rollouts", task=number_task())
    assert more.spent["evals"] > 10
    assert more.spent["rollouts"] <= 600
    assert more.summary["budget"] == "600rollouts"
    timed = number("timed", budget="60s,100000evals", optimizer="tests.toys:Nothing")
    assert timed.status == "failed"


def test_resume_needs_the_objects_that_the_run_was_started_with():
    result = ao.evolve(number_task(), budget="5evals", executor="inline", optimizer=Steps, out="run")
    assert result.summary["optimizer"]["name"] == "object Steps"
    with pytest.raises(StoreError, match=r"give it again: agentopt.resume\(run, task=task\)"):
        ao.resume("run", budget="5evals")
    with pytest.raises(StoreError, match=r"give it again: agentopt.resume\(run, optimizer=...\)"):
        ao.resume("run", budget="5evals", task=number_task())
    assert ao.resume("run", budget="5evals", task=number_task(), optimizer=Steps).evaluations == 10


def test_a_changed_task_is_not_resumed(tmp_path: Path):
    file = write_task(tmp_path / "line")
    ao.evolve(file, budget="3evals", optimizer=STEPS, executor="inline", out="run")
    assert ao.resume("run", budget="2evals").evaluations == 5
    file.write_text(TASK_FILE.replace("abs(a - b)", "abs(a - b) + 1"))
    with pytest.raises(StoreError, match="the task changed since the run began"):
        ao.resume("run", budget="2evals")


@pytest.mark.parametrize("deed", ["changed", "gone", "as it was"])
def test_files_that_change_under_a_run_are_said_so(tmp_path: Path, deed: str, capsys: pytest.CaptureFixture[str]):
    file = write_task(tmp_path / "line")
    (tmp_path / "line" / "table.txt").write_text("1")
    task = ao.load_task(file)
    task.box_files = ("table.txt",)

    def act(event: Any, state: Any) -> None:
        table = tmp_path / "line" / "table.txt"
        if len(state.test) == 2 and table.exists() and deed != "as it was":
            table.write_text("2") if deed == "changed" else table.unlink()

    result = ao.evolve(task, budget="3evals", optimizer=STEPS, executor="inline", out="run", on_event=act)
    warnings = result.summary["warnings"]
    assert len(warnings) == (deed != "as it was")
    assert all("the task's files changed while the run went on" in text for text in warnings)
    assert ao.load_run("run").summary["warnings"] == warnings
    print_result(result)
    assert ("warning: the task's files changed" in capsys.readouterr().out) == (deed != "as it was")


def test_the_seed_can_come_from_a_run_or_a_file(tmp_path: Path):
    file = write_task(tmp_path / "line")
    first = ao.evolve(file, budget="20evals", optimizer=STEPS, executor="inline", out="first")
    assert first.best is not None
    second = ao.evolve(file, budget="3evals", optimizer=STEPS, executor="inline", out="second", from_="first", allow_weak_sandbox=True)
    assert second.seed is not None
    assert second.seed.id == first.best.id
    third = ao.evolve(
        file, budget="3evals", optimizer=STEPS, executor="inline", out="third", from_="first/best/f.py", allow_weak_sandbox=True
    )
    assert third.seed is not None
    assert third.seed.id == first.best.id
    assert ao.resume("third", budget="2evals").evaluations == 5, "a resumed run keeps its own seed"
    for wrong, message in (("nowhere", "no such file or run folder"), ("line", "not a run folder")):
        with pytest.raises(ao.UserError, match=message):
            ao.evolve(file, from_=wrong)
    number("number")
    with pytest.raises(ConfigError, match="'x' is not one of this task's"):
        ao.evolve(file, from_="number")
    two = number_task(parameters={"x": 1.0, "y": 2.0})
    with pytest.raises(ConfigError, match="2 trainable parameters, so a run folder is needed"):
        ao.evolve(two, from_=file)


def test_settings_reach_the_run(tmp_path: Path):
    file = write_task(tmp_path / "line", TASK_FILE.replace("objectives=", 'budget="7evals", objectives='))
    result = ao.evolve(file, executor="inline", optimizer=STEPS, out="own")
    assert result.evaluations == 7, "the task's own budget"
    (tmp_path / "run.toml").write_text('budget = "6evals"\nrepeats = 2\nexecutor = "inline"\n[optimizer]\nname = "tests.toys:Steps"\n')
    result = ao.evolve(file, config="run.toml", out="toml", workers=1)
    assert result.evaluations == 6
    rollouts = [row for kind, row in log(result.run) if kind == "rollout" and row["split"] == "train"]
    assert {row["repeat"] for row in rollouts} == {0, 1}
    result = ao.evolve(file, config="run.toml", set=["budget=5evals", "archive.options.bench=3"], out="set", target=-1e9)
    assert result.evaluations == 5
    result = ao.evolve(file, config="run.toml", set=["budget=5evals"], budget="4evals", out="flag", deterministic=False, look_ahead=2)
    assert result.evaluations == 4
    result = ao.evolve(number_task(), executor="inline", optimizer=STEPS, budget="90evals", patience=3, out="patience")
    assert (result.status, result.why) == ("exhausted", "no better candidate in 3 evaluations")
    result = ao.evolve(number_task(), executor="inline", optimizer=STEPS, budget="500evals", target=-0.5, out="target")
    assert (result.status, result.why) == ("target", "the best reached -0.5")


def test_options_of_an_optimizers_parts_are_reached_through_dots(tmp_path: Path):
    file = write_task(tmp_path / "line")
    settings = ["optimizer.options.tune.sigma=0.5", "optimizer.options.floor=0.3"]
    assert ao.evolve(file, set=settings, budget="3evals", executor="inline", out=None).evaluations == 3
    with pytest.raises(ConfigError, match=r"tune.sigmo is unknown"):
        ao.evolve(file, set=["optimizer.options.tune.sigmo=0.5"], budget="3evals", executor="inline", out=None)


def test_limits_can_be_overridden(tmp_path: Path):
    file = write_task(tmp_path / "line", seed="import time\ndef f(x):\n    time.sleep(0.4)\n    return x\n")
    with pytest.raises(SeedFailed, match="timeout"):
        ao.evolve(file, limits={"seconds": 0.5}, optimizer=STEPS, budget="3evals")


def test_select_decides_which_is_best(tmp_path: Path):
    objectives = [ao.Objective("s", "max"), ao.Objective("size", "min")]
    task = number_task(objectives=objectives)
    task.score(lambda case, output, measured: ao.Score(s=-abs(output["x"] - 7.0), size=abs(output["x"])))
    by_first = ao.evolve(task, executor="inline", optimizer=STEPS, budget="40evals", out=None)
    by_size = ao.evolve(task, executor="inline", optimizer=STEPS, budget="40evals", out=None, select="size")
    assert len(by_first.front) > 2
    assert by_first.best is not None
    assert by_size.best is not None
    assert by_first.best.scores["s"] == max(found.scores["s"] for found in by_first.front)
    assert by_size.best.scores["size"] == min(found.scores["size"] for found in by_size.front)


BAD = [
    (dict(spec="nothing.py"), "no such file"),
    (dict(text="x = 1"), "there is no 'task'"),
    (dict(text=TASK_FILE.replace("range(3)", "range(0)")), "no train case"),
    (dict(text=TASK_FILE.replace("return Score", "return float('nan')  # ")), r"the seed does not score \(nonfinite\)"),
    (dict(text=TASK_FILE.replace("return Score", "raise KeyError('oops')  # ")), r"the seed does not score \(wrong\)(.|\n)*KeyError"),
    (dict(text=TASK_FILE.replace("@task.run", "").replace("@task.score", "")), "neither run nor score"),
    (dict(seed="def f(x):\n    return [][x]\n"), r"the seed does not score \(crash\)(.|\n)*return \[\]\[x\]"),
    (dict(seed="def f(x:\n"), r"the seed does not score \(syntax\)"),
    (dict(seed="def g(x): return x\n"), r"the seed does not score \(build\)"),
    (dict(budget="1evals"), "budget: 1evals cannot fit the seed, one child and the test split; give at least 2evals"),
    (dict(budget="17rollouts"), "give at least 18rollouts"),
    (dict(budget="0.2s"), "cannot fit seed and test"),
    (dict(budget="5 apples"), "'5 apples' is not an amount"),
    (dict(optimizer="mutated"), "optimizer: there is no 'mutated'"),
    (dict(archive="paretos"), "archive: there is no 'paretos'"),
    (dict(executor="boxd"), "executor: there is no 'boxd'"),
    (dict(optimizer={"name": "mutate", "options": {"nope": 1}}), "mutate.nope is unknown"),
    (dict(archive={"name": "pareto", "options": {"nope": 1}}), "archive.nope is unknown"),
    (dict(limits={"second": 3}), "limits.second is unknown"),
    (dict(limits={"seconds": -3}), "limits.seconds is -3"),
    (dict(select="errr"), "there is no objective 'errr'"),
    (dict(set=["workrs=2"]), "the key 'workrs' is unknown"),
    (dict(config="nothing.toml"), "nothing.toml: the config file cannot be read"),
]


@pytest.mark.parametrize(("case", "message"), BAD)
def test_bad_input_is_one_sentence_and_writes_nothing(case: dict[str, Any], message: str, in_tmp: Path):
    options = dict(case)
    spec = options.pop("spec", None)
    file = write_task(in_tmp / "line", options.pop("text", TASK_FILE), options.pop("seed", SEED))
    before = sorted(in_tmp.rglob("*"))
    with pytest.raises(ao.UserError, match=message):
        ao.evolve(spec or file, **({"budget": "5evals", "optimizer": STEPS, "workers": 1, "out": "deep/run"} | options))
    assert [path for path in sorted(in_tmp.rglob("*")) if "__pycache__" not in path.parts] == before


def test_a_read_only_place_and_a_place_that_is_taken(in_tmp: Path):
    number("taken")
    before = log(in_tmp / "taken")
    with pytest.raises(StoreError, match="taken is there already"):
        number("taken")
    assert log(in_tmp / "taken") == before
    (in_tmp / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        number("file/run")


def test_a_disk_that_fills_up_in_the_middle_loses_nothing(in_tmp: Path, monkeypatch: pytest.MonkeyPatch):
    append = SqliteStore.append

    def full(self: SqliteStore, kind: str, data: Any) -> Any:
        if self.last_seq > 40:
            raise StoreError("run run: the disk is full; make room and resume it")
        return append(self, kind, data)

    monkeypatch.setattr(SqliteStore, "append", full)
    with pytest.raises(RunFailed, match="the disk is full"):
        number("run")
    monkeypatch.undo()
    monkeypatch.chdir(in_tmp)
    assert ao.load_run("run").status == "running"
    assert ao.resume("run", task=number_task()).evaluations == 30
    assert log(in_tmp / "run") == log(number("whole").run)


def test_foreign_folders_are_refused(in_tmp: Path):
    (in_tmp / "foreign").mkdir()
    (in_tmp / "foreign" / "run.db").write_bytes(b"not a database at all, just text" * 100)
    for reader in (ao.load_run, ao.resume):
        with pytest.raises(StoreError, match="foreign"):
            reader("foreign")
        with pytest.raises(StoreError, match="no such run folder"):
            reader("nowhere")
    for name in ("a", "b"):
        number(f"many/{name}")
    with pytest.raises(StoreError, match="holds 2 runs; name one of them"):
        ao.load_run("many")


def test_no_child_scored_is_a_failed_run_that_says_why(tmp_path: Path):
    file = write_task(tmp_path / "line")
    result = ao.evolve(file, optimizer="tests.toys:Crashing", budget="4evals", executor="inline", out="run")
    assert result.status == "failed"
    assert result.why == "no child could be scored: crash 3"


def test_a_broken_optimizer_is_loud_and_logged():
    class Broken(Steps):
        async def propose(self, view: Any, n: int, rng: Any) -> Any:
            return [ao.Proposal({"y": 1})]

    with pytest.raises(RunFailed, match="Broken proposed values that miss or add"):
        number("run", optimizer=Broken)
    assert ao.load_run("run").status == "failed"


def test_evaluate_alone_is_labelled_self_reported(tmp_path: Path):
    task = ao.Task("self", "", {"f": SEED}, [ao.Objective("s", "max")])
    task.evaluate(lambda program: {"s": program.f(2.0)})
    result = ao.evolve(task, optimizer=STEPS, budget="4evals", executor="inline", out=None)
    assert result.summary["self_reported"] is True
    assert result.best is not None
    assert result.cases == {"train": 1}


def test_two_processes_on_one_run_are_kept_apart(in_tmp: Path):
    number("run", budget="5evals")
    with SqliteStore.open(in_tmp / "run"), pytest.raises(StoreError, match="is being worked on by"):
        ao.resume("run", budget="5evals", task=number_task())
    assert os.path.exists("run/lock")
