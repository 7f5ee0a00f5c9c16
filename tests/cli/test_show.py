from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import agentopt
from agentopt.cli import main
from agentopt.core.fold import fold
from agentopt.store.sqlite import SqliteStore
from tests.cli.logs import Log, finished, invoke, last_json, program, refused, shown


def test_a_finished_run_at_a_glance(tmp_path: Path) -> None:
    folder, seed, best = finished(tmp_path / "run")
    text = shown("show", folder)
    lines = [line.split() for line in text.splitlines()]
    assert "budget: the budget is spent" in text
    assert "train 2, validation 1, test 3" in text
    assert "no held-out split" not in text
    assert ["error", "(min)", "train", "1", "0.25", "-0.75"] in lines
    assert ["validation", "2", "0.5", "-1.5"] in lines
    assert ["test", "1.1", "0.383333", "-0.716667"] in lines
    assert "3 paired cases): better" in text
    assert "best so far by error (min, validation)" in text
    assert any(line[:1] == [best] and line[-1] == "best" for line in lines)
    assert "failed: 1 of 4 candidates" in text
    assert ["crash", "█" * 30, "1"] in lines
    assert "4 of 30 evals" in text
    for command in ("diff", "why", "apply"):
        assert f"agentopt {command} {folder}" in text
    assert seed[:8] not in text.split("the front")[0]


def test_json_is_the_folded_log(tmp_path: Path) -> None:
    folder, _, best = finished(tmp_path / "run")
    found = last_json(shown("show", folder, "--json"))
    with SqliteStore.open(folder, read_only=True) as store:
        assert found == fold(store.read()).summary()
    assert found["best"]["id"] == best
    assert found["status"] == "budget"


def test_the_one_run_in_a_folder_is_found(tmp_path: Path) -> None:
    finished(tmp_path / "runs" / "one")
    assert last_json(shown("show", tmp_path / "runs", "--json"))["status"] == "budget"


