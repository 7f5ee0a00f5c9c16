"""Feedback and steps, as people know them from training: each step is one advance of the engine that ``evolve`` drives."""

from __future__ import annotations

import asyncio
import copy
import weakref
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from agentopt import api
from agentopt.core.budget import parse_budget
from agentopt.core.candidate import Candidate
from agentopt.core.errors import ConfigError, RunFailed
from agentopt.core.events import Event
from agentopt.core.fold import RunState, fold
from agentopt.core.task import Value, Values
from agentopt.engine.foreground import Interruptible
from agentopt.executors.interactive import Listen
from agentopt.pipeline.background import Background, Turn
from agentopt.pipeline.interactive import StepperOptions, by_name, check_same, engine_options, heard_by, objectives_of, task_of
from agentopt.pipeline.said import NEWEST, Remark, blob_of, checked_scores, gathered, judged, score_names
from agentopt.results import Found, Result
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from agentopt.trace.node import Node
from agentopt.trace.params import Param
from agentopt.trace.recorder import CURRENT, Trace

__all__ = ["Step", "Stepper", "StepperOptions"]


@dataclass(frozen=True)
class Step:
    """What one step brought.

    ``number`` counts the candidates that were judged. ``status`` is what the archive did with the last of them: admitted, dominated or
    failed. ``candidate`` is the one whose values the parameters have now, ``changed`` what that changed: name -> (before, after).
    ``spent`` is by unit of the budget. ``done`` says why the run ended, and is empty while it goes on.
    """

    number: int
    status: str
    candidate: str
    changed: Mapping[str, tuple[Value, Value]]
    operator: str
    rationale: str
    spent: Mapping[str, float]
    done: str = ""

    def __str__(self) -> str:
        changes = f"changed: {', '.join(self.changed) or 'nothing'}"
        if self.done:
            return f"step {self.number}: {self.status}; the run ended: {self.done}; the best is {self.candidate}; {changes}"
        return f"step {self.number}: {self.status}; now trying {self.candidate} ({self.operator}); {changes}"


