"""The workflow that people already have, improved in ten lines: rows in, a better workflow and its proof out."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

from agentopt import api, loading, models, settings
from agentopt.api import OptimizerSpec
from agentopt.core.budget import parse_budget
from agentopt.core.chat import ChatModel
from agentopt.core.errors import ConfigError, RunFailed, StoreError, TaskError
from agentopt.core.fold import RunState, fold
from agentopt.core.protocols import Wish
from agentopt.core.task import Limits, Objective, Parameter, Task
from agentopt.engine.foreground import Interruptible, run_sync
from agentopt.engine.plan import Observer
from agentopt.pipeline.discover import How, adapted, first_pass, objectives_of, refuse_failed
from agentopt.pipeline.report import Optimized
from agentopt.pipeline.rows import Data, check_calls, read_data
from agentopt.pipeline.tally import Tally
from agentopt.results import Result
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from agentopt.trace.params import Param
from agentopt.trace.trainable import CodeParam

__all__ = ["OptimizeOptions", "aoptimize", "optimize"]

_WORKERS = 8
_SECONDS = 300.0
_WITH_A_MODEL, _WITHOUT = "optoprime", "memetic"
_UNCOUNTED = {
    "anthropic": "anthropic",
    "boto3": "boto3",
    "cohere": "cohere",
    "google-genai": "google.genai",
    "mistralai": "mistralai",
    "ollama": "ollama",
}
"""Clients of models that are not hooked, by the module that shows that they are in use."""
_PASSED_ON = ("archive", "llm", "target", "patience", "evaluation", "sandbox", "unsafe", "on_event")


class OptimizeOptions(TypedDict, total=False):
    """What can be said beside the workflow, its data, its score and the budget."""

    params: Iterable[Param]
    """Parameters that the first rows might not read."""
    goal: str
    """What is wanted, in words for the optimizer; default: the workflow's docstring."""
    optimizer: OptimizerSpec
    model: str | ChatModel
    """Who is asked for better values, as in ``evolve``; default: AGENTOPT_MODEL."""
    workers: int
    """Rows tried at once; default 8. With 1, ``random`` and numpy are seeded for every row."""
    rng_seed: int
    out: str | Path | None
    """The run folder. A run that is there already goes on. None keeps the run in memory."""
    seconds: float
    """Deadline of one row; default 300."""
    floor: float
    """The worst score there is: what a row counts on which the workflow fails. Default: 0, if all scores of the first pass lie in 0 to 1;
    otherwise one failed row fails a candidate."""
    repeats: int
    noisy: bool
    """Whether the same values may score differently each time: leads are tested on fresh runs then."""
    archive: str | Mapping[str, Any]
    llm: Mapping[str, Any]
    target: float
    patience: int
    evaluation: Mapping[str, Any]
    sandbox: str
    """Of code parameters, as in ``evolve``."""
    unsafe: bool
    allow_unmetered: bool
    """Whether a budget in USD may go together with clients of models whose calls cannot be counted."""
    on_event: Observer


Score = Callable[[Any, Any], Any]


def optimize(
    pipeline: Callable[..., Any], data: Sequence[Any] | Mapping[str, Any], score: Score, *, budget: str, **options: Unpack[OptimizeOptions]
) -> Optimized:
    """Improve the parameters that ``pipeline`` reads, until the budget is spent, and prove it on rows that the search never saw.

    A dict row is the keyword arguments of ``pipeline`` (its keys ``expected``, ``answer`` and ``label`` are left to ``score``), a pair is
    (input, expected), any other row is the one argument. ``score(row, output)`` gives a number or truth value, more is better; or
    (number, text for the optimizer), a ``Score``, or a mapping of numbers. Both functions may be async.

    The first pass, over at most 20 of the rows that the search gets, finds the parameters; it is the first part of what the seed takes, in
    rollouts and in calls of models. Ctrl-C ends the run cleanly. Raises UserError for bad input (nothing is left on disk then) and
    RunFailed when the run cannot go on; but one that found something better before it failed is returned, with the status ``failed``.
    Where an event loop is running already, as in a notebook, await ``aoptimize``.
    """
    instead = "await agentopt.pipeline.optimize.aoptimize(...)"
    return run_sync(lambda interruptible: _optimize(_Wanted(pipeline, data, score, budget, options), interruptible), instead)


