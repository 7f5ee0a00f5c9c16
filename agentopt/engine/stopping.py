"""When a run ends, and what it is then called."""

from __future__ import annotations

from collections import Counter
from statistics import fmean

from agentopt.core.budget import format_budget
from agentopt.core.chat import ModelError
from agentopt.core.errors import ConfigError, RunFailed, SeedFailed
from agentopt.core.protocols import Refused
from agentopt.engine.run import Run

__all__ = ["Stopping"]

_BARREN_ASKS, _BARREN_PAID = 1000, 30
"""Asks in a row without a new candidate, and those among them that asked a model, which cost money."""
_JUDGED_FROM = 10
_SCORER_ERRORS_ALLOWED = 0.2
_ERRORS_AT_FIRST, _REFUSALS_AT_FIRST, _REFUSALS = 5, 8, 30
"""Asks in a row that brought nothing: without any reply, or without a usable one, before a child has a score; and after."""
_NO_IDEA, _NO_IDEAS = frozenset({"no_change", "unchanged"}), 8
"""Refusals that leave everything as it was, and how many of them in a row end the search."""
_NAMED_WRONG = frozenset({"auth", "not_found"})
_NEVER_REACHED = frozenset({"connection", "bad_request"})
_OPENING_SECONDS = 0.5
_MARGIN = 1.5
"""The test split is given half as much time again as rollouts took so far: a machine may have become busier since."""


