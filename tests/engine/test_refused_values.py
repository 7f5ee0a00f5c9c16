"""Values that a parameter's space or projection refuses, and traces that rollouts left."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agentopt import Proposal, RunFailed, Task
from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Entry, Rollout
from agentopt.core.task import Parameter
from agentopt.engine.stopping import Stopping
from agentopt.engine.view import RunView
from tests.engine.world import Climber, Kill, ListStore, World, make_task


def bounded(**more: Any) -> Task:
    return make_task(parameters={"x": Parameter("x", "value", 0, space={"": (-3, 9)}, **more)})


class Wild(Climber):
    """Often proposes what is out of bounds."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        return [Proposal({"x": rng.randrange(-6, 20)}, (view.sample(1, rng)[0].id,), "wild", "step")]


async def test_a_refused_value_is_a_failed_candidate_without_a_rollout() -> None:
    world = World(bounded(), budget={"evals": 12}, optimizer=Wild())
    state = await world.run()
    refused = [event.data for event in world.store.events if event.kind == "proposed" and event.data.get("refused")]
    assert refused
    tried = {candidate for candidate, _, _ in world.executor.rollouts}
    for data in refused:
        assert data["candidate"] not in tried
        entry = world.run_.entry(data["candidate"])
        assert entry is not None
        assert entry.failure is not None
        assert entry.failure.kind == "refused"
        assert entry.failure.message == data["refused"]
        assert "must be between -3 and 9" in data["refused"]
        assert "duplicate" in data or (data["candidate"], "failed") in world.optimizer.seen
    assert state.best is not None
    assert state.evals == 12


async def test_a_projection_comes_before_identity() -> None:
    world = World(bounded(project=lambda value: min(9, max(-3, value))), budget={"evals": 12}, optimizer=Wild())
    state = await world.run()
    assert not state.failures
    assert state.duplicates
    values = [entry.candidate.values["x"] for key, _ in world.optimizer.seen if (entry := world.run_.entry(key))]
    assert max(values) == 9
    assert min(values) >= -3


async def test_kill_anywhere_and_resume_gives_the_identical_log() -> None:
    whole = World(bounded(), budget={"evals": 8}, optimizer=Wild())
    await whole.run()
    assert whole.run_.state.failures["refused"]
    for cut in range(1, len(whole.store.events)):
        dead = World(bounded(), budget={"evals": 8}, store=ListStore(die_after=cut), optimizer=Wild())
        with pytest.raises(Kill):
            await dead.run()
        dead.store.die_after = None
        again = World(bounded(), budget={"evals": 8}, store=dead.store, optimizer=Wild())
        await again.run()
        assert again.log == whole.log, f"cut after event {cut}"


async def test_an_optimizer_that_proposes_nothing_else_comes_to_an_end() -> None:
    class Outside(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            return [Proposal({"x": 10 + rng.randrange(10**9)}, (), "outside", "step")]

    world = World(bounded(), budget={"rollouts": 100}, optimizer=Outside())
    state = await world.run()
    assert state.status == "failed"
    assert "refused" in state.why


async def test_a_projection_that_fails_ends_the_run_with_its_name() -> None:
    world = World(bounded(project=lambda value: value["no such thing"]), optimizer=Wild())
    with pytest.raises(RunFailed, match="parameter 'x': its projection failed with TypeError"):
        await world.run()


async def test_view_gives_the_traces_that_search_rollouts_left() -> None:
    seen: list[list[tuple[str, bytes]]] = []

    class Reading(Climber):
        async def propose(self, view: Any, n: int, rng: Random) -> Any:
            seen.append([(rollout.case, blob) for rollout, blob in view.traces(view.entry(self.seen[0][0]))])
            return await super().propose(view, n, rng)

    world = World(budget={"evals": 2}, optimizer=Reading())
    put = world.store.put

    def leave(rollout: Rollout) -> Rollout:
        return rollout if rollout.case == "a" else replace(rollout, trace=put(f"trace of {rollout.case}".encode()))

    world.executor.leave = leave
    await world.run()
    assert seen == [[("b", b"trace of b")]]  # that of case v is of validation
    view = RunView(world.run_, Stopping(world.run_))
    assert list(view.traces(Entry(Candidate("nobody", {}), None))) == []


def test_a_trace_comes_back_from_a_log() -> None:
    rollout = Rollout("a", "train", 0, 1, {"score": 1.0}, trace="digest")
    assert Rollout.from_json(rollout.to_json()) == rollout
    assert "trace" not in replace(rollout, trace="").to_json()