async def aoptimize(
    pipeline: Callable[..., Any], data: Sequence[Any] | Mapping[str, Any], score: Score, *, budget: str, **options: Unpack[OptimizeOptions]
) -> Optimized:
    """``optimize`` for callers that already run an event loop; cancel it to stop, a run with a folder can go on."""
    return await _optimize(_Wanted(pipeline, data, score, budget, options), lambda loop: None)


class _Wanted:
    """What the user asks for, with every default in its place. Raises ConfigError for what cannot be."""

    def __init__(self, pipeline: Callable[..., Any], data: Any, score: Score, budget: str, options: OptimizeOptions) -> None:
        if unknown := sorted(set(options) - set(OptimizeOptions.__annotations__)):
            raise ConfigError(
                f"optimize: the option {unknown[0]!r} is unknown; the options are: {', '.join(OptimizeOptions.__annotations__)}"
            )
        for name, function in (("pipeline", pipeline), ("score", score)):
            if not callable(function):
                raise TaskError(f"{name} is a {type(function).__name__}; give a function")
        self.pipeline, self.data, self.score, self.budget, self.options = pipeline, data, score, budget, options
        self.limits = parse_budget(budget)
        self.workers = options.get("workers", _WORKERS)
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigError(f"workers is {self.workers!r}; give a whole number of at least 1")
        out = options.get("out")
        self.out = Path(out) if out else None

    @property
    def name(self) -> str:
        name = getattr(self.pipeline, "__name__", type(self.pipeline).__name__)
        return name if name.isidentifier() else "pipeline"

    @property
    def goal(self) -> str:
        """Empty where nobody said it."""
        own = inspect.getdoc(self.pipeline) if inspect.isroutine(self.pipeline) else None
        return self.options.get("goal") or (own or "").partition("\n\n")[0]

    @property
    def wish(self) -> Wish:
        """Of the boxes of code parameters."""
        return Wish(self.options.get("sandbox", "auto"), self.options.get("unsafe", False))

    def tally(self) -> Tally:
        """Raises ConfigError for an unusable setting of models."""
        config = settings.validate({"llm": dict(self.options.get("llm", {}))})
        return Tally(self.limits, models.pricing_of(config), config.llm.max_output_tokens)

    def unmetered(self, calls: int) -> str:
        """What a reader has to know of calls that nobody counts. Raises ConfigError where they would pass by a budget in USD."""
        clients = ", ".join(name for name, module in _UNCOUNTED.items() if module in sys.modules)
        if not clients:
            return ""
        if "usd" in self.limits and not calls and not self.options.get("allow_unmetered"):
            raise ConfigError(
                f"budget: {clients} is loaded, whose calls cannot be counted, and the workflow made no call that can; if it makes none, or "
                "you mean it, give allow_unmetered=True"
            )
        return f"calls through {clients}, if there were any, are in no count: unmetered"

    def task(self, data: Data) -> Task:
        """The task but for what the first pass finds."""
        functions = {"pipeline": self.pipeline, "score": adapted(self.score, data.rows)}
        seconds = self.options.get("seconds", _SECONDS)
        return Task(
            self.name,
            goal=self.goal,
            cases=data.cases,
            limits=Limits(seconds=seconds, score_seconds=seconds),
            repeats=self.options.get("repeats", 1),
            noisy=self.options.get("noisy", False),
            functions=functions,
        )


async def _optimize(wanted: _Wanted, interruptible: Interruptible) -> Optimized:
    before = _run_in(wanted.out)
    rng_seed = before.info["config"]["rng_seed"] if before else wanted.options.get("rng_seed", 0)
    data = read_data(wanted.data, rng_seed)
    train = data.cases["train"]
    check_calls(wanted.pipeline, data.cases)
    task = wanted.task(data)
    names = frozenset(before.info["seed_values"]) if before else frozenset[str]()
    how = How(wanted.workers, rng_seed, wanted.wish, wanted.tally(), names)
    found = await first_pass(task, train, wanted.options.get("params", ()), how)
    task.parameters = {name: param.parameter() for name, param in found.params.items()}
    task.trusted = [name for name, param in found.params.items() if isinstance(param, CodeParam) and param.trust]
    task.functions["known"] = found
    notes = [data.note, wanted.unmetered(how.tally.calls)]
    if before:
        run = _go_on(wanted, task, before, interruptible)
    else:
        task.objectives = objectives_of(found, wanted.options.get("floor"))
        _settle_failures(task)
        if task.on_case_failure == "fail":
            refuse_failed(found)
        options, note = _search(wanted, task)
        notes.append(note)
        run = api.aevolve(task, interruptible=interruptible, **options)
    try:
        result = await run
    except RunFailed as error:
        result = error.found
        if result is None or result.best.id == result.seed.id:
            raise
    return Optimized(result, found.params, tuple(note for note in notes if note))


