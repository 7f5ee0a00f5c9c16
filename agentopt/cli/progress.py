"""Live progress of a run on stderr: a small panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from agentopt.core.budget import format_budget
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.sandbox.levels import brief

__all__ = ["Progress"]

_PLAIN_EVERY = 10.0


class Progress:
    """Pass it as ``on_event``; use it as a context manager around the run."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._state: RunState | None = None
        self._live = Live(get_renderable=self._picture, console=self._console, refresh_per_second=4, transient=True)
        self._begun = 0.0
        self._evals_before = 0
        self._said = 0.0
        self._best = ""

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def __call__(self, event: Event, state: RunState) -> None:
        if self._state is None:
            self._begin(state)
        self._state = state
        if event.kind == "note" and event.data["kind"] in ("warning", "infrastructure"):
            self._console.print(f"warning: {event.data['text']}", markup=False)
        if self._console.is_terminal or event.kind != "admitted":
            return
        now = time.monotonic()
        if state.best_id != self._best or now - self._said >= _PLAIN_EVERY:
            self._best, self._said = state.best_id, now
            self._console.print(self._line(state), markup=False)

    def _begin(self, state: RunState) -> None:
        info = state.info
        self._begun, self._evals_before = time.monotonic(), state.evals
        self._console.print(info["search"], markup=False)
        for text in info["task"].get("notes", ()):
            self._console.print(f"note: {text}", markup=False)
        workers = info["config"]["workers"]
        self._console.print(
            f"{info['task']['name']}: budget {format_budget(state.limits)}, {workers} worker{'s' if workers > 1 else ''}, "
            f"sandbox {brief(info['sandbox'])}, run {info['run']}",
            markup=False,
        )

    def _rate(self, state: RunState) -> float:
        return (state.evals - self._evals_before) / max(1e-9, time.monotonic() - self._begun)

    def _left(self, state: RunState) -> str:
        spent = {**state.spent, "seconds": state.seconds_before + time.monotonic() - self._begun}
        left = {unit: max(0.0, limit - spent.get(unit, 0.0)) for unit, limit in state.limits.items()}
        return ", ".join(f"${amount:.2f}" if unit == "usd" else f"{amount:.0f} {unit}" for unit, amount in left.items())

    def _line(self, state: RunState) -> str:
        failures = f", failed {sum(state.failures.values())}" if state.failures else ""
        asked = f", {self._asked(state)}" if state.info.get("model") else ""
        return f"[{state.evals} evaluations] best {self._scores(state)} ({state.best_id}){failures}{asked}, left {self._left(state)}"

    def _asked(self, state: RunState) -> str:
        calls, spent = state.calls, state.spent
        cost = f", ${spent['usd']:.4f}" if "usd" in spent else ""
        return f"{calls.requests} calls, {calls.replies} replies, {'at most ' if calls.bounded else ''}{calls.tokens:.0f} tokens{cost}"

    def _scores(self, state: RunState) -> str:
        best = state.best
        return ", ".join(f"{name} {value:.6g}" for name, value in best.confirmed.items()) if best else "-"

    def _picture(self) -> Any:
        state = self._state
        if state is None:
            return "loading the task"
        table = Table.grid(padding=(0, 2))
        seed = ", ".join(f"{value:.6g}" for value in state.seed.confirmed.values()) if state.seed else "-"
        table.add_row("best so far", f"{self._scores(state)}  (seed {seed})")
        table.add_row("evaluations", f"{state.evals}  ({self._rate(state):.1f}/s, {state.duplicates} duplicates for free)")
        table.add_row("front", str(len(state.front)))
        table.add_row("failures", ", ".join(f"{kind} {n}" for kind, n in state.failures.most_common()) or "none")
        if state.info.get("model"):
            table.add_row("models", self._asked(state))
        table.add_row("left", self._left(state))
        return table
