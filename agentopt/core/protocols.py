"""The seams. Everything that can be replaced is one of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, runtime_checkable

from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.chat import ChatReply, ChatRequest, Prompt
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission, Entry, Rollout
from agentopt.core.events import Event
from agentopt.core.metering import Meter
from agentopt.core.task import Cases, Limits, Measure, Objective, Parameter, Task

__all__ = [
    "Answer",
    "Archive",
    "ArchiveContext",
    "Chat",
    "Executor",
    "ExecutorContext",
    "Exhausted",
    "ManySession",
    "Noting",
    "ObservesRefusals",
    "Optimizer",
    "OptimizerContext",
    "Prompts",
    "RankingArchive",
    "Refused",
    "Session",
    "Store",
    "TaskCard",
    "View",
    "Wait",
    "Wish",
]


@dataclass(frozen=True)
class Wait:
    """ "Ask me again after the next observation." Legal only while a candidate is pending."""


@dataclass(frozen=True)
class Exhausted:
    """ "There is nothing more to propose", and why."""

    why: str


@dataclass(frozen=True)
class Refused:
    """The model's reply was unusable; ``memo`` as in Proposal. Its ``arm``, if there is one, names the part that was asked."""

    kind: str
    memo: Mapping[str, Any] = field(default_factory=dict[str, Any])


Answer = Sequence[Proposal] | Wait | Exhausted | Refused


@dataclass(frozen=True)
class TaskCard:
    """What an optimizer may know of a task: no validation, no test, nothing expected."""

    name: str
    goal: str
    parameters: Mapping[str, Parameter]
    objectives: tuple[Objective, ...]
    measures: tuple[Measure, ...] = ()
    inputs: tuple[Any, ...] = ()
    """The train inputs."""
    limits: Limits | None = None
    """What one candidate may use; None where nothing is known of it."""
    imports: tuple[str, ...] = ()
    """Modules that are sure to be there."""
    cases: tuple[str, ...] = ()
    """The ids of the train cases, in the order of ``inputs``; empty where nothing is known of them."""


@runtime_checkable
class View(Protocol):
    """What an optimizer sees of a run while it proposes. Read-only."""

    @property
    def task(self) -> TaskCard: ...
    @property
    def pending(self) -> Sequence[Candidate]: ...
    @property
    def budget_left(self) -> Mapping[str, float]:
        """Per limited unit (``seconds``, ``evals``, ``rollouts``, ``calls``, ``tokens``, ``usd``) what is left for the search.

        All but the seconds follow from the log, so an ask that is asked again after a crash sees what it saw.
        """
        ...

    def sample(self, n: int, rng: Random) -> Sequence[Entry]: ...
    def front(self) -> Sequence[Entry]: ...
    def entry(self, candidate_id: str) -> Entry | None:
        """Any candidate told so far, read from the log; None if there is no such candidate."""
        ...

    def texts(self, entry: Entry, limit: int) -> Mapping[str, str]:
        """What its search rollouts left behind beside scores, name -> text of at most ``limit`` characters.

        ``printed`` is what the first failed rollout, or else the last, printed; the others are its artifacts, as far as they are UTF-8.
        """
        ...

    def traces(self, entry: Entry) -> Iterator[tuple[Rollout, bytes]]:
        """Its search rollouts that were traced, each with the trace as ``trace.jsonl`` reads it; read from the log one by one."""
        ...


@runtime_checkable
class Optimizer(Protocol):
    """Proposes candidates and observes what came of them. Touches neither disk nor archive."""

    async def propose(self, view: View, n: int, rng: Random) -> Answer:
        """At most ``n`` proposals. All randomness comes from ``rng``."""
        ...

    def observe(self, entry: Entry, admission: Admission) -> None:
        """Deterministic: called for every candidate told, in log order, also on resume. The seed comes first."""
        ...


@runtime_checkable
class ObservesRefusals(Protocol):
    """An optimizer that also wants to know of its own ``Refused`` answers."""

    def observe_refusal(self, refused: Refused) -> None:
        """Deterministic, called in log order among the calls of ``observe``, also on resume."""
        ...


@runtime_checkable
class Chat(Protocol):
    """The run's models, as an optimizer asks them: each call is paid from the budget and in the log before its reply is used."""

    @property
    def models(self) -> Sequence[str]:
        """Names, as they were given: ``openai:gpt-4o-mini``."""
        ...

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        """A reply by one of the models. The same content and ``sample`` get the reply that was paid for before.

        Raises ModelError and BudgetSpent; an optimizer lets both pass. Legal only in ``propose``; ``rng`` is the one given there, and
        with it ``sample=rng.getrandbits(31)`` makes a sample of its own.
        """
        ...

    def only(self, model: str) -> Chat:
        """The same with one of its models alone. Raises ConfigError for a name that is not in ``models``."""
        ...


@runtime_checkable
class Prompts(Protocol):
    """Templates by step, from the package or the user's folder."""

    def render(self, step: str, slots: Mapping[str, str]) -> Prompt:
        """Raises ConfigError for a step or slot that is not there, and when the template alone is over the token budget."""
        ...


