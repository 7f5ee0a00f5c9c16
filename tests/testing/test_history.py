from __future__ import annotations

from typing import Any

from agentopt.core.candidate import Proposal
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Wait
from agentopt.testing import make_task, task_card
from agentopt.testing.history import History


class Scripted:
    """Answers with points on the x axis, given as numbers; None stands for Wait."""

    def __init__(self, *answers: list[float] | None) -> None:
        self.answers = list(answers)
        self.observed: list[tuple[str, Any]] = []

    async def propose(self, view: Any, n: int, rng: Any) -> Any:
        points = self.answers.pop(0)
        shrink = view.task.parameters["shrink"].initial
        return Wait() if points is None else [Proposal({"start": {"x": x, "y": 0.0}, "shrink": shrink}, memo={"x": (x,)}) for x in points]

    def observe(self, entry: Entry, admission: Admission) -> None:
        x = entry.candidate.values["start"]["x"]
        self.observed.append((x, admission.status if entry.evaluation else "pending duplicate"))


async def test_the_seed_comes_first_and_results_in_order() -> None:
    optimizer = Scripted([0.1, 0.2])
    history = History(task_card(make_task()), optimizer)
    await history.rounds(1, 2)
    assert [x for x, _ in optimizer.observed] == [1.5, 0.1, 0.2]
    assert optimizer.observed[0][1] == "admitted"


async def test_duplicates_of_told_and_of_pending_candidates() -> None:
    optimizer = Scripted([0.1, 0.1], [0.2], None, [0.1])
    history = History(task_card(make_task()), optimizer, lag=2)
    await history.rounds(2)
    assert optimizer.observed[1:] == [(0.1, "pending duplicate")]
    assert len(history.pending) == 2
    await history.ask()
    assert (len(history.pending), optimizer.observed[-1][0]) == (1, 0.1)
    await history.ask()
    assert optimizer.observed[-1] == (0.1, "duplicate")


async def test_failures_come_as_asked_for_but_spare_the_seed() -> None:
    for failing, statuses in ((1, ["failed"] * 4), (2, ["failed", "", "failed", ""])):
        optimizer = Scripted([0.1, 0.2, 0.3, 0.4])
        await History(task_card(make_task()), optimizer, failing=failing).ask(4)
        assert [status if status == "failed" else "" for _, status in optimizer.observed[1:]] == statuses
        assert optimizer.observed[0][1] == "admitted"


async def test_replay_goes_through_json() -> None:
    history = History(task_card(make_task()), Scripted([0.1]))
    await history.ask()
    seen: list[Any] = []

    class Fresh(Scripted):
        def observe(self, entry: Entry, admission: Admission) -> None:
            seen.append(dict(entry.candidate.memo))

    history.replayed(Fresh)
    assert seen == [{}, {"x": [0.1]}]
