"""The engine's settings and the parts it drives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import Archive, Executor, Optimizer, Store, TaskCard
from agentopt.engine.journal import Journal
from agentopt.engine.metering import Metering
from agentopt.engine.schedule import Schedule

__all__ = ["Observer", "Parts", "Plan"]

Observer = Callable[[Event, RunState], None]


@dataclass(frozen=True)
class Plan:
    """How a run goes about its work; all of it is in the log."""

    rng_seed: int = 0
    deterministic: bool = True
    look_ahead: int = 0
    """Proposals made beyond the free slots."""
    target: float | None = None
    """Stop when the best's first objective is at least this good."""
    patience: int | None = None
    """Stop after this many evaluations without a better best."""
    last_look: Callable[[], str] = lambda: ""
    """Called before ``stopped``: what a reader of the result has to know, or nothing."""


@dataclass(frozen=True)
class Parts:
    """Everything concrete, put together by ``agentopt.api``."""

    card: TaskCard
    schedule: Schedule
    optimizer: Optimizer
    archive: Archive
    executor: Executor
    store: Store
    chat: Journal | None = None
    meter: Metering | None = None
    """Counts the calls of models that rollouts make themselves."""
