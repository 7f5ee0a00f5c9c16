"""What a candidate says and scores, followed through a run to the log and to the terminal."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

import agentopt as ao
from agentopt.cli import app
from agentopt.core import wire
from agentopt.core.protocols import Exhausted
from agentopt.store.sqlite import SqliteStore
from tests.toys import Steps, write_task

TASK = """
from agentopt import Case, Objective, Score, Task

task = Task(
    name="share",
    goal="A share of the whole.",
    parameters={"f": "seed.py"},
    objectives=[Objective("share", "max", floor=0.0, ceiling=1.0)],
    cases={s: [Case(f"{s}-{k}", k) for k in range(2)] for s in ("train", "validation")},
)

@task.run
def run(program, input):
    return program.f(input)

@task.score
def score(case, output, measured):
    return Score(share=output["share"], feedback=str(output.get("words", "")))
"""
SEED = "def f(x):\n    return {'share': 0.25}\n"
CHEAT = "def f(x):\n    print('nobody will see this')\n    return {'share': 1.5}\n"
BELOW = "def f(x):\n    return {'share': -0.5}\n"
PAINT = "\\x1b[2J\\x1b]0;owned\\x07\\u202e\\x9b31mscore=999\\r\\b\\x00"
PRINTS = f"def f(x):\n    print('{PAINT}' * 3000)\n    return {{'share': 0.5, 'words': '{PAINT}' * 3000}}\n"
FAILS = f"class E(Exception):\n    def __str__(self): return '{PAINT}' * 3000\ndef f(x):\n    print('{PAINT}')\n    raise E\n"
# the characters themselves, in a comment and in a string of the source
RAW = "def f(x):\n    # \x1b[2J\x07\u202e\n    return {'share': 0.75, 'words': '\x1b]0;owned\x07\x9b'}\n"
SOURCES = [CHEAT, BELOW, PRINTS, FAILS, RAW]


class Given(Steps):
    """Proposes what the test gives."""

    def __init__(self, context: Any) -> None:
        self.left = list(SOURCES)

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        return [ao.Proposal({"f": self.left.pop(0)}, (), "given", "given")] if self.left else Exhausted("all proposed")


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ao.Result, dict[str, str]]:
    """A run's folder, its result, and the ids of the candidates by their source."""
    folder = tmp_path_factory.mktemp("audit")
    task = write_task(folder / "task", TASK, seed=SEED)
    result = ao.evolve(task, optimizer=Given, budget="100rollouts", workers=1, out=folder / "run", select="share")
    ids: dict[str, str] = {}
    with SqliteStore.open(folder / "run", read_only=True) as store:
        for event in store.read():
            if event.kind == "proposed":
                ids[json.loads(store.get(event.data["values"]))["f"]] = event.data["candidate"]
    return folder / "run", result, ids


def rollouts(run: Path, candidate: str) -> list[dict[str, Any]]:
    with SqliteStore.open(run, read_only=True) as store:
        return [dict(event.data) for event in store.read(subject=candidate) if event.kind == "rollout"]


def control_characters(text: str) -> set[str]:
    """Those that move, paint, ring or turn; a line's end is none of them."""
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in "\n\t"}


@pytest.mark.parametrize(
    ("source", "words"), [(CHEAT, "share is 1.5: above the ceiling of 1"), (BELOW, "share is -0.5: below the floor of 0")]
)
def test_an_impossible_score_is_a_cheat_and_kept_for_audit(audited: Any, source: str, words: str):
    run, result, ids = audited
    found = rollouts(run, ids[source])
    assert found
    for rollout in found:
        assert rollout["failure"]["kind"] == "cheat"
        assert words in rollout["failure"]["message"]
        assert "scores" not in rollout
        answer = {"share": 1.5 if source is CHEAT else -0.5}
        assert rollout["output"] == hashlib.sha256(wire.encode(answer)).hexdigest()[:16]
    if source is CHEAT:
        with SqliteStore.open(run, read_only=True) as store:
            assert store.get(found[0]["printed"]) == b"nobody will see this\n"
    assert result.failures["cheat"] == 2
    assert result.best.id == ids[RAW]
    shown = CliRunner().invoke(app, ["why", str(run), ids[source]])
    assert words in " ".join(shown.stdout.split())
    assert ("nobody will see this" in shown.stdout) == (source is CHEAT)


def test_what_candidates_say_is_clean_and_short_in_the_log(audited: Any):
    run, _, ids = audited
    with SqliteStore.open(run, read_only=True) as store:
        events = [event.data for event in store.read()]
    (failed, *_) = [rollout["failure"]["message"] for rollout in rollouts(run, ids[FAILS])]
    (said, *_) = [rollout["feedback"] for rollout in rollouts(run, ids[PRINTS])]
    for text in (failed, said):
        assert "score=999" in text
        assert len(text) <= 4000
        assert control_characters(text) == set()
    for data in events:
        for text in (json.dumps(data.get("failure"), ensure_ascii=False), str(data.get("feedback", "")), str(data.get("why", ""))):
            assert control_characters(text) == set()
            assert len(text) <= 4500
    with SqliteStore.open(run, read_only=True) as store:
        assert len(store.get(rollouts(run, ids[PRINTS])[0]["printed"])) == 64 << 10, "what it printed is kept as it was, up to a size"


@pytest.mark.parametrize("command", ["show", "why", "diff", "show --json"])
@pytest.mark.parametrize("source", [PRINTS, FAILS, RAW])
def test_what_candidates_say_does_not_reach_the_terminal(audited: Any, command: str, source: str):
    run, _, ids = audited
    name, *flags = command.split()
    arguments = {"show": [str(run)], "why": [str(run), ids[source]], "diff": [str(run), "seed", ids[source]]}[name]
    done = CliRunner().invoke(app, [name, *arguments, *flags])
    assert done.exit_code == 0, done.output
    assert len(done.stdout) > 100
    assert control_characters(done.stdout) == set()
    assert len(done.stdout) < 30_000