class Stepper:
    """Improves ``parameters`` by what is said of the outcomes.

    The run begins at the first step; its seed are the values that the parameters have then. It has one folder, one budget and one log, as
    a run of ``agentopt.evolve`` has: a process that is killed at any time loses nothing that was paid for. ``Stepper`` on the same folder
    goes on, with the candidate applied that was being tried; if the process died while it asked a model, that is waited for.
    Use it from one thread or task at a time.
    """

    def __init__(self, parameters: Iterable[Param], **options: Unpack[StepperOptions]) -> None:
        """Raises ConfigError for parameters or options that cannot be used, StoreError for a folder that cannot."""
        self._params = by_name(parameters)
        self._options = options
        self._objectives = objectives_of(options.get("objectives", ()))
        self._remarks: list[Remark] = []
        self._watch = _Watch()
        self._background = Background()
        self._trial: Candidate | None = None
        self._kept: dict[str, Candidate] = {}
        self._result: Result | None = None
        self._error: Exception | None = None
        self._last: Step | None = None
        engine_options(options)  # what is wrong with their names is said here
        weakref.finalize(self, self._background.close)
        out = options.get("out")
        if out and is_run_folder(Path(out)):
            self._go_on(Path(out))

    # --- feedback --------------------------------------------------------------------------------------------------

    def backward(self, target: Any, text: str = "", score: float | Mapping[str, float] | None = None, trace: Trace | None = None) -> None:
        """Say of ``target``, what the workflow made, how good it is: in words, in numbers (higher is better), or both.

        It is looked for in ``trace``, or in the trace that is being recorded here; a node is known to its own graph. What none of these
        knows is judged as a whole, and the optimizer hears what was said but sees no graph. Raises ValueError for a score that is no finite
        number, and when nothing is said.
        """
        scores = checked_scores(score)
        if not text.strip() and not scores:
            raise ValueError("backward says nothing; give a text, a score, or both")
        trace = trace or CURRENT.get()
        if isinstance(target, Node):
            target.backward(text, scores)
        elif trace is not None:
            trace.backward(target, text, scores)
        else:
            self._remarks.append(Remark(text, scores))

    def zero_feedback(self) -> None:
        """Forget what was said since the last step."""
        self._remarks.clear()
        for param in self._params.values():
            param.feedback.clear()

    # --- steps -----------------------------------------------------------------------------------------------------

    def step(self) -> Step:
        """Give the run the feedback gathered since the last step. It goes on to the next candidate, whose values the parameters get.

        At its end they get the best values, and ``done`` says why; further steps return the same. Raises ValueError for feedback that
        cannot be used, which is kept then; UserError for bad input, and RunFailed when the run cannot go on.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.blocking_step()
        raise RuntimeError("an event loop is running already; use await stepper.astep()")

    def blocking_step(self) -> Step:
        """``step`` in any place: an event loop that is running stands still meanwhile, as notebooks do not mind."""
        return self._land(self._advance())

    async def astep(self) -> Step:
        """``step`` for callers with an event loop. If it is cancelled, the next step takes up what it began."""
        turn, loop, landed = self._advance(), asyncio.get_running_loop(), asyncio.Event()

        def wake(_: Turn) -> None:
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                loop.call_soon_threadsafe(landed.set)

        turn.add_done_callback(wake)
        await landed.wait()
        return self._land(turn)

    def _advance(self) -> Turn:
        """Tell the run what was said; the turn that ends this step."""
        if self._error:
            raise self._error.with_traceback(None)
        turn = self._background.turn
        if self._result or (self._trial and not turn.done()):
            return turn  # it ended, or a step that was cut off is still under way
        self._check_by_hand()
        remarks = self._gather()
        objectives = self._objectives or objectives_of(score_names(remarks)) or (NEWEST,)
        verdict, trace = judged(remarks, objectives, self._watch.number + 1), blob_of(remarks)
        if self._trial is None:
            if verdict.failure:
                raise ValueError(f"the first feedback has no score; give it: {', '.join(objective.name for objective in objectives)}")
            self._objectives = objectives
            self._begin()
        if self._result is None:
            self.zero_feedback()
            turn = self._background.tell(verdict, trace)
        return turn

    def _gather(self) -> list[Remark]:
        remarks = [*self._remarks, *gathered(self._params.values())]
        if not remarks:
            raise ValueError(
                "no feedback has reached the parameters since the last step; say what came of them with backward(target, text, score=...)"
            )
        return remarks

    def _check_by_hand(self) -> None:
        """Feedback on other values would count for the wrong candidate."""
        trial = self._trial
        changed = [name for name, value in self._values().items() if trial and value != trial.values[name]]
        if trial and changed:
            raise ConfigError(
                f"parameter {changed[0]!r} has not the value that candidate {trial.id} gave it, so the feedback is on something else; "
                "call apply() to go on with that candidate"
            )

    # --- the run ---------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        task = task_of(self._options, self._params.values(), self._objectives)
        options: dict[str, Any] = {**engine_options(self._options), "on_event": self._watch}

        def run(listen: Listen, interruptible: Interruptible) -> Coroutine[Any, Any, Result]:
            return api.aevolve(heard_by(task, listen), interruptible=interruptible, **options)

        self._land(self._background.start(run))

    def _go_on(self, folder: Path) -> None:
        """Take up the run that is there."""
        with SqliteStore.open(folder, read_only=True) as store:
            state = fold(store.read())
        check_same(folder, state, self._params.values(), self._options)
        self._objectives, self._watch.state = state.objectives, state
        task = task_of(self._options, self._params.values(), self._objectives)
        budget, optimizer, model = self._options.get("budget"), self._options.get("optimizer"), self._options.get("model")
        given: dict[str, Any] = {
            "budget": parse_budget(budget) if budget else None,
            "optimizer": None if isinstance(optimizer, str | Mapping) else optimizer,
            "model": None if isinstance(model, str) else model,
            "on_event": self._watch,
        }

        def run(listen: Listen, interruptible: Interruptible) -> Coroutine[Any, Any, Result]:
            return api.aresume(folder, task=heard_by(task, listen), interruptible=interruptible, **given)

        self._land(self._background.start(run))

    def _land(self, turn: Turn) -> Step:
        """It is the user's turn: the parameters get the values of the candidate that waits, or at the end of the best."""
        try:
            outcome = turn.result()
        except Exception as error:
            self._error = error
            self.apply_best()
            raise
        if isinstance(outcome, Candidate):
            return self._try(outcome)
        if self._result is None or self._last is None:
            self._result = outcome
            self._last = self._step(outcome.best, self.apply_best(), outcome.why)
        return self._last

    def _try(self, candidate: Candidate) -> Step:
        self._trial = candidate
        best = self._watch.state.best_id
        self._kept = {key: kept for key, kept in self._kept.items() if key == best} | {candidate.id: candidate}
        return self._step(candidate, self._apply(candidate.values))

    def _step(self, now: Candidate | Found | None, changed: Mapping[str, tuple[Value, Value]], done: str = "") -> Step:
        watch = self._watch
        known = self._kept.get(now.id if now else "")
        operator, rationale = (known.operator, known.rationale) if known else ("", "")
        return Step(watch.number, watch.status, now.id if now else "", changed, operator, rationale, watch.state.spent, done)

    # --- values ----------------------------------------------------------------------------------------------------

    @property
    def done(self) -> str:
        """Why the run ended; empty while it goes on, and before it began."""
        return self._result.why if self._result else str(self._error or "")

    @property
    def best(self) -> Found | None:
        """The best candidate so far; None before the first step."""
        if self._result:
            return self._result.best
        state = self._watch.state
        if state.best is None:
            return None
        known = self._kept.get(state.best_id)
        if known is None:  # it was found by an earlier process
            return api.load_run(state.info["run"]).best
        return Found(known.id, known.values, state.best.confirmed, state.best.scores, None, known.generation, known.parents)

    @property
    def run(self) -> Path | None:
        """The run's folder; None before the first step, and for a run in memory."""
        info = self._watch.state.info
        return Path(info["run"]) if info and self._options.get("out", "") is not None else None

    def apply(self) -> Mapping[str, tuple[Value, Value]]:
        """Give the parameters the values of the candidate that is being tried; what that changed, name -> (before, after)."""
        return self._apply(self._trial.values) if self._trial else {}

    def apply_best(self) -> Mapping[str, tuple[Value, Value]]:
        """Give the parameters the best values so far; what that changed, name -> (before, after)."""
        best = self.best
        return self._apply(best.values) if best else {}

    def _values(self) -> dict[str, Value]:
        return {name: param.parameter().initial for name, param in self._params.items()}

    def _apply(self, values: Values) -> Mapping[str, tuple[Value, Value]]:
        before = self._values()
        changed = {name: (before[name], copy.deepcopy(value)) for name, value in values.items() if before[name] != value}
        for name, (_, after) in changed.items():
            self._params[name].set(copy.deepcopy(after))
        return changed

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the thread; the run can be gone on with, if it has a folder. The parameters keep their values. May be called twice."""
        self._background.close()
        if self._result is None and self._error is None:
            self._error = RunFailed("the stepper is closed; make a new one, with the same out, to go on")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Watch:
    """Sees each event of the run, in the run's thread, while the user waits."""

    def __init__(self) -> None:
        self.state = RunState()
        self.status = ""

    @property
    def number(self) -> int:
        """Candidates judged."""
        return self.state.rollouts

    def __call__(self, event: Event, state: RunState) -> None:
        self.state = state
        if event.kind == "admitted" and event.data["status"] != "duplicate":
            self.status = event.data["status"]
