"""ask -> evaluate -> tell, without a barrier: the loop that knows only the protocols.

Everything that happened is appended to the store first and folded from there; the loop has nothing of its own to save.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import ModelError
from agentopt.core.conform import conform_all
from agentopt.core.errors import BudgetSpent, ConfigError, RunFailed, TaskError
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.fold import RunState
from agentopt.core.protocols import Answer, Exhausted, ObservesRefusals, Refused, Wait
from agentopt.core.rng import stream
from agentopt.core.task import Values
from agentopt.engine.journal import Journal
from agentopt.engine.journey import Journey
from agentopt.engine.opened import Open, open_candidate
from agentopt.engine.replay import encode_candidate
from agentopt.engine.rewind import ASKING, LeftAsk, LeftAsks
from agentopt.engine.run import Run
from agentopt.engine.stopping import Stopping
from agentopt.engine.view import RunView

__all__ = ["Loop"]


class Loop:
    """Drives a restored run from where its log ends to ``stopped``."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stopping = Stopping(run)
        self._journey = Journey(run)
        self._view = RunView(run, self._stopping)
        self._asking = 0
        self._next_index = 0
        self._unused: list[int] = []
        self._left: list[tuple[LeftAsk, asyncio.Task[Answer]]] = []
        self._waited_at = -1
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()

    @property
    def _optimizer_name(self) -> str:
        return type(self._run.parts.optimizer).__name__

    async def restore(self) -> None:
        """Bring the run to where its log ends. Asks that had asked a model are under way again then."""
        await self._restore()
        if self._run.parts.meter:
            self._run.parts.meter.open()

    async def _restore(self) -> None:
        run, chat = self._run, self._run.parts.chat
        if chat is None:
            for _ in run.restore():
                pass
            run.settle_left()
            self._next_index = run.state.asks
            return
        left = LeftAsks(run.parts.store.read())
        chat.rewind.begin()
        for event in run.restore():
            chat.rewind.reach(event.seq)
            if event.seq in left.again:
                run.open_ledger()
                self._ask_again(chat, left.again[event.seq])
            await chat.rewind.quiet()
        run.settle_left()
        chat.rewind.reach(math.inf)
        self._next_index = max(run.state.asks, left.next_index)
        self._unused = left.unused

    def _ask_again(self, chat: Journal, left: LeftAsk) -> None:
        task = asyncio.create_task(self._answer(left.index, left.wanted))
        chat.rewind.watch(left.index, task)
        self._left.append((left, task))

    async def drive(self, seed: Values) -> RunState:
        """Search until a stop rule holds, score seed and best on test, append ``stopped``.

        Raises SeedFailed or ConfigError when nothing could begin, RunFailed (after logging it) when the run cannot go on.
        """
        run = self._run
        try:
            await self._search(seed)
            await self._cancel_tasks()
            if not self._stopping.interrupted:
                await self._score_test()
        except (RunFailed, ConfigError) as error:
            run.close_meter()
            run.append("stopped", {"status": "failed", "why": str(error), "spent": run.state.spent})
            raise
        finally:
            if run.parts.meter:
                run.parts.meter.shut()
            await self._cancel_tasks()
            await run.parts.executor.close()
            if run.parts.chat:
                await run.parts.chat.close()
        run.close_meter()
        if text := run.plan.last_look():
            run.append("note", {"kind": "warning", "text": text})
        status, why = self._stopping.verdict()
        run.append("stopped", {"status": status, "why": why, "spent": run.state.spent})
        return run.state

    def interrupt(self) -> None:
        """Stop as soon as possible; work in flight is cancelled and stays pending."""
        self._stopping.interrupted = True
        self._woken.set()

    # --- the search ------------------------------------------------------------------------------------------------

    async def _search(self, seed: Values) -> None:
        await self._settle_seed(seed)
        self._take_up_asks()
        while not self._stopping.must_end():
            self._fill()
            if not self._tasks:
                return
            await self._wait_for_any(self._stopping.search_seconds_left())

    async def _settle_seed(self, seed: Values) -> None:
        """The seed is told before anything else is asked, and so is what an earlier process left open."""
        run = self._run
        self._journey.reserve_test()
        for opened in run.left_duplicates:
            self._start(self._tell_duplicate(opened))
        for opened in list(run.open.values()):
            self._journey.reserve_rest(opened)
            self._start(self._evaluate(opened))
        if not run.state.seed_id:
            if not self._journey.reserve():
                raise ConfigError("budget: it does not fit the seed and the test split; give more")
            self._propose(Proposal(seed, operator="seed"), index=-1)
        if not run.state.told:
            run.order.close_asks(True)
            while self._tasks and not self._stopping.must_end():
                await self._wait_for_any(self._stopping.search_seconds_left())
        self._stopping.check_seed()

    async def _wait_for_any(self, seconds: float | None) -> None:
        """Until a task is done, ``seconds`` have passed or somebody interrupts."""
        wake = asyncio.create_task(self._woken.wait())
        everything: set[asyncio.Task[Any]] = {*self._tasks, wake}
        done, _ = await asyncio.wait(everything, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        wake.cancel()
        for task in done & self._tasks:
            self._tasks.discard(task)
            task.result()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _score_test(self) -> None:
        """On the test split; an interrupt or the end of the time or of the money cuts it off, and the log says so."""
        if self._run.parts.meter:
            self._run.parts.meter.release()
        for work in self._journey.tests():
            self._start(self._test(work))
        while self._tasks and not self._stopping.interrupted:
            left = self._stopping.total_seconds_left()
            if left == 0:
                text = "the time ran out before the test split was scored"
                self._run.append("note", {"kind": "test_cut", "text": text})
                return
            await self._wait_for_any(left)

    async def _test(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BudgetSpent as error:
            text = f"the budget ran out before the test split was scored: {error}"
            self._run.append("note", {"kind": "test_cut", "text": text})

    # --- ask -------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start asks while there is room; otherwise let results be told that wait for a fuller window."""
        while self._free() > 0 and self._may_ask() and self._journey.reserve():
            self._asking += 1
            self._start(self._ask(self._take_index()))
        self._run.order.close_asks(self._free() > 0 and not self._asking)

    def _free(self) -> int:
        plan, order = self._run.plan, self._run.order
        if plan.deterministic:
            return 0 if self._asking else min(1, plan.look_ahead + 1 - order.in_flight)
        return self._run.parts.executor.capacity + plan.look_ahead - self._asking - order.in_flight

    def _may_ask(self) -> bool:
        return not self._stopping.must_not_ask() and self._run.state.told > self._waited_at

    def _take_index(self) -> int:
        if self._unused:
            return heappop(self._unused)
        self._next_index += 1
        return self._next_index - 1

    def _take_up_asks(self) -> None:
        """Go on with the asks of an earlier process, in their order."""
        for left, task in self._left:
            if self._journey.reserve():
                self._asking += 1
                self._start(self._hear(task, left.index, left.seen))
            else:
                task.cancel()
        self._left.clear()

    async def _ask(self, index: int) -> None:
        run, seen, wanted = self._run, self._run.state.told, max(1, self._free())
        if run.last_asked != (index, seen):
            run.append("asked", {"index": index, "seen": seen} | ({"wanted": wanted} if wanted > 1 else {}))
        run.last_asked = None
        await self._hear(self._answer(index, wanted), index, seen)

    async def _answer(self, index: int, wanted: int) -> Answer:
        run = self._run
        ASKING.set(index)
        return await run.parts.optimizer.propose(self._view, wanted, stream(run.plan.rng_seed, "ask", index))

    async def _hear(self, answering: Awaitable[Answer], index: int, seen: int) -> None:
        try:
            answer = await answering
        except BudgetSpent as error:
            self._stopping.spend(str(error))
            self._journey.give_back()
            return
        except ModelError as error:
            answer = self._stopping.blame(error)
        finally:
            self._asking -= 1
        self._take(answer, index, seen)

    def _take(self, answer: Answer, index: int, seen: int) -> None:
        if isinstance(answer, Sequence) and answer:
            self._take_proposals(answer, index)
            return
        self._journey.give_back()
        if isinstance(answer, Wait):
            self._take_wait(index, seen)
        elif isinstance(answer, Refused):
            note = {"kind": "refused", "index": index, "text": answer.kind, "memo": dict(answer.memo)}
            calls = self._calls(index)
            self._run.append("note", note | calls)
            if isinstance(self._run.parts.optimizer, ObservesRefusals):
                self._run.parts.optimizer.observe_refusal(answer)
            self._waited_at = -1  # who waits for what was being asked has waited in vain
            self._stopping.note_ask(new=False, paid=bool(calls))
            self._stopping.note_refusal(answer)
        elif isinstance(answer, Exhausted):
            self._stopping.exhausted = answer.why
        else:
            raise RunFailed(f"the optimizer {self._optimizer_name} answered {answer!r}; it must propose, wait, refuse or be exhausted")

    def _take_wait(self, index: int, seen: int) -> None:
        heappush(self._unused, index)
        if self._run.state.told > seen:
            return
        if not self._run.order.in_flight and not self._asking:
            raise RunFailed(f"the optimizer {self._optimizer_name} waits although nothing is pending")
        self._waited_at = seen

    def _take_proposals(self, proposals: Sequence[Proposal], index: int) -> None:
        for position, proposal in enumerate(proposals):
            if position and not self._journey.reserve():
                return
            self._propose(proposal, index)

    def _propose(self, proposal: Proposal, index: int) -> None:
        run = self._run
        wrong = set(proposal.values) ^ set(run.parts.card.parameters)
        if wrong:
            raise RunFailed(f"the optimizer {self._optimizer_name} proposed values that miss or add the parameter {min(wrong)!r}")
        proposal, refused = self._conformed(proposal)
        candidate = Candidate.of(proposal, run.parts.card.parameters, run.known.next_generation(proposal.parents))
        duplicate = candidate.id in run.known
        opened = self._open(candidate)
        opened.refused = refused
        data = encode_candidate(candidate, run.parts.store.put) | {"index": index, "ticket": opened.ticket}
        data |= self._calls(index) | ({"duplicate": True} if duplicate else {}) | ({"refused": refused} if refused else {})
        run.append("proposed", data)
        self._stopping.note_ask(new=not duplicate and not refused, paid="calls" in data)
        if duplicate:
            self._journey.give_back()
            self._start(self._tell_duplicate(opened))
            return
        run.ledger.settle("evals", 1)
        run.known.start(candidate)
        run.open[candidate.id] = opened
        self._start(self._evaluate(opened))

    def _conformed(self, proposal: Proposal) -> tuple[Proposal, str]:
        """The proposal with values that may be tried, or as it is and why they may not. Raises RunFailed for a projection that fails."""
        try:
            return replace(proposal, values=conform_all(proposal.values, self._run.parts.card.parameters)), ""
        except ValueError as error:
            return proposal, str(error)
        except TaskError as error:
            raise RunFailed(str(error)) from error

    def _open(self, candidate: Candidate) -> Open:
        run, parts = self._run, self._run.parts
        return open_candidate(candidate, run.order.issue(), run.state, run.known, parts.archive, parts.schedule.rules)

    def _calls(self, index: int) -> dict[str, Any]:
        """The requests to models that an answer came from."""
        chat = self._run.parts.chat
        calls = chat.used(index) if chat else []
        return {"calls": calls} if calls else {}

    # --- evaluate, tell --------------------------------------------------------------------------------------------

    async def _evaluate(self, opened: Open) -> None:
        """A candidate whose own calls of models do not fit the budget stays pending."""
        async with self._run.slots:
            try:
                await self._journey.travel(opened)
            except BudgetSpent as error:
                self._stopping.spend(str(error))
                # whoever is told after it would wait for ever
                self._stopping.stuck = self._run.plan.deterministic

    async def _tell_duplicate(self, opened: Open) -> None:
        await self._run.order.turn(opened.ticket)
        entry = Entry(opened.candidate, self._run.known.evaluation(opened.candidate.id))
        self._run.tell(entry, Admission("duplicate"), opened.ticket)
