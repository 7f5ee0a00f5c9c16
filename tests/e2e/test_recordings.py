"""Runs with real language models, played again from what was recorded: the same candidates, the same scores.

The older ones evaluate their candidates anew. The others hold programs that search until their time is up, so their rollouts are recorded
too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import agentopt
from agentopt.core.events import Event
from tests.e2e.recorded import RECORDINGS, RUNS, play, rows

OPTIONS = {"init_pop_size": 8, "pop_size": 5, "mutation_rate": 0.4}
TASKS = ("online_bin_packing", "tsp_constructive")
SHORT = 12
"""Replies that the default suite plays."""


def played(task: str, calls: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    replies = 0

    def note(event: Event, state: object) -> None:
        nonlocal replies
        data = event.data
        replies += event.kind == "llm_reply"
        if event.kind == "proposed":
            found = {"candidate": data["candidate"], "by": data["operator"], "parents": data["parents"], "replies": replies}
            rows.append(found | {"scores": None})
        elif event.kind == "evaluated" and data["stage"] == "train":
            row = next(row for row in rows if row.get("candidate") == data["candidate"])
            row["scores"] = data["failure"]["kind"] if "failure" in data else data["splits"]["train"]["scores"]
        elif event.kind == "note" and data["kind"] == "refused":
            rows.append({"refused": data["text"], "replies": replies})

    agentopt.evolve(
        task,
        optimizer={"name": "reevo", "options": OPTIONS},
        model=f"replay:{RECORDINGS / f'reevo_{task}.jsonl'}",
        budget=f"{calls}calls",
        workers=1,
        rng_seed=1,
        out=None,
        on_event=note,
    )
    return rows


def test_the_beginning_of_a_recorded_run():
    compare(TASKS[0], SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_recorded_run(task: str):
    compare(task, len((RECORDINGS / f"reevo_{task}.jsonl").read_text().splitlines()))


QUICK = ("evolve_signal_filter", "auto_signal_filter")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS])
def test_every_decision_of_a_recorded_run(name: str, tmp_path: Path):
    events: list[Event] = []
    play(name, tmp_path / "run", lambda event, state: events.append(event))
    lines = [json.loads(line) for line in (RECORDINGS / f"{name}.run.jsonl").read_text().splitlines()]
    assert list(rows(events)) == [line for line in lines if line["kind"] != "rollout"]
    replies = sum(event.kind == "llm_reply" for event in events)
    assert replies == len((RECORDINGS / f"{name}.jsonl").read_text().splitlines()) >= 30


def compare(task: str, calls: int) -> None:
    expected = [row for row in json.loads((RECORDINGS / f"reevo_{task}.json").read_text()) if row["replies"] <= calls]
    rows = played(task, calls)
    assert len(rows) == len(expected) > 5
    for row, wanted in zip(rows, expected, strict=True):
        scores, wanted_scores = row.pop("scores", None), wanted.pop("scores", None)
        assert row == wanted
        # sums of floats differ in their last digit between processors
        assert scores == (pytest.approx(wanted_scores, rel=1e-9) if isinstance(wanted_scores, dict) else wanted_scores)