def _settle_failures(task: Task) -> None:
    """A row on which the workflow fails counts as the worst score, where there is one."""
    task.on_case_failure = "fail" if any(objective.worst is None for objective in task.objectives) else "worst"


def _search(wanted: _Wanted, task: Task) -> tuple[api.EvolveOptions, str]:
    """How to search, and what a reader has to know of it. Raises ConfigError if nothing could be searched."""
    options = cast("dict[str, Any]", wanted.options)
    found: dict[str, Any] = {name: options[name] for name in (*_PASSED_ON, "model", "optimizer") if name in options}
    found |= {"budget": wanted.budget, "workers": wanted.workers, "deterministic": True, "look_ahead": 0}
    found |= {"rng_seed": options.get("rng_seed", 0), "out": wanted.out, "executor": "pipeline"}
    note = ""
    if "model" not in found and not os.environ.get("AGENTOPT_MODEL"):
        # a model learns from each candidate before it gives the next; without one, more are tried where the rows leave workers idle
        rows = len(cast("Mapping[str, Sequence[Any]]", task.cases)["train"]) * task.repeats
        found["look_ahead"] = max(0, wanted.workers // rows - 1)
        if "optimizer" not in found:
            found["optimizer"], note = _WITHOUT, _without_a_model(task.resolved)
    found.setdefault("optimizer", _WITH_A_MODEL)
    return cast("api.EvolveOptions", found), note


def _without_a_model(parameters: Mapping[str, Parameter]) -> str:
    """What is left as it is. Raises ConfigError if that is everything."""
    texts = [name for name, parameter in parameters.items() if parameter.kind == "prompt" and parameter.trainable]
    if not any(parameter.trainable and parameter.kind != "prompt" for parameter in parameters.values()):
        raise ConfigError(
            f"no model is named, and nothing but a model can improve {', '.join(texts) or 'these parameters'}; give "
            "model='openai:NAME' or set AGENTOPT_MODEL"
        )
    return f"no model is named, so {', '.join(texts)} stayed as written" if texts else ""


# --- going on


def _run_in(out: Path | None) -> RunState | None:
    """The run that is in the folder already."""
    if out is None or not is_run_folder(out):
        return None
    store = SqliteStore.open(out, read_only=True)
    try:
        state = fold(store.read())
    finally:
        store.close()
    if not state.info or state.info["config"]["executor"] != "pipeline":
        raise StoreError(f"{out}: it holds a run of something else than a workflow; give another folder")
    return state


async def _go_on(wanted: _Wanted, task: Task, before: RunState, interruptible: Interruptible) -> Result:
    """Raises StoreError if the workflow, its parameters or its data are others than those that the run began with."""
    options = wanted.options
    names = [parameter["name"] for parameter in before.info["task"]["parameters"]]
    if missing := sorted(set(names) - task.parameters.keys()):
        raise StoreError(
            f"{wanted.out}: the run has the parameter {missing[0]!r}, which the workflow does not read any more; give another folder"
        )
    seed = before.info["seed_values"]
    task.parameters = {name: replace(task.resolved[name], initial=seed[name]) for name in names}
    task.objectives = [Objective(**about) for about in before.info["task"]["objectives"]]
    _settle_failures(task)
    if loading.fingerprint(task, loading.make_cases(task)) != before.info["fingerprint"]:
        raise StoreError(f"{wanted.out}: it holds the run of another workflow, other data or another score; give another folder")
    given: dict[str, Any] = {}
    if not isinstance(optimizer := options.get("optimizer"), str | Mapping):
        given["optimizer"] = optimizer
    if not isinstance(model := options.get("model"), str):
        given["model"] = model
    assert wanted.out
    budget = None if wanted.limits == before.limits else wanted.limits
    return await api.aresume(wanted.out, budget=budget, task=task, on_event=options.get("on_event"), interruptible=interruptible, **given)