class Stopping:
    """The stop rules, read from the run's state."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._paces: dict[str, float] = {}
        self._barren = 0
        self._barren_paid = 0
        self._refusals: list[Refused] = []
        self.interrupted = False
        self.exhausted = ""
        self.spent = ""
        self.stuck = False
        """Nobody can be told any more."""

    # --- time ----------------------------------------------------------------------------------------------------

    def total_seconds_left(self) -> float | None:
        """Until the wall-time budget ends; None without one."""
        limit = self._run.state.limits.get("seconds")
        return None if limit is None else max(0.0, limit - self._run.seconds)

    def search_seconds_left(self) -> float | None:
        """The same, less what scoring the test split is expected to take."""
        left = self.total_seconds_left()
        return None if left is None else max(0.0, left - self.test_seconds())

    def test_seconds(self) -> float:
        """Expected wall seconds for seed and best on test, from how long their rollouts took so far."""
        run = self._run
        size = run.parts.schedule.size("test")
        wanted = [key for key in {run.state.seed_id, run.state.best_id} if key and key not in run.state.test]
        if not size or not wanted:
            return 0.0
        paces = [self._pace(key) for key in wanted]
        longest = max(paces) if run.parts.executor.capacity > 1 else sum(paces)
        return _OPENING_SECONDS + _MARGIN * size * longest

    def _pace(self, key: str) -> float:
        """Seconds per rollout of a told candidate, on its slower split."""
        if key not in self._paces:
            entry = self._run.entry(key)
            rollouts = entry.evaluation.rollouts if entry and entry.evaluation else ()
            walls: dict[str, list[float]] = {}
            for rollout in rollouts:
                walls.setdefault(rollout.split, []).append(rollout.measured.wall)
            self._paces[key] = max((fmean(wall) for wall in walls.values()), default=0.0)
        return self._paces[key]

    def out_of_time(self) -> bool:
        left = self.search_seconds_left()
        return left is not None and left <= 0

    # --- rules -----------------------------------------------------------------------------------------------------

    def reached_target(self) -> bool:
        best, target = self._run.state.best, self._run.plan.target
        if best is None or target is None:
            return False
        objective = self._run.state.ranking[0]
        return not objective.better(target, best.confirmed[objective.name])

    def must_end(self) -> bool:
        """End at once; what is in flight is cancelled. Raises RunFailed when the task's scorer is broken."""
        state = self._run.state
        told = state.told - state.duplicates
        if told >= _JUDGED_FROM and state.scorer_errors > _SCORER_ERRORS_ALLOWED * told:
            where = "`agentopt why RUN CANDIDATE` shows the traceback"
            raise RunFailed(f"the task's score function raised on {state.scorer_errors} of {told} candidates; mend it ({where})")
        return self.interrupted or self.stuck or self.out_of_time() or self.reached_target()

    def must_not_ask(self) -> bool:
        """Finish what is in flight, ask for nothing new."""
        if self.exhausted or self.spent:
            return True
        state, patience = self._run.state, self._run.plan.patience
        if patience is not None and state.evals - state.last_improvement >= patience:
            self.exhausted = f"no better candidate in {patience} evaluations"
        return bool(self.exhausted)

    def note_ask(self, new: bool, paid: bool = False) -> None:
        """Counts asks in a row that brought nothing new, so that a count budget cannot be waited on for ever. ``paid``: by a model."""
        self._barren = 0 if new else self._barren + 1
        self._barren_paid = 0 if new else self._barren_paid + paid
        if self._barren >= _BARREN_ASKS or self._barren_paid >= _BARREN_PAID:
            self.exhausted = f"the last {self._barren} asks brought no new candidate"
        if new:
            self._refusals.clear()

    def note_refusal(self, answer: Refused) -> None:
        """An ask that brought nothing. Raises RunFailed when models bring nothing else: that would cost money for ever."""
        self._refusals.append(answer)
        last = self._refusals[-_NO_IDEAS:]
        if len(last) == _NO_IDEAS and all(other.kind in _NO_IDEA for other in last):
            self.exhausted = f"the last {_NO_IDEAS} asks left everything as it was"
            return
        most = _REFUSALS
        if not self._run.state.scored_children:
            most = _ERRORS_AT_FIRST if all("error" in other.memo for other in self._refusals) else _REFUSALS_AT_FIRST
        if self._run.parts.chat and len(self._refusals) >= most:
            counts = ", ".join(f"{kind} {n}" for kind, n in Counter(other.kind for other in self._refusals).most_common())
            raise RunFailed(f"the last {most} asks of {', '.join(self._run.parts.chat.models)} brought nothing usable: {counts}")

    def spend(self, why: str) -> None:
        """The budget has no room for another call. Raises ConfigError if there was none yet, or none that reached a model."""
        self.spent = why
        calls, limits = self._run.state.calls, self._run.state.limits
        if calls.errors and not calls.replies and set(calls.errors) <= _NAMED_WRONG | _NEVER_REACHED:
            raise ConfigError(f"{self._no_reply()}, and {why}; check the model's name, its key and --base-url")
        if not calls.requests:
            raise ConfigError(f"budget: {format_budget(limits)} cannot fit one call of a model: {why}")

    def _no_reply(self) -> str:
        """What came of the calls when none of them brought a reply."""
        chat, errors = self._run.parts.chat, self._run.state.calls.errors
        counts = ", ".join(f"{kind} {n}" for kind, n in errors.most_common())
        return f"{', '.join(chat.models if chat else ())} gave no reply: {counts}"

    def blame(self, error: ModelError) -> Refused:
        """What an error of a model's counts as. Raises ConfigError for one that lies in what the user named."""
        at_first = not self._run.state.calls.replies
        page = error.kind == "malformed" and not error.retryable  # such as a web page, in place of a reply
        if error.kind in _NAMED_WRONG or (at_first and (page or error.kind in _NEVER_REACHED)):
            raise ConfigError(str(error))
        return Refused(error.kind, {**error.memo, "error": str(error)})

    # --- verdicts --------------------------------------------------------------------------------------------------

    def check_seed(self) -> None:
        """Raises SeedFailed if the seed has no score, ConfigError if the wall time cannot fit seed and test."""
        state = self._run.state
        if self.interrupted:
            return
        if state.told and not state.front:
            entry = self._run.entry(state.seed_id)
            if entry and entry.failure:
                more = "; allow it more with --set limits.seconds=N" if entry.failure.kind == "timeout" else ""
                raise SeedFailed(f"the seed does not score ({entry.failure.kind}): {entry.failure.message}{more}")
            raise SeedFailed("the archive does not take the seed: its scores are incomplete")
        if state.told <= 1 and self.out_of_time():
            limit, spent, test = state.limits["seconds"], self._run.seconds, self.test_seconds()
            raise ConfigError(
                f"budget: {limit:g}s cannot fit seed and test: the seed took {spent:.1f} s, the test split needs about {test:.1f} s; "
                f"give at least {(spent + test) * 1.5 + 1:.0f}s"
            )

    def verdict(self) -> tuple[str, str]:
        """(status, why) of a run that came to its end."""
        state = self._run.state
        if self.interrupted:
            return "interrupted", "stopped by hand"
        if not state.scored_children:
            counts = (
                ", ".join(f"{kind} {n}" for kind, n in state.failures.most_common()) or self.exhausted or self.spent or "none was proposed"
            )
            return "failed", f"no child could be scored: {counts}"
        if self.reached_target():
            return "target", f"the best reached {self._run.plan.target:g}"
        if self.exhausted:
            return "exhausted", self.exhausted
        return "budget", "the budget is spent"