def test_a_run_at_work(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    text = shown("show", log.folder)
    assert "running: process" in text
    assert "nothing better was found so far" in text
    assert "agentopt resume" not in text
    log.close()


def test_a_killed_run_is_told_from_one_at_work(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    log.propose(program(4), [seed])
    text = shown("show", log.kill())
    assert "cut off: no process works on it any more" in text
    assert f"agentopt resume {log.folder}" in text
    assert "the test split is scored at the end of the run" in text


@pytest.mark.parametrize(
    ("later", "text"), [(5, "5 s ago"), (600, "10 min ago"), (9000, "2 h ago"), (5 * 86400, "5 d ago"), (-9, "0 s ago")]
)
def test_how_long_ago_a_run_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: int, text: str) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    with SqliteStore.open(log.kill(), read_only=True) as store:
        last = fold(store.read()).last_time
    monkeypatch.setattr("agentopt.cli.overview.time.time", lambda: last + later)
    assert f"last event {text}" in " ".join(shown("show", log.folder).split())


def test_an_interrupted_run_can_go_on_and_a_cut_test_says_why(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    log.store.append("note", {"kind": "warning", "text": "mind the gap"})
    log.store.append("note", {"kind": "test_cut", "text": "the time ran out before the test split was scored"})
    text = shown("show", log.stop("interrupted", "stopped by hand"))
    assert "interrupted: stopped by hand" in text
    assert "the time ran out before the test split was scored" in text
    assert "mind the gap" in text
    assert "agentopt resume" in text


def test_a_run_that_only_a_program_can_go_on_with_offers_no_command_for_that(tmp_path: Path) -> None:
    number = agentopt.param(0.0, name="number", bounds=(0.0, 1.0))
    run = tmp_path / "run"
    agentopt.optimize(lambda x: number.value, [1, 2, 3], lambda row, output: output, budget="9evals", out=run)
    text = shown("show", run)
    assert "start your program again with a larger budget" in text
    assert f"agentopt export {run} best" in text
    assert "agentopt resume" not in text
    assert "agentopt apply" not in text


def test_a_run_with_only_a_seed(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    text = shown("show", log.stop("failed", "no child could be scored: none was proposed"))
    assert "failed: no child could be scored" in text
    assert "the best is the seed: nothing better was found" in text
    assert "agentopt apply" not in text


@pytest.mark.parametrize("fails", [True, False])
def test_a_run_without_any_score(tmp_path: Path, fails: bool) -> None:
    log = Log(tmp_path / "run")
    if fails:
        log.fail(log.seed, "timeout", "too slow")
    text = shown("show", log.kill())
    assert ("the seed did not score" if fails else "the seed is not scored yet") in text


def test_without_a_test_split_nothing_is_proven(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", cases={"train": 1})
    seed = log.add_seed()
    log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    text = shown("show", log.stop())
    assert "train 1; no held-out split" in text
    assert "no held-out split: these are scores that the search has seen" in text
    assert "best so far by error (min, train)" in text
    assert "better" not in text.split("the front")[0].replace("nothing better", "")


def test_one_test_case_gives_no_interval(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", cases={"train": 1, "test": 1})
    seed = log.add_seed()
    best = log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    log.test(seed, [1.0])
    log.test(best, [0.1])
    assert "one test case alone gives no interval: not proven" in shown("show", log.stop())


def test_a_best_that_fails_on_test(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    best = log.add(program(2), {"error": 0.5}, [seed], displaced=[seed])
    log.test(seed, [1.0, 1.0, 1.0])
    failure = {"kind": "timeout", "message": "10 s are over"}
    log.store.append("evaluated", {"candidate": best, "splits": {}, "sandbox": "L1", "failure": failure, "stage": "test", "cases": {}})
    text = shown("show", log.stop())
    assert "on test a candidate failed (timeout): 10 s are over" in text


def test_self_reported_scores_are_labelled(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", self_reported=True)
    log.add_seed()
    assert "self-reported" in shown("show", log.stop())


def test_a_large_front_is_capped_and_sorted(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", objectives={"error": "min", "gain": "max"})
    seed = log.add_seed({"error": 1.0, "gain": 100.0})
    keys = [log.add(program(k), {"error": 0.5 - k / 100, "gain": 50.0 - k}, [seed]) for k in range(30)]
    text = shown("show", log.stop())
    assert "the front: 31 candidates, the 20 best by error" in text
    front = [line.split()[0] for line in text.split("the front")[1].splitlines()[2:22]]
    assert front == keys[:-21:-1]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_no_line_of_tables_and_curves_is_wider_than_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    names = {f"objective_{k}": "min" for k in range(5)}
    log = Log(tmp_path / "run", objectives=names)
    seed = log.add_seed(dict.fromkeys(names, 1.0))
    log.add(program(2), dict.fromkeys(names, 0.123456), [seed, seed], displaced=[seed], optimizer="steps", operator="nudge")
    text = shown("show", log.stop())
    wide = [line for line in text.splitlines() if len(line.rstrip()) > min(int(columns), 120)]
    # sentences are left to the terminal to break, and commands are never broken
    assert all(line.startswith(("test ", "no ", "the ", "best so far")) or str(log.folder) in line for line in wide), wide


def test_names_from_a_log_cannot_steer_the_terminal(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", goal="a \x1b]0;title\x07 [/red] [bold] :smile: goal — naïve 日本")
    seed = log.add_seed()
    log.add(program(2), {"error": 0.5}, [seed], displaced=[seed], optimizer="[/b]", operator="x\x1b[31m")
    text = shown("show", log.stop())
    assert "\\x1b]0;title\\x07 [/red] [bold] :smile: goal — naïve 日本" in text
    assert "[/b]/x\\x1b[31m" in text


def test_ascii_terminals_get_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    folder, *_ = finished(tmp_path / "run", goal="naïve")
    monkeypatch.setattr(sys, "argv", ["agentopt", "show", str(folder)])
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii", write_through=True))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    text = out.getvalue().decode("ascii")
    assert "|" in text
    assert "na\\xefve" in text


def test_a_broken_chain_is_refused_with_the_last_good_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = finished(tmp_path / "run")
    connection = sqlite3.connect(folder / "run.db")
    connection.execute("UPDATE events SET data = replace(data, '0.25', '0.01') WHERE seq = 5")
    connection.execute("UPDATE events SET time = 0 WHERE seq = 5")
    connection.commit()
    connection.close()
    monkeypatch.setattr("sys.argv", ["agentopt", "show", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "after event 4 (last good)" in captured.err
    assert "Traceback" not in captured.err


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    assert "no such run folder" in refused("show", tmp_path / "missing")
    assert "not a run folder" in refused("show", tmp_path)
    (tmp_path / "foreign").mkdir()
    sqlite3.connect(tmp_path / "foreign" / "run.db").execute("CREATE TABLE t (x)").connection.close()
    assert "another program" in refused("show", tmp_path / "foreign")


def test_a_run_that_ended_before_it_began(tmp_path: Path) -> None:
    SqliteStore.create(tmp_path / "run").close()
    assert "ended before it began" in refused("show", tmp_path / "run")


def test_two_runs_in_a_folder_are_not_guessed_between(tmp_path: Path) -> None:
    finished(tmp_path / "a")
    finished(tmp_path / "b")
    assert "holds 2 runs" in refused("show", tmp_path)


def test_a_run_name_with_spaces_gives_commands_that_can_be_pasted(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "my run")
    assert f"agentopt diff '{folder}' seed best" in invoke("show", folder).stdout.splitlines()[-3]


def test_what_each_arm_took_and_brought(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", objectives={"error": "min"})
    seed = log.add_seed({"error": 1.0})
    child = log.add(program(2), {"error": 0.5}, [seed], displaced=[seed], optimizer="tune", operator="tune")
    assert "what each arm" not in shown("show", log.folder), "one alone is the whole run"
    log.add(program(3), {"error": 0.25}, [child], displaced=[child], optimizer="mutate\x1b[2J", operator="swap")
    lines = [line.split() for line in shown("show", log.folder).splitlines()]
    assert ["arm", "asks", "evals", "seconds", "bests", "gain", "gain/s"] in lines
    assert ["tune", "1", "1", "0.8", "1", "1", "1.33"] in lines
    assert ["mutate\\x1b[2J", "1", "1", "0.8", "1", "0.5", "0.667"] in lines
    request = {"key": "k", "model": "m", "ask": 2, "request": log.store.put(b"{}"), "purpose": ""}
    log.store.append("llm_request", request)
    log.store.append("llm_reply", {"key": "k", "model": "m", "ask": 2, "tokens": 12, "error": {"kind": "server"}})
    log.propose(program(4), [child], optimizer="reevo", operator="crossover")
    lines = [line.split() for line in shown("show", log.folder).splitlines()]
    assert ["arm", "asks", "evals", "calls", "tokens", "USD", "seconds", "bests", "gain", "gain/USD", "gain/s"] in lines
    assert ["reevo", "1", "1", "1", "12", "-", "0.0", "0", "0", "-", "-"] in lines
    assert ["tune", "1", "1", "0", "0", "0", "0.8", "1", "1", "-", "1.33"] in lines
    log.close()
