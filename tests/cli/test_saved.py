"""What show and why say of evaluations that were cut short, of duels, and of what it all cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import agentopt as ao
from agentopt.store.sqlite import SqliteStore
from tests.cli.logs import last_json, shown
from tests.test_saving_rules import Steps, noisy_task


def events(folder: Path, kind: str) -> list[Any]:
    store = SqliteStore.open(folder, read_only=True)
    try:
        return [event.data for event in store.read() if event.kind == kind]
    finally:
        store.close()


def test_a_noisy_run_says_what_it_saved_and_who_won(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    found = ao.evolve(noisy_task(), budget="30evals", executor="inline", optimizer=Steps, workers=1, out=folder)
    summary, text = last_json(shown("show", folder, "--json")), " ".join(shown("show", folder).split())
    assert summary["saved"] == found.summary["saved"]
    assert f"behind in the race {summary['saved']['raced']}" in text
    total = sum(summary["saved"].values())
    assert f"{total} of {total + summary['spent']['rollouts']} rollouts" in text
    assert f"{summary['duels']['won']} of {summary['duels']['held']} duels won" in text
    raced = next(data for data in events(folder, "evaluated") if data.get("provisional"))
    story = " ".join(shown("why", folder, raced["candidate"]).split())
    assert "an estimate, paired with" in story
    assert f"behind after {raced['provisional']['done']} of 16 rollouts: not evaluated further" in story
    assert "dominated, off the front: the race was lost" in story
    assert f"{raced['provisional']['done']} rollouts, 0.0" in story
    assert "s of CPU" in story
    won = next(data for data in events(folder, "confirmed") if data.get("duel", {}).get("kept"))
    story = " ".join(shown("why", folder, won["candidate"]).split())
    assert f"duel with {won['duel']['against'][:8]} won: lead" in story
    story = " ".join(shown("why", folder, won["duel"]["against"]).split())
    assert f"scored again in the duel with {won['candidate'][:8]}" in story
    assert f"for the duel with {won['candidate'][:8]}" in story


class Same(Steps):
    """Children that differ in a name alone, and one that is better."""

    async def propose(self, view: Any, n: int, rng: Any) -> Any:
        self.made += 1
        best = view.front()[0]
        step = 1.0 if self.made == 3 else 0.0
        return [ao.Proposal({"x": best.candidate.values["x"] + step + 1e-13 * self.made}, (best.id,), "steps", "step")]


def test_equal_outputs_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    task = noisy_task(noisy=False)

    @task.run
    def run(program: Any, input: Any) -> float:  # pyright: ignore[reportUnusedFunction]
        return round(program.x, 9)

    ao.evolve(task, budget="8evals", executor="inline", optimizer=Same, workers=1, out=folder, evaluation={"same_output": True})
    twins = [data for data in events(folder, "evaluated") if "same_as" in data]
    assert len(twins) == 6
    text = " ".join(shown("show", folder).split())
    assert "same outputs 72" in text
    assert "6 duplicates" in text
    assert "for free" not in text
    story = " ".join(shown("why", folder, twins[0]["candidate"]).split())
    assert f"the same outputs as {twins[0]['same_as']}: 12 rollouts saved" in story
