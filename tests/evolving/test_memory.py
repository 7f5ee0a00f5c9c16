"""What is remembered, for how long, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Admission
from agentopt.core.task import Objective
from agentopt.evolving.memory import Memory, Tally
from agentopt.evolving.options import EvolveOptions
from agentopt.testing import make_entry

EXCESS = (Objective("excess", "min"),)
DONE = Admission("dominated")


def memory(**options: Any) -> Memory:
    return Memory(EvolveOptions(**options), EXCESS)


def tell(memory: Memory, name: str, score: float | None, admission: Admission = DONE, better: bool = False, **memo: Any) -> None:
    said = {"step": "improve", "was": {"excess": 1.0}, "idea": f"idea {name}", "edit": f"+{name}", "form": "diff"} | memo
    candidate = Candidate(name, {"f": name}, ("parent",), "evolve", memo=said)
    memory.add(
        make_entry(candidate, {"excess": score} if score is not None else None, failure=None if score else "crash"), admission, better
    )


def plan(round: int, kind: str = "directions", at: int = 0, items: int = 2) -> dict[str, Any]:
    return {"kind": kind, "round": round, "at": at, "items": [f"item {k}" for k in range(items)]}


@pytest.mark.parametrize(("score", "effect"), [(0.5, "better"), (1.0, "no better"), (2.0, "worse")])
def test_an_attempt_is_better_worse_or_neither(score: float, effect: str) -> None:
    known = memory()
    tell(known, "a", score)
    (attempt,) = known.attempts
    assert (attempt.idea, attempt.effect, attempt.failure, attempt.scores) == ("idea a", effect, "", {"excess": score})
    assert bool(known.failed_edits(["parent"])) == (effect != "better")


def test_the_next_objective_decides_where_the_first_is_equal() -> None:
    known = Memory(EvolveOptions(), (*EXCESS, Objective("depth", "max")))
    for depth in (1.0, 2.0, 3.0):
        memo = {"step": "improve", "was": {"excess": 1.0, "depth": 2.0}, "edit": "+"}
        candidate = Candidate(f"c{depth}", {"f": ""}, ("parent",), "evolve", memo=memo)
        known.add(make_entry(candidate, {"excess": 1.0, "depth": depth}), DONE, False)
    assert [attempt.effect for attempt in known.attempts] == ["worse", "no better", "better"]
    assert known.top(set())[0].scores["depth"] == 3.0


def test_a_failure_and_a_duplicate_are_attempts_that_failed() -> None:
    known = memory()
    tell(known, "a", None)
    tell(known, "b", 0.5, Admission("duplicate"))
    assert [attempt.failure for attempt in known.attempts] == ["crash: made to fail", "the same as a program that was tried before"]
    assert [attempt.edit for attempt in known.failed_edits(["parent"])] == ["+a", "+b"]
    assert known.failed_edits(["other"]) == []
    assert known.top(set()) == []


def test_a_gain_of_the_front_is_a_success_whatever_the_first_objective_says() -> None:
    known = memory()
    tell(known, "a", 2.0, Admission("admitted", gain=0.5))
    assert known.failed_edits(["parent"]) == []


def test_only_so_much_is_remembered() -> None:
    known = memory(attempts=4, failed_edits=2, top_programs=2)
    for k in range(200):
        candidate = Candidate(f"c{k}", {"f": ""}, (f"p{k}",), "evolve", memo={"step": "improve", "edit": "+", "was": {}, "follows": k})
        known.add(make_entry(candidate, failure="crash"), Admission("failed"), False)
        tell(known, f"d{k}", 2.0 + (k - 100) ** 2, plan=plan(k + 1))
    assert len(known.attempts) == 4
    assert len(known.failed_edits([f"p{k}" for k in range(200)])) == 2
    assert known.failed_edits(["p0"]) == []
    assert known.failed_edits(["p199"])
    assert [entry.id for entry in known.top(set())] == ["d100", "d99"]
    assert [entry.id for entry in known.top({"d100"})] == ["d99", "d101"]
    assert len(known.followed) <= 1


def test_what_others_propose_ranks_and_fails_and_is_no_attempt() -> None:
    known = memory()
    known.add(make_entry(Candidate("s", {"f": ""}, optimizer="mutate"), {"excess": 0.5}), DONE, True)
    known.add(make_entry(Candidate("t", {"f": ""}, optimizer="mutate"), failure="timeout"), Admission("failed"), False)
    assert not known.attempts
    assert known.stalled == 0
    assert [failure.kind for failure in known.failures] == ["timeout"]
    assert [entry.id for entry in known.top(set())] == ["s"]


# --- plans


def made(known: Memory, count: int, better: bool = False) -> None:
    for k in range(count):
        tell(known, f"m{known.counts.total()}-{k}", 2.0, better=better)


def wants(known: Memory, *out: dict[str, Any], **options: Any) -> str:
    return Tally(known, out).wants(EvolveOptions(**options))


def test_the_first_directions_come_after_the_first_proposals_and_within_their_share() -> None:
    known = memory()
    asked = []
    for _ in range(8):
        asked.append(wants(known))
        made(known, 1)
    assert asked == [""] * 5 + ["directions"] * 3
    assert wants(known, extra_calls=0.05) == ""
    assert wants(known, directions=0) == ""


def test_nobody_asks_while_another_does_or_items_are_left() -> None:
    known = memory(stall=0)
    made(known, 30)
    assert wants(known, stall=0) == "directions"
    assert wants(known, {"step": "improve", "asks": "directions"}, stall=0) == ""
    pending = {"step": "improve", "plan": plan(1, at=5), "follows": 1}
    tally = Tally(known, [pending])
    assert (tally.plan.round, tally.place) == (1, 1)
    assert tally.wants(EvolveOptions(stall=0)) == ""
    assert wants(known, pending, {"step": "improve", "follows": 1}, stall=0) == "directions"


def test_a_rest_follows_a_plan() -> None:
    known = memory(stall=0)
    made(known, 20)
    tell(known, "a", 2.0, plan=plan(1, at=20), follows=1)
    tell(known, "b", 2.0, follows=1)
    made(known, 7)
    assert wants(known, stall=0) == ""
    made(known, 1)
    assert wants(known, stall=0) == "directions"


def test_a_stall_asks_for_paradigms_and_a_better_best_does_not() -> None:
    known = memory()
    made(known, 9)
    tell(known, "a", 2.0, plan=plan(1, at=2, items=9), follows=1)
    assert wants(known, extra_calls=1.0) == "paradigms"
    assert wants(known, {"step": "improve", "plan": plan(2, "paradigms", 10)}, extra_calls=1.0) == "", "one is on its way"
    tell(known, "b", 2.0, plan=plan(2, "paradigms", 10), follows=2)
    assert known.stalled == 0
    made(known, 9)
    assert wants(known, extra_calls=1.0) == ""
    known.add_refused({"step": "improve", "form": "diff"})
    assert wants(known, extra_calls=1.0) == "paradigms"
    made(known, 1, better=True)
    assert wants(known, extra_calls=1.0) == ""


def test_followers_told_before_their_plan_are_counted() -> None:
    known = memory()
    tell(known, "follower", 2.0, follows=1)
    assert Tally(known, [{"step": "improve", "plan": plan(1), "follows": 1}]).place == 2
    tell(known, "owner", 2.0, plan=plan(1), follows=1)
    assert Tally(known, []).place == 2


def test_a_model_may_be_asked_for_another_program_now_and_then() -> None:
    known = memory()
    assert known.may_repeat
    for k in range(2):
        tell(known, f"a{k}", 2.0, known="x")
    tell(known, "a2", 2.0, known="x")
    assert not known.may_repeat
    made(known, 10)
    assert known.may_repeat


def test_without_extra_calls_no_model_is_asked_for_another_program() -> None:
    assert not memory(extra_calls=0.0).may_repeat
