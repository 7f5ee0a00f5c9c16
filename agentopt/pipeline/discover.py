"""The first pass: a workflow tried on some rows before a run begins, to see which parameters it reads and what is scored."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from agentopt.core.errors import BudgetSpent, ConfigError, SeedFailed, TaskError
from agentopt.core.evaluation import Failure
from agentopt.core.metering import ROLLOUT, Meter
from agentopt.core.protocols import Wish
from agentopt.core.rng import rollout_seed
from agentopt.core.task import Case, Objective, Score, Task, Values
from agentopt.executors.pipeline import Trial, Trials
from agentopt.pipeline.tally import Tally
from agentopt.scoring.judge import Judge
from agentopt.trace.calling import Called, is_async
from agentopt.trace.params import Param
from agentopt.trace.workflow import put

__all__ = ["FIRST_ROWS", "FirstPass", "How", "adapted", "first_pass", "objectives_of", "refuse_failed"]

FIRST_ROWS = 20


def adapted(score: Callable[[Any, Any], Any], rows: Mapping[str, Any]) -> Callable[..., Any]:
    """``score(row, output)`` as a task's ``score(case, output, measured)``."""
    if is_async(score):

        async def scored_later(case: Case, output: Any, measured: Any) -> Any:
            return _spelled(await score(rows[case.id], output))

        return functools.update_wrapper(scored_later, score)

    def scored(case: Case, output: Any, measured: Any) -> Any:
        result = score(rows[case.id], output)
        return _awaited(result) if inspect.isawaitable(result) else _spelled(result)

    return functools.update_wrapper(scored, score)


async def _awaited(result: Any) -> Any:
    return _spelled(await result)


def _spelled(result: Any) -> Any:
    """(number, text) as a mapping; the rest is known to the judge."""
    if isinstance(result, tuple) and len(pair := cast("tuple[Any, ...]", result)) == 2 and isinstance(pair[1], str):
        return {"score": pair[0], "feedback": pair[1]}
    return cast("Any", result)


@dataclass
class FirstPass:
    """Rows that were tried with the values that the parameters have. A run takes them for the seed's, and pays for them.

    As ``task.functions["known"]`` it is what the executor asks.
    """

    trials: dict[str, Trial] = field(default_factory=dict[str, Trial])
    params: dict[str, Param] = field(default_factory=dict[str, Param])
    tally: Tally | None = None
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])
    """Rows without a score, by case id."""
    _paid: asyncio.Task[None] | None = None

    @property
    def values(self) -> Values:
        """Of all parameters, as they are outside of candidates."""
        return {name: param.parameter().initial for name, param in self.params.items()}

    def __call__(self, values: Values, case_id: str, repeat: int) -> Trial | None:
        return self.trials.get(case_id) if repeat == 0 and values == self.values else None

    async def pay(self, meter: Meter) -> None:
        if self._paid is None and self.tally:
            self._paid = asyncio.create_task(self.tally.pay(meter))
        if self._paid:
            await asyncio.shield(self._paid)

    def take(self, case: Case, trial: Trial) -> None:
        """Raises TaskError for two parameters of one name."""
        self.trials[case.id] = trial
        self.add(row[2] for row in trial.attempt.trace.rows if row[1] == "param")

    def add(self, params: Iterable[Param]) -> None:
        """Raises TaskError for two parameters of one name."""
        for param in params:
            if self.params.setdefault(param.name, param) is not param:
                raise TaskError(
                    f"two parameters are named {param.name!r}; give each a name of its own, and make a parameter once, outside of the "
                    "function that reads it"
                )


@dataclass(frozen=True)
class How:
    """How rows are tried. With ``names``, only until parameters of these names are found: none if all are given."""

    workers: int
    rng_seed: int
    wish: Wish
    tally: Tally
    names: frozenset[str] = frozenset()


async def first_pass(task: Task, cases: Sequence[Case], params: Iterable[Param], how: How) -> FirstPass:
    """Tries the first of the cases.

    Raises TaskError where no parameter is read, ConfigError if the budget does not fit, SeedFailed if no row gets a score.
    """
    found = FirstPass(tally=how.tally)
    found.add(params)
    trials = Trials(task, how.workers, how.wish, how.tally)
    left = list(cases[:FIRST_ROWS])
    try:
        while left and not (how.names and how.names <= found.params.keys()):
            now, left = (left[:1], left[1:]) if how.names else (left, [])
            for case, trial in zip(now, await _all([_try(trials, case, how) for case in now]), strict=True):
                found.take(case, trial)
        if found.trials:
            _check_scored(found, trials)
        if not found.params:
            raise TaskError(
                "the workflow read no parameter; make one with agentopt.param(value, name=...) and read it where it is used "
                "(str(p), p.format(), p.value), or give those that are read on some rows only: params=[...]"
            )
    except BudgetSpent as error:
        raise ConfigError(f"budget: it does not fit the first pass over {len(cases[:FIRST_ROWS])} rows: {error}") from None
    finally:
        trials.close()
    return found


async def _try(trials: Trials, case: Case, how: How) -> Trial:
    with put(ROLLOUT, {"case": case.id, "repeat": 0}):
        return await trials.trial({}, case, rollout_seed(how.rng_seed, case.id, 0))


async def _all(work: Sequence[Any]) -> list[Trial]:
    """Together; the first error cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def refuse_failed(found: FirstPass) -> None:
    """For scores that have no worst. Raises SeedFailed if the seed fails on a row that was tried."""
    for case_id, failure in found.failures.items():
        way = "mend score" if failure.scorer_error else "give floor=, the score that such a row counts as, or mend it"
        raise SeedFailed(
            f"the seed does not score ({failure.kind}) on {case_id}, and one failed row fails a candidate; {way}: {failure.message}"
        )


def _check_scored(found: FirstPass, trials: Trials) -> None:
    if any(trial.scored and not trial.scored.error and not trial.scored.late for trial in found.trials.values()):
        judge = Judge(tuple(objectives_of(found, None)))
        verdicts = {case_id: trials.verdict(trial, judge, 0) for case_id, trial in found.trials.items()}
        found.failures = {case_id: verdict.failure for case_id, verdict in verdicts.items() if verdict.failure}
        return
    first = next(iter(found.trials.values()))
    failure = trials.verdict(first, Judge(()), 0).failure
    assert failure
    raise SeedFailed(f"none of {len(found.trials)} rows gets a score ({failure.kind}); the first: {failure.message}")


def objectives_of(found: FirstPass, floor: float | None) -> list[Objective]:
    """What is scored, more is better. ``floor`` is the worst score there is; by default 0 if all scores so far lie between 0 and 1."""
    scores: dict[str, list[Any]] = {}
    for trial in found.trials.values():
        for name, value in _numbers(trial.scored).items():
            scores.setdefault(name, []).append(value)
    return [Objective(name, "max", floor=_floor(values) if floor is None else floor) for name, values in scores.items()]


def _numbers(scored: Called | None) -> Mapping[str, Any]:
    if scored is None or scored.error or scored.late:
        return {}
    value: Any = scored.value
    if isinstance(value, Score):
        return value.scores
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {name: number for name, number in members.items() if name not in ("feedback", "measures")}
    return {"score": value}


def _floor(values: Sequence[Any]) -> float | None:
    try:
        return 0.0 if all(0.0 <= float(value) <= 1.0 for value in values) else None
    except (TypeError, ValueError):
        return None  # the judge says what is wrong with it
