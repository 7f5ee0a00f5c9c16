"""The portfolio: who is asked, what is charged, what is remembered."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import pytest

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import ChatReply, ChatRequest, Message, ModelError, Usage
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Aggregate, Entry, Evaluation, Failure, Measured, Rollout
from agentopt.core.protocols import Answer, Chat, Exhausted, Optimizer, OptimizerContext, Refused, TaskCard, View, Wait
from agentopt.core.task import Objective, Parameter
from agentopt.optimizers.auto import Auto
from agentopt.testing.fakes import FakeView

TASK = TaskCard("toy", "", {"x": Parameter("x", "value", 1000.0)}, (Objective("loss", "min"),))


class Model:
    """``core.protocols.Chat``: every call takes what ``costs`` says for its model, in (tokens, USD, seconds)."""

    def __init__(self, *models: str, costs: Mapping[str, tuple[int, float | None, float]] | None = None, totals: Any = None) -> None:
        self.models = models or ("m",)
        self.costs = costs or {}
        self.totals: Counter[str] = Counter() if totals is None else totals

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        await asyncio.sleep(0)
        tokens, usd, seconds = self.costs.get(self.models[0], (100, 0.01, 1.0))
        self.totals.update({"calls": 1, "tokens": tokens, "usd": usd or 0.0, self.models[0]: 1})
        return ChatReply("yes", "served", "stop", Usage(tokens, 0), usd, seconds)

    def only(self, model: str) -> Model:
        assert model in self.models
        return Model(model, costs=self.costs, totals=self.totals)


class Toy:
    """Lowers the best by ``step`` with probability ``luck``, or proposes something bad; remembers what it was shown."""

    def __init__(self, name: str, chat: Chat | None, options: Mapping[str, Any]) -> None:
        self.name, self.chat = name, chat
        self.step, self.luck = options.get("step", 1.0), options.get("luck", 1.0)
        self.best = Entry(Candidate("none", {"x": 0.0}), None)
        self.seen: list[Entry] = []
        self.pending: list[Candidate] = []
        self.refusals: list[Refused] = []
        self.asked_for: list[int] = []

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        self.asked_for.append(n)
        self.pending = list(view.pending)
        if self.chat:
            await self.chat.complete(ChatRequest((Message("user", "?"),)), rng)
        x = self.best.candidate.values["x"] - self.step * rng.random() if rng.random() < self.luck else 2000.0 + rng.random()
        return [Proposal({"x": x}, (self.best.id,), self.name, "step", memo={"own": x})]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.seen.append(entry)
        if entry.scores and (not self.best.scores or entry.scores["loss"] < self.best.scores["loss"]):
            self.best = entry

    def observe_refusal(self, refused: Refused) -> None:
        self.refusals.append(refused)


class Bad(Toy):
    """Its candidates fail."""

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        (proposal,) = await super().propose(view, n, rng)  # type: ignore[misc]
        return [Proposal({"x": -1e9 - rng.random()}, proposal.parents, self.name, "fail")]


class Refusing(Toy):
    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        await super().propose(view, n, rng)
        return Refused("no_code", {"why": "chatter"})


class Breaking(Toy):
    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        await super().propose(view, n, rng)
        raise ModelError("server", "it is down", attempts=3)


class Ending(Toy):
    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        self.asked_for.append(n)
        return Exhausted(f"{self.name} is at its end")


class Waiting(Toy):
    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        self.asked_for.append(n)
        return Wait() if view.pending else await super().propose(view, n, rng)


class Many(Toy):
    """As many as it may."""

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        made = [await super(Many, self).propose(view, n, rng) for _ in range(n)]
        return [proposal for answer in made for proposal in answer]  # type: ignore[union-attr]


KINDS: dict[str, type[Toy]] = {kind.__name__.lower(): kind for kind in (Toy, Bad, Refusing, Breaking, Ending, Waiting, Many)}


class Play:
    """``auto`` over toys and a loop around it. Names are ``kind`` or ``kind-anything``; ``tune`` and ``mutate`` ask no model."""

    def __init__(self, arms: str, budget: Mapping[str, float] | None = None, *, chat: Model | None = None, **options: Any) -> None:
        self.chat = chat or Model()
        self.toys: dict[str, Toy] = {}
        self.limits = dict(budget or {"calls": 1e6})
        self.wall = {"tune": 0.5, "mutate": 0.5}
        self.free_kinds: dict[str, type[Toy]] = {}
        self.arguments = arms, options
        self.history: list[tuple[Entry, Admission] | Refused] = []
        self.pending: list[Candidate] = []
        self.made: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.workers = 1
        self.asks = 0
        self.answer: Any = None
        self.auto = self.build()
        self.tell(Candidate.of(Proposal({"x": 1000.0}), TASK.parameters))

    def build(self) -> Auto:
        arms, options = self.arguments
        return Auto(OptimizerContext(TASK, {"arms": arms} | options, self.child, lambda name, more: None, self.chat))  # type: ignore[arg-type,return-value]

    def child(self, name: str, options: Mapping[str, Any], chat: Chat | None) -> Optimizer:
        kind = KINDS.get(name.partition("-")[0], Toy)
        known = {key: value for key, value in options.items() if key in ("step", "luck")}
        label = name if chat is None or len(self.chat.models) == 1 else f"{name}@{chat.models[0]}"
        self.toys[label] = kind(name, chat, known)
        return self.toys[label]

    @property
    def left(self) -> dict[str, float]:
        return {unit: limit - self.spent[unit] - self.chat.totals[unit] for unit, limit in self.limits.items()}

    @property
    def view(self) -> FakeView:
        entries = [told[0] for told in self.history if isinstance(told, tuple)]
        return FakeView(TASK, entries, tuple(self.pending), self.left)

    async def step(self) -> None:
        if len(self.pending) < self.workers:
            try:
                self.answer = await self.auto.propose(self.view, self.workers - len(self.pending), Random(f"ask:{self.asks}"))
            except ModelError as error:
                self.answer = Refused(error.kind, {**error.memo, "error": str(error)})
            self.asks += 1
            self.take(self.answer)
        if self.pending:
            self.tell(self.pending.pop(0))

    def take(self, answer: Any) -> None:
        if isinstance(answer, Refused):
            self.made[answer.memo["arm"]] += 1
            self.history.append(answer)
            self.auto.observe_refusal(answer)
        elif isinstance(answer, list):
            for proposal in answer:
                self.made[proposal.optimizer] += 1
                self.spent["evals"] += 1
                self.pending.append(Candidate.of(proposal, TASK.parameters))

    async def go(self, steps: int, until: Callable[[], bool] = lambda: False) -> Play:
        for _ in range(steps):
            if until() or min(self.left.values()) < 1e-9:
                break
            await self.step()
        return self

    def tell(self, candidate: Candidate) -> None:
        x = candidate.values["x"]
        wall = self.wall.get(candidate.optimizer, 1.0)
        rollout = Rollout("a", "train", 0, 1, measured=Measured(wall, wall, 1))
        self.spent.update({"rollouts": 1, "seconds": wall})
        if x < -1e8:
            evaluation, status = Evaluation(candidate.id, (rollout,), failure=Failure("crash")), "failed"
        else:
            evaluation, status = Evaluation(candidate.id, (rollout,), {"train": Aggregate({"loss": x}, 1, {})}), "dominated"
        self.observe(Entry(candidate, evaluation), Admission(status))  # type: ignore[arg-type]

    def observe(self, entry: Entry, admission: Admission) -> None:
        self.history.append((entry, admission))
        self.auto.observe(entry, admission)


# --- who is asked


async def test_the_arm_that_pays_gets_more_and_the_others_their_floor() -> None:
    play = await Play("toy-good,toy-poor", **{"toy-poor.luck": 0.0}).go(200)
    assert play.made["toy-good"] > 140
    assert 15 <= play.made["toy-poor"] <= 60
    more = await Play("toy-good,toy-poor", floor=0.6, **{"toy-poor.luck": 0.0}).go(200)
    assert more.made["toy-poor"] > play.made["toy-poor"]


@pytest.mark.parametrize("kind", ["bad", "refusing", "breaking"])
async def test_an_arm_that_only_fails_takes_a_bounded_share(kind: str) -> None:
    play = await Play(f"{kind},toy").go(200)
    assert 15 <= play.made[kind] <= 60
    assert play.made["toy"] >= 140


async def test_each_arm_is_asked_early() -> None:
    play = await Play("toy-a,toy-b,toy-c,bad").go(8)
    assert set(play.made.values()) == {2}


async def test_what_paid_long_ago_is_forgotten() -> None:
    shares = {}
    for decay in (0.8, 1.0):
        play = await Play("toy-a,toy-b", decay=decay, plateau=1000, floor=0.1, **{"toy-b.luck": 0.0}).go(100)
        play.toys["toy-a"].luck, play.toys["toy-b"].luck = 0.0, 1.0
        play.made.clear()
        await play.go(60)
        shares[decay] = play.made["toy-b"]
    assert shares[0.8] > shares[1.0] + 5


async def test_at_a_plateau_the_incumbent_is_handed_over() -> None:
    turns = {}
    for plateau in (5, 1000):
        play = await Play("toy-a,toy-b", plateau=plateau, floor=0.1, **{"toy-b.luck": 0.0}).go(80)
        play.toys["toy-a"].luck = 0.0
        play.made.clear()
        await play.go(30)
        turns[plateau] = play.made["toy-b"]
    assert turns[5] >= 12, "both have as many turns when nobody gets on"
    assert turns[1000] < turns[5]
    play.toys["toy-b"].luck = 1.0
    assert play.toys["toy-b"].best.candidate.values == play.toys["toy-a"].best.candidate.values, "it goes on from the other's"


async def test_with_several_models_each_is_an_arm() -> None:
    costs = {"dear": (100, 0.1, 1.0), "cheap": (100, 0.01, 1.0)}
    play = await Play("toy", {"usd": 5.0}, chat=Model("dear", "cheap", costs=costs)).go(200)
    assert set(play.made) == {"toy@dear", "toy@cheap"}
    assert play.made["toy@cheap"] > 2 * play.made["toy@dear"], "they bring as much, and one costs ten times as much"
    assert play.chat.totals["dear"] == play.made["toy@dear"]
    own = [entry.candidate for entry in play.toys["toy@cheap"].seen if entry.candidate.optimizer == "toy"]
    assert len(own) == play.made["toy@cheap"], "the candidates of the other model are not its own"


# --- what is scarce


@pytest.mark.parametrize(
    ("budget", "cheap"),
    [({"tokens": 1e5}, "few"), ({"usd": 50.0}, "dollar"), ({"seconds": 5000.0}, "quick"), ({"evals": 1e4}, None), ({"calls": 1e4}, None)],
)
async def test_costs_are_in_the_unit_that_is_scarce(budget: dict[str, float], cheap: str | None) -> None:
    costs = {"few": (10, 0.1, 9.0), "dollar": (100, 0.01, 9.0), "quick": (100, 0.1, 0.0)}
    play = await Play("toy", budget, chat=Model(*costs, costs=costs), floor=0.1).go(150)
    shares = {name.partition("@")[2]: made for name, made in play.made.items()}
    if cheap:
        assert shares[cheap] == max(shares.values()) > 1.5 * sorted(shares.values())[-2]
    else:
        assert max(shares.values()) < 1.8 * min(shares.values())


async def test_without_a_limit_that_it_touches_dollars_count_where_all_have_a_price() -> None:
    costs: dict[str, tuple[int, float | None, float]] = {"dear": (100, 0.1, 1.0), "cheap": (100, 0.01, 1.0)}
    play = await Play("toy", {"other": 1e9}, chat=Model(*costs, costs=costs)).go(160)
    assert play.made["toy@cheap"] > 2 * play.made["toy@dear"]
    costs["cheap"] = (100, None, 1.0)
    play = await Play("toy", {"other": 1e9}, chat=Model(*costs, costs=costs)).go(160)
    assert play.made["toy@cheap"] < 2 * play.made["toy@dear"]


# --- arms that ask no model


async def test_polishing_takes_no_calls_and_so_many_candidates_per_candidate_of_a_model() -> None:
    for polish in (0, 3, 8):
        play = await Play("toy,tune", {"calls": 20}, polish=polish).go(500)
        assert play.chat.totals["calls"] == play.made["toy"] == 20
        assert play.made["tune"] in (polish * 20, polish * 19)
    assert play.made["tune"] == 152


async def test_a_refusal_earns_no_free_candidates() -> None:
    play = await Play("refusing,tune").go(50)
    assert play.made == {"refusing": 50}


@pytest.mark.parametrize("unit", ["evals", "rollouts", "seconds"])
async def test_free_arms_take_at_most_half_of_what_the_models_need_too(unit: str) -> None:
    play = Play("toy,tune", {unit: 100.0}, chat=Model("m", costs={"m": (100, 0.01, 0.0)}), **{"toy.luck": 0.2})
    play.wall = {}
    await play.go(500)
    assert 20 <= play.made["tune"] <= 51
    assert play.made["toy"] >= 49


async def test_what_the_models_cannot_use_is_left_to_the_free_arms() -> None:
    play = await Play("toy,tune", {"evals": 100.0, "calls": 10.0}).go(500)
    assert play.made["toy"] == 10
    assert play.made["tune"] > 60


async def test_the_free_arms_too_are_asked_by_what_they_bring() -> None:
    play = await Play("toy,tune,mutate", **{"mutate.luck": 0.0}).go(300)
    assert play.made["tune"] > 1.8 * play.made["mutate"] > 0


async def test_a_gain_is_shared_with_those_who_made_the_ancestors() -> None:
    """``tune`` makes all new bests, from what one of two arms made."""
    play = Play("toy-source,bad,tune", {"calls": 300}, polish=1, plateau=1000, **{"toy-source.luck": 0.0})
    source, tune = play.toys["toy-source"], play.toys["tune"]

    async def propose(view: View, n: int, rng: Random) -> Answer:
        own = [entry for entry in tune.seen if entry.candidate.optimizer == "toy-source"]
        parents = (own[-1].id,) if own else ()
        return [Proposal({"x": tune.best.candidate.values["x"] - 1.0}, parents, "tune", "tune")]

    tune.propose = propose  # type: ignore[method-assign]
    await play.go(300)
    assert source.best.candidate.optimizer == "tune"
    assert play.made["toy-source"] > 2 * play.made["bad"]


async def test_several_at_once() -> None:
    play = Play("toy,many", {"calls": 1e6}, polish=4)
    play.workers = 4
    await play.go(60)
    assert max(play.toys["many"].asked_for) == 4
    free = Play("toy,tune", {"calls": 1e6}, polish=3)
    free.toys["tune"].__class__ = Many
    free.workers = 6
    await free.go(60)
    assert max(free.toys["tune"].asked_for) > 1
    # what is pending counts for the model, so at most so many are ahead
    assert free.made["tune"] <= 3 * free.made["toy"]


async def test_an_ask_that_made_several_candidates_is_paid_once() -> None:
    play = Play("many")
    play.workers = 3
    await play.step()
    assert [bool(proposal.memo["spent"]) for proposal in play.answer] == [True, False, False]


async def test_arms_that_have_nothing_to_say_are_passed_over() -> None:
    play = await Play("ending,toy,tune").go(40)
    assert "ending" not in play.made
    assert play.made["toy"] > 0
    over = await Play("ending-a,ending-b").go(1)
    assert isinstance(over.answer, Exhausted)
    assert "ending-a is at its end" in over.answer.why
    assert "ending-b is at its end" in over.answer.why
    over.pending = [over.history[0][0].candidate]  # type: ignore[index]
    assert isinstance(await over.auto.propose(over.view, 1, Random(1)), Wait)
    waits = Play("waiting,ending")
    waits.workers = 2
    await waits.step()
    assert waits.made == {"waiting": 1}
    waits.pending = [waits.history[0][0].candidate]  # type: ignore[index]
    assert isinstance(await waits.auto.propose(waits.view, 1, Random(1)), Wait)


async def test_it_works_without_any_model_too() -> None:
    play = Play("tune,mutate", {"evals": 30.0})
    play.chat = None  # type: ignore[assignment]
    auto = play.build()
    assert isinstance(await auto.propose(FakeView(TASK, []), 3, Random(1)), list)
    with pytest.raises(ConfigError, match=r"^auto needs a model for toy: --model"):
        Play.build(_without_model("toy,tune"))


def _without_model(arms: str) -> Play:
    play = Play("tune")
    play.chat, play.arguments = None, (arms, {})  # type: ignore[assignment]
    return play


# --- memory


async def test_arms_see_their_own_candidates_as_they_made_them_and_all_others() -> None:
    play = Play("toy-a,toy-b,tune")
    play.workers = 3
    await play.go(30)
    for name, toy in play.toys.items():
        own = [entry.candidate for entry in toy.seen if entry.candidate.optimizer == name]
        assert own
        assert all(candidate.memo == {"own": candidate.values["x"]} for candidate in own)
        assert len(toy.seen) == len(play.history)
    play = await Play("toy-a,toy-b").go(9)
    toy = play.toys["toy-a"]
    play.pending = [entry.candidate for entry, _ in play.history if entry.candidate.memo.get("arm") == "toy-a"][:1]  # type: ignore[misc,union-attr]
    for seed in range(9):
        await play.auto.propose(play.view, 1, Random(seed))
    assert [candidate.memo for candidate in toy.pending] == [{"own": toy.pending[0].values["x"]}]


async def test_refusals_reach_the_arm_that_refused() -> None:
    play = await Play("refusing,breaking,toy").go(60)
    refusing, breaking = play.toys["refusing"], play.toys["breaking"]
    assert set(map(repr, refusing.refusals)) == {repr(Refused("no_code", {"why": "chatter"}))}
    assert {refused.memo["error"] for refused in breaking.refusals} == {"it is down (after 3 attempts)"}
    assert not play.toys["toy"].refusals
    before = play.auto._pools[True].results
    play.auto.observe_refusal(Refused("other", {}))
    assert play.auto._pools[True].results == before


@pytest.mark.parametrize("workers", [1, 4])
async def test_an_equal_history_gives_equal_answers(workers: int) -> None:
    arms = "toy-a,toy-b,refusing,breaking,tune,mutate"
    play = Play(arms, {"evals": 300.0, "usd": 9.0}, **{"toy-a.luck": 0.5, "toy-b.luck": 0.1})
    play.workers = workers
    for round in range(40):
        await play.step()
        fresh = play.build()
        for told in play.history:
            fresh.observe_refusal(told) if isinstance(told, Refused) else fresh.observe(*told)
        answers = [await _answer(auto, play.view, Random(f"again:{round}")) for auto in (fresh, play.auto)]
        assert answers[0] == answers[1]
        if workers > 1:
            at_once = [await asyncio.gather(*(_answer(auto, play.view, Random(k)) for k in range(4))) for auto in (fresh, play.auto)]
            assert at_once[0] == at_once[1]


async def _answer(auto: Auto, view: View, rng: Random) -> str:
    try:
        answer: Any = await auto.propose(view, 2, rng)
        return repr([proposal.values for proposal in answer] if isinstance(answer, list) else type(answer))
    except ModelError as error:
        return repr(error.memo["arm"])


async def test_asks_at_once_are_metered_apart() -> None:
    play = Play("toy", chat=Model("m", costs={"m": (7, 0.25, 2.0)}), budget={"seconds": 99.0})
    answers: list[Any] = await asyncio.gather(*(play.auto.propose(play.view, 1, Random(k)) for k in range(5)))
    memos = [answer[0].memo for answer in answers]
    assert all(memo["spent"] == {"calls": 1.0, "tokens": 7.0, "usd": 0.25, "seconds": 2.0} for memo in memos)
    assert all(memo["left"] == {"seconds": 99.0 - 1.0} for memo in memos)
    counted = Play("toy", {"evals": 9.0})
    await counted.step()
    assert "seconds" not in counted.answer[0].memo["spent"], "a log may not depend on the clock"


async def test_duplicates_cost_what_the_model_took_and_no_evaluation() -> None:
    play = await Play("toy", {"evals": 50.0}).go(3)
    pool = play.auto._pools[True]
    entry = play.history[-1][0]  # type: ignore[index]
    before = dict(pool.used)
    play.auto.observe(Entry(entry.candidate, None), Admission("duplicate"))
    assert pool.used["evals"] == before["evals"]
    assert pool.used["calls"] == before["calls"] + 1


def test_trade_offs_gain_too() -> None:
    task = TaskCard("two", "", TASK.parameters, (Objective("loss", "min"), Objective("size", "min")))
    play = Play("toy")
    auto = Auto(OptimizerContext(task, {"arms": "toy"}, play.child, lambda name, more: None, play.chat))  # type: ignore[arg-type,return-value]
    seed = Candidate("seed", {"x": 1.0})
    auto.observe(Entry(seed, Evaluation("seed", splits={"train": Aggregate({"loss": 1.0, "size": 1.0}, 1, {})})), Admission("admitted"))
    memo = {"arm": "toy", "spent": {}, "left": {}, "memo": {}, "by": "toy"}
    for number, gain in enumerate((0.0, 0.5)):
        candidate = Candidate(f"c{number}", {"x": 1.0}, ("seed",), "toy", memo=memo)
        splits = {"train": Aggregate({"loss": 2.0, "size": 0.5}, 1, {})}
        auto.observe(Entry(candidate, Evaluation(candidate.id, splits=splits)), Admission("admitted", gain=gain))
        assert (auto._pools[True].accounts["toy"].gain > 0) == (gain > 0)


# --- options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"floor": 1.5}, "auto.floor is 1.5"),
        ({"decay": 0.0}, "auto.decay is 0.0"),
        ({"plateau": 0}, "auto.plateau is 0"),
        ({"polish": -1}, "auto.polish is -1"),
        ({"arms": "reevo,reevo"}, "each once"),
        ({"arms": "auto,tune"}, "name other optimizers"),
        ({"arms": "tune,,mutate"}, "name other optimizers"),
        ({"arms": 3}, "auto.arms is 3"),
        ({"nonsense": 1}, "auto.nonsense is unknown"),
        ({"mutate.tries": 1, "arms": "tune"}, r"auto.mutate.tries is unknown"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Play(**({"arms": "toy"} | options))


async def test_options_of_the_arms_reach_them() -> None:
    play = Play("toy-a,toy-b", **{"toy-a.step": 3.0})
    assert (play.toys["toy-a"].step, play.toys["toy-b"].step) == (3.0, 1.0)


async def test_options_reach_an_arm_that_has_dots_in_its_name() -> None:
    play = Play("toy-a.b:C,toy-a", **{"toy-a.b:C.step": 3.0, "toy-a.step": 5.0})
    assert (play.toys["toy-a.b:C"].step, play.toys["toy-a"].step) == (3.0, 5.0)