@dataclass(frozen=True)
class OptimizerContext:
    """What an optimizer's factory gets.

    ``child(name, options, chat)`` builds another optimizer, for compositions; ``chat`` is the one it asks. ``archive(name, options)``
    builds an archive of the optimizer's own, which it fills in ``observe``; the run's archive is another. ``chat`` is None when no model
    is named. ``prompts`` are the optimizer's own templates.
    """

    task: TaskCard
    options: Mapping[str, Any]
    child: Callable[[str, Mapping[str, Any], Chat | None], Optimizer]
    archive: Callable[[str, Mapping[str, Any]], Archive]
    chat: Chat | None = None
    prompts: Prompts | None = None


@runtime_checkable
class Archive(Protocol):
    """Keeps the best trade-offs. In memory, no I/O. Failed entries are told too, and answered ``failed``."""

    def admits(self, entry: Entry) -> bool:
        """Would this entry reach the front, as far as its search scores tell? Changes nothing."""
        ...

    def add(self, entry: Entry) -> Admission:
        """Decides by ``entry.confirmed``."""
        ...

    def sample(self, n: int, rng: Random) -> Sequence[Entry]:
        """``n`` entries to breed from, with repetition when there are fewer; empty when nothing has a score."""
        ...

    def front(self) -> Sequence[Entry]:
        """The non-dominated entries, oldest first."""
        ...

    def get(self, candidate_id: str) -> Entry | None:
        """The entry if the archive still holds it."""
        ...


class RankingArchive(Archive, Protocol):
    """An archive whose front is drawn by scores alone, so that evaluations may be cut short and leads be tested.

    Other archives are never told entries that are ``provisional``: a niche might take one for want of a better.
    """

    def shelve(self, entry: Entry) -> None:
        """Keep a provisional entry to breed from, off the front."""
        ...

    def rescore(self, entry: Entry) -> None:
        """A member of the front is scored better now; of others there is nothing to do."""
        ...


def _no_child(name: str, options: Mapping[str, Any]) -> Archive:
    raise ConfigError(f"the archive is made of others and cannot have {name!r}: give ArchiveContext a child")


@dataclass(frozen=True)
class ArchiveContext:
    """What an archive's factory gets. ``child(name, options)`` builds another archive, for those that hold several.

    Without one given, ``child`` raises ConfigError.
    """

    objectives: tuple[Objective, ...]
    measures: tuple[Measure, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    child: Callable[[str, Mapping[str, Any]], Archive] = _no_child


@runtime_checkable
class Session(Protocol):
    """One candidate's box with its scorer."""

    async def rollout(self, case_id: str, repeat: int, rng_seed: int) -> Rollout:
        """Never raises for the candidate's doing. After a failure that ended the box, the next call opens a new one."""
        ...

    async def close(self) -> None:
        """Ends the box and everything it started. May be called twice."""
        ...


class ManySession(Session, Protocol):
    """A session that can do several rollouts at once, which saves ways when each is short."""

    async def rollouts(self, jobs: Sequence[tuple[str, int, int]]) -> Sequence[Rollout]:
        """The first of ``(case_id, repeat, rng_seed)``, and as many of those after it as the session likes, in order.

        Those after one that failed may be missing or there: the engine takes what it needs. An ``infrastructure`` failure stands alone.
        """
        ...


@runtime_checkable
class Executor(Protocol):
    """Where candidates run. ``capacity`` is how many sessions may be open at once; ``sandbox`` the level, alone or with its walls."""

    @property
    def capacity(self) -> int: ...
    @property
    def sandbox(self) -> str: ...
    async def open(self, candidate: Candidate) -> Session: ...
    async def close(self) -> None: ...


class Noting(Executor, Protocol):
    """An executor that has something to say of the run as a whole."""

    def take_notes(self) -> Sequence[str]:
        """What a reader of the result has to know, once each."""
        ...


@dataclass(frozen=True)
class Wish:
    """What the user asks of the sandbox: a level or "auto", and what they consent to. ``strangers``: code from elsewhere will run."""

    level: str = "auto"
    unsafe: bool = False
    allow_weak: bool = False
    strangers: bool = False


@dataclass(frozen=True)
class ExecutorContext:
    """What an executor's factory gets. ``put`` keeps bytes (what a candidate printed) and returns their digest."""

    task: Task
    cases: Cases
    capacity: int = 1
    put: Callable[[bytes], str] = lambda data: ""
    wish: Wish = Wish()
    meter: Meter | None = None
    """Counts the calls of models that rollouts make themselves, in this process."""


@runtime_checkable
class Store(Protocol):
    """The log and the blobs of one run. One writer (the process that holds the lock), any number of readers."""

    def append(self, kind: str, data: Mapping[str, Any]) -> Event:
        """Durable against kill -9 on return; against power loss too for ``events.PAID_KINDS``."""
        ...

    def read(self, after: int = 0, subject: str | None = None) -> Iterator[Event]:
        """Events with ``seq > after`` in order, chain verified; only those about candidate ``subject`` if given (not verified)."""
        ...

    def put(self, data: bytes) -> str:
        """Keep bytes under their content's digest."""
        ...

    def get(self, digest: str) -> bytes: ...
    def close(self) -> None: ...
