"""What is to be improved: parameters, objectives, cases and the two functions that run and score a candidate.

Reading files is the business of ``agentopt.loading``; here a task is data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

from agentopt.core.errors import TaskError

__all__ = [
    "NEEDS",
    "RESERVED_NAMES",
    "SPLITS",
    "Case",
    "Cases",
    "Kind",
    "Limits",
    "Measure",
    "Objective",
    "Parameter",
    "Score",
    "Task",
    "Value",
    "Values",
]

Kind = Literal["prompt", "code", "config", "value"]
Value = Any
"""A str (prompt, code), a JSON mapping (config), or a number, bool or str (value)."""
Values = Mapping[str, Value]
SPLITS = ("train", "validation", "test")
NEEDS = ("tree_kill", "memory_bound", "clean_environment", "no_network", "no_files", "no_processes")
"""What a task may ask of the sandbox."""
RESERVED_NAMES = frozenset({"feedback", "measures", "artifacts"})
_DEFAULT_ENTRY = "\0name"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """A named trainable piece of a candidate.

    ``entry`` names the object that ``program.<name>`` gives for Python code (default: the parameter's name; ``None`` gives the module).
    ``path`` places code at that relative path in the box so that files can import each other.
    ``space`` bounds numbers: ``{"field": (low, high)}`` for a config, ``{"": (low, high)}`` for a value; a list of choices is allowed.
    ``constraint`` says in words what every value has to keep to; ``project`` sees to it: it is called with each proposed value, and what
    it returns is tried in its place. Its ValueError refuses the value, with its message. Projecting twice must be as projecting once.
    """

    name: str
    kind: Kind
    initial: Value
    language: str = "python"
    entry: str | None = _DEFAULT_ENTRY
    path: str | None = None
    description: str = ""
    space: Mapping[str, Any] | None = None
    trainable: bool = True
    constraint: str = ""
    project: Callable[[Value], Value] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.entry == _DEFAULT_ENTRY:
            object.__setattr__(self, "entry", self.name)
        if not self.name.isidentifier():
            raise TaskError(f"parameter name {self.name!r} is not a Python identifier; rename it")
        if self.kind not in ("prompt", "code", "config", "value"):
            raise TaskError(f"parameter {self.name!r}: kind {self.kind!r} is not one of prompt, code, config, value")
        if self.kind in ("prompt", "code") and not isinstance(self.initial, str):
            raise TaskError(f"parameter {self.name!r}: a {self.kind} parameter needs text, not {type(self.initial).__name__}")
        if self.kind == "config" and not isinstance(self.initial, Mapping):
            raise TaskError(f"parameter {self.name!r}: a config parameter needs a mapping, not {type(self.initial).__name__}")

    @property
    def is_python(self) -> bool:
        return self.kind == "code" and self.language == "python"

    def holds(self, value: Value) -> bool:
        """Is ``value`` of a type that a parameter of this kind may have?"""
        types = {"prompt": str, "code": str, "config": Mapping}
        return isinstance(value, types.get(self.kind, bool | int | float | str))


@dataclass(frozen=True)
class Objective:
    """One thing to minimise or maximise.

    ``source="outside"`` takes the score from the box's guard instead of the scorer: ``quantity`` is ``wall`` (s), ``cpu`` (s) or
    ``peak_bytes``. ``floor`` and ``ceiling`` are values no honest score can pass.
    """

    name: str
    direction: Literal["min", "max"] = "max"
    source: Literal["scorer", "outside"] = "scorer"
    quantity: Literal["wall", "cpu", "peak_bytes"] = "wall"
    reference: float | None = None
    floor: float | None = None
    ceiling: float | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in RESERVED_NAMES:
            raise TaskError(f"objective name {self.name!r} is not usable; take a Python identifier other than {sorted(RESERVED_NAMES)}")
        if self.direction not in ("min", "max"):
            raise TaskError(f"objective {self.name!r}: direction {self.direction!r} is not 'min' or 'max'")
        if self.source not in ("scorer", "outside"):
            raise TaskError(f"objective {self.name!r}: source {self.source!r} is not 'scorer' or 'outside'")
        if self.quantity not in ("wall", "cpu", "peak_bytes"):
            raise TaskError(f"objective {self.name!r}: quantity {self.quantity!r} is not 'wall', 'cpu' or 'peak_bytes'")

    @property
    def worst(self) -> float | None:
        """The worst value an honest candidate can have, if the task declares it."""
        return self.floor if self.direction == "max" else self.ceiling

    def better(self, a: float, b: float) -> bool:
        return a < b if self.direction == "min" else a > b


@dataclass(frozen=True)
class Measure:
    """A behaviour descriptor in ``[low, high]``, cut into ``bins`` by archives that keep diversity."""

    name: str
    low: float
    high: float
    bins: int = 10


@dataclass(frozen=True)
class Case:
    """One problem instance or data row; ``expected`` never enters the box.

    ``cost`` is what it costs beside the others: evaluations in stages begin with the cheap ones.
    """

    id: str
    input: Any
    expected: Any = None
    cost: float = 1.0


@dataclass(frozen=True)
class Limits:
    """What one candidate may use; a limit passed is a failure of the candidate."""

    seconds: float = 10.0
    """Wall seconds per rollout, the loading of the candidate included."""
    memory_mb: int = 1024
    """Memory the candidate may add to the box."""
    printed_mb: float = 16.0
    """What it may print over its life; the first 64 KiB are kept."""
    output_mb: float = 64.0
    """Size of one returned output."""
    artifacts_mb: float = 1.0
    """Size of all artifacts of one rollout together: they stay in the run's log."""
    file_mb: float = 64.0
    """Size of one file it writes in its scratch folder."""
    scratch_mb: float = 256.0
    """Size of all files in its scratch folder together, on top of the task's box_files. The folder may lie in memory."""
    score_seconds: float = 60.0
    """Wall seconds the scorer may take for one output."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise TaskError(f"limits.{name} is {value!r}; it must be a number above 0")


@dataclass(frozen=True, init=False)
class Score:
    """What ``score`` returns: a number per objective, and text and measures for the optimizer.

    ``Score(excess=0.02, feedback="bins 3 and 9 ended half empty")``
    """

    scores: Mapping[str, float]
    feedback: str = ""
    measures: Mapping[str, float] = field(default_factory=dict[str, float])

    def __init__(self, /, *, feedback: str = "", measures: Mapping[str, float] | None = None, **scores: float) -> None:
        object.__setattr__(self, "scores", dict(scores))
        object.__setattr__(self, "feedback", feedback)
        object.__setattr__(self, "measures", dict(measures or {}))


CasesSource = Mapping[str, Sequence[Case]] | Callable[[str, Random], Sequence[Case] | None]
Cases = Mapping[str, tuple[Case, ...]]
"""Cases by split; a split without cases is absent."""


@dataclass(eq=False)
class Task:
    """A task file's one object. ``@task.run`` and ``@task.score`` complete it.

    ``parameters`` maps a name to a file beside the task, source text, a plain value or a ``Parameter``; ``loading`` turns
    them into Parameters. ``cases`` is a table per split or a function ``(split, rng) -> cases``.
    """

    name: str
    goal: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    objectives: Sequence[Objective] = ()
    cases: CasesSource | None = None
    measures: Sequence[Measure] = ()
    imports: Sequence[str] = ()
    """Modules the box imports before the candidate, once for all candidates."""
    box_files: Sequence[str] = ()
    """Files beside the task that ``run`` may read or import in the box."""
    build: Sequence[str] = ()
    """The compiler and its arguments, run once per candidate: ``["g++", "-O2", "-o", "solve", "solve.cpp"]``."""
    command: Sequence[str] = ()
    """The program and its arguments, run once per case in place of ``run``: ``["./solve"]``.

    The case's input is its stdin, text or bytes, or ``{"stdin": ..., "args": [...]}``; its stdout, as text, is the output.
    """
    sees: Sequence[str | tuple[str, str]] = ()
    """Absolute paths of the machine that a program of ``command`` may read, such as an interpreter's packages.

    They are found at their own place; a path and the place where it is found otherwise is a pair.
    """
    self_judged: bool = False
    """Whether what runs in the box judges the candidate there and ``score`` only reads its verdict: then results are *self-reported*."""
    trusted: Sequence[str] = ()
    """Code parameters of a workflow that run in the user's own process, without walls: results are stamped L0."""
    notes: Sequence[str] = ()
    """What a user should know before a run, a sentence each."""
    needs: Sequence[str] = ()
    """Walls without which the task does not run, out of ``NEEDS``."""
    limits: Limits = field(default_factory=Limits)
    repeats: int = 1
    noisy: bool = False
    """Whether the same candidate may score differently with another ``rng_seed``. Then leads are tested before they count."""
    aggregate: Callable[[Sequence[Mapping[str, float]]], Mapping[str, float]] | None = None
    on_case_failure: Literal["fail", "worst"] = "fail"
    fresh_per_case: bool = False
    case_seed: int = 0
    budget: str | None = None
    """The budget when nobody names one."""
    folder: Path | None = None
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]], repr=False)
    files: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Per parameter that was read from a file beside the task: that file, relative to ``folder``. Filled by ``loading``."""

    def run(self, function: _Function) -> _Function:
        """Register ``run(program, input[, ctx]) -> output``; it works inside the box, beside the candidate."""
        self.functions["run"] = function
        return function

    def score(self, function: _Function) -> _Function:
        """Register ``score(case, output, measured) -> Score``; it works outside, where the candidate cannot reach.

        ``measured.rng_seed`` is the rollout's: with it ``score`` draws the random instance that ``run`` drew.
        """
        self.functions["score"] = function
        return function

    def evaluate(self, function: _Function) -> _Function:
        """Register ``evaluate(program) -> scores``; it works wholly in the box, so its results are *self-reported*."""
        self.functions["evaluate"] = function
        return function

    def warm(self, function: _Function) -> _Function:
        """Register ``warm()``; it works once before boxes are forked: imports and tables that all candidates share. No threads, no GPU."""
        self.functions["warm"] = function
        return function

    @property
    def self_reported(self) -> bool:
        """Whether a candidate could forge its scores."""
        return self.self_judged or "evaluate" in self.functions

    @property
    def resolved(self) -> Mapping[str, Parameter]:
        """The parameters as Parameter objects; only after ``loading.complete``."""
        for name, value in self.parameters.items():
            if not isinstance(value, Parameter):
                raise TaskError(f"task {self.name!r}: parameter {name!r} was not resolved; load the task with agentopt.load_task")
        return self.parameters

    @property
    def seed_values(self) -> dict[str, Value]:
        return {name: parameter.initial for name, parameter in self.resolved.items()}

    @property
    def has_code(self) -> bool:
        return any(parameter.kind == "code" for parameter in self.resolved.values())

    def make_cases(self) -> Cases:
        """All splits' cases, each from its own random stream. Raises TaskError when they cannot be used."""
        if self.cases is None:
            table: dict[str, Sequence[Case] | None] = {"train": (Case("all", None),)} if "evaluate" in self.functions else {}
        elif callable(self.cases):
            table = {split: self.cases(split, Random(f"{self.case_seed}:cases:{split}")) for split in SPLITS}
        else:
            unknown = sorted(set(self.cases) - set(SPLITS))
            if unknown:
                raise TaskError(f"task {self.name!r}: cases has the unknown split {unknown[0]!r}; use {', '.join(SPLITS)}")
            table = dict(self.cases)
        cases = {split: tuple(table[split] or ()) for split in SPLITS if table.get(split)}
        self._check_cases(cases)
        return cases

    def _check_cases(self, cases: Cases) -> None:
        if not cases.get("train"):
            raise TaskError(f"task {self.name!r} has no train case; give cases={{'train': [Case(...)]}} or a function (split, rng)")
        seen: set[str] = set()
        for split, members in cases.items():
            for case in members:
                if not isinstance(case, Case):
                    raise TaskError(f"task {self.name!r}: {split} holds a {type(case).__name__}; cases are agentopt.Case objects")
                if isinstance(case.cost, bool) or not isinstance(case.cost, int | float) or not 0 < case.cost < inf:
                    raise TaskError(f"task {self.name!r}: case {case.id!r} has cost {case.cost!r}; it must be a number above 0")
                if case.id in seen:
                    raise TaskError(f"task {self.name!r}: two cases have the id {case.id!r}; ids are unique over all splits")
                seen.add(case.id)

    def check(self) -> None:
        """Raise TaskError, naming the fix, unless the task is complete."""
        where = f"task {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise TaskError(f"the task's name is {self.name!r}; give it a non-empty string")
        if not self.parameters:
            raise TaskError(f"{where} has no parameters; give parameters={{'name': 'seed.py'}}")
        if not self.objectives:
            raise TaskError(f"{where} has no objectives; give objectives=[Objective('score', 'max')]")
        for objective in self.objectives:
            if not isinstance(objective, Objective):
                raise TaskError(f"{where}: objectives holds a {type(objective).__name__}; use agentopt.Objective")
        names = [objective.name for objective in self.objectives]
        if len(set(names)) != len(names):
            raise TaskError(f"{where}: two objectives have one name; names are unique")
        if not isinstance(self.limits, Limits):
            raise TaskError(f"{where}: limits is a {type(self.limits).__name__}; use agentopt.Limits")
        if not isinstance(self.repeats, int) or self.repeats < 1:
            raise TaskError(f"{where}: repeats is {self.repeats!r}; it must be a whole number of at least 1")
        if unknown := sorted(set(self.needs) - set(NEEDS)):
            raise TaskError(f"{where}: needs names {unknown[0]!r}; a task may need {', '.join(NEEDS)}")
        self._check_functions(where)

    def _check_functions(self, where: str) -> None:
        if not isinstance(self.noisy, bool):
            raise TaskError(f"{where}: noisy is {self.noisy!r}; it is True or False")
        if self.on_case_failure not in ("fail", "worst"):
            raise TaskError(f"{where}: on_case_failure is {self.on_case_failure!r}; it is 'fail' or 'worst'")
        if self.on_case_failure == "worst" and any(objective.worst is None for objective in self.objectives):
            raise TaskError(f"{where}: on_case_failure='worst' needs a floor (max) or ceiling (min) on every objective")
        if self.command or self.build:
            self._check_program(where)
        if not set(self.functions) - {"warm"}:
            raise TaskError(f"{where} has neither run nor score; decorate two functions with @task.run and @task.score")
        if "evaluate" in self.functions and set(self.functions) & {"run", "score"}:
            raise TaskError(f"{where} has evaluate beside run or score; keep either evaluate or the pair")
        if "run" in self.functions and "score" not in self.functions:
            raise TaskError(f"{where} has run but no score; decorate a function (case, output, measured) with @task.score")

    def _check_program(self, where: str) -> None:
        for key, words in (("command", self.command), ("build", self.build)):
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word and "\0" not in word for word in words):
                raise TaskError(f"{where}: {key} is {words!r}; give a list of words, none of them empty: ['./solve', '--fast']")
        if not self.command:
            raise TaskError(f"{where} has build but no command; name the program that is built: command=['./solve']")
        for key in ("run", "evaluate", "warm"):
            if key in self.functions:
                raise TaskError(f"{where} has {key} beside command; the program is what runs, so keep only score")
        if "score" not in self.functions:
            raise TaskError(f"{where} has command but no score; decorate a function (case, output, measured) with @task.score")
        if self.imports:
            raise TaskError(f"{where} has imports beside command; a program imports by itself")
        paths = [path for seen in self.sees for path in ((seen,) if isinstance(seen, str) else seen)]
        if relative := [path for path in paths if not path.startswith("/")]:
            raise TaskError(f"{where}: sees names {relative[0]!r}; give absolute paths")
