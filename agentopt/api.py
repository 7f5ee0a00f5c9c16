"""evolve, aevolve, resume and load_run: the only place where concrete parts are put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

from agentopt import assembly, loading, models, settings
from agentopt.core.budget import add_budgets, parse_budget
from agentopt.core.chat import ChatModel
from agentopt.core.errors import ConfigError, RunFailed, StoreError, UserError
from agentopt.core.fold import RunState, fold
from agentopt.core.protocols import Optimizer, OptimizerContext
from agentopt.core.task import Task
from agentopt.engine.foreground import Interruptible, run_sync
from agentopt.engine.loop import Loop
from agentopt.engine.plan import Observer, Parts
from agentopt.engine.run import Run
from agentopt.folder import Place, SummaryWriter, new_store, write_summary
from agentopt.results import Result, read_result
from agentopt.sandbox.levels import level_of
from agentopt.store.find import find_run
from agentopt.store.sqlite import SqliteStore

__all__ = ["EvolveOptions", "OptimizerSpec", "aevolve", "aresume", "evolve", "load_run", "object_name", "resume"]

OptimizerSpec = str | Mapping[str, Any] | Optimizer | Callable[[OptimizerContext], Optimizer]


def _never(loop: Loop) -> None:
    """Nobody wants to stop it."""


class EvolveOptions(TypedDict, total=False):
    """What ``evolve`` takes beside the task; the names and values of ``settings.RunConfig``, and where to write."""

    budget: str
    optimizer: OptimizerSpec
    archive: str | Mapping[str, Any]
    executor: str
    sandbox: str
    """``auto``, or a level: L1, L2."""
    unsafe: bool
    """Level L0: no walls at all."""
    allow_weak_sandbox: bool
    """Let code from elsewhere run below level L2."""
    workers: int
    rng_seed: int
    deterministic: bool
    look_ahead: int
    target: float
    patience: int
    select: str
    repeats: int
    limits: Mapping[str, float]
    evaluation: Mapping[str, Any]
    """What evaluations may save: the keys of ``settings.Evaluating``, such as ``{"race": True}``."""
    model: str | ChatModel
    """``openai:NAME`` and its like, several with commas, or a model of your own, asked as it is; default: AGENTOPT_MODEL."""
    llm: Mapping[str, Any]
    """How models are called: the keys of ``settings.Calling``, such as ``{"price": "0.15,0.60"}``."""
    box: Mapping[str, Any]
    """What boxes are made of: the keys of ``settings.Boxing``, such as ``{"python": "path/to/venv"}``."""
    out: str | Path | None
    """The run folder to make; default ``runs/<task>-<time>``. None keeps the run in memory."""
    config: str | Path
    """A TOML file with settings; the keywords here win over it."""
    set: Sequence[str]
    """``key=value`` assignments; they win over ``config``."""
    from_: str | Path
    """A run folder whose best, or a file whose text, is taken as the seed."""
    on_event: Observer
    """Called after every event with the event and the folded state."""


def evolve(task: Task | str | Path, **options: Unpack[EvolveOptions]) -> Result:
    """Search for better candidates of ``task`` until the budget is spent.

    Ctrl-C ends the run cleanly. Raises UserError for bad input (nothing is left on disk then) and RunFailed when the run
    cannot go on. Inside a running event loop use ``aevolve``.
    """
    return run_sync(lambda interruptible: _evolve(task, options, interruptible), "aevolve")


async def aevolve(task: Task | str | Path, *, interruptible: Interruptible = _never, **options: Unpack[EvolveOptions]) -> Result:
    """``evolve`` for callers that already run an event loop; cancel it to stop, the run can be resumed.

    ``interruptible`` is given what may be told to stop early.
    """
    return await _evolve(task, options, interruptible)


def resume(
    run: str | Path,
    *,
    budget: str | None = None,
    task: Task | None = None,
    optimizer: OptimizerSpec | None = None,
    model: ChatModel | None = None,
    on_event: Observer | None = None,
) -> Result:
    """Go on with a run that was killed, interrupted or, with more ``budget``, finished.

    ``task``, ``optimizer`` and ``model`` are needed only for runs that were started with objects instead of names. A finished run without
    more budget is returned as it is. Raises StoreError for a folder that cannot be used.
    """
    return run_sync(
        lambda interruptible: _resume(Path(run), budget, _Given(task, optimizer, model), on_event, interruptible),
        "agentopt.api.aresume",
    )


async def aresume(
    run: str | Path,
    *,
    budget: str | Mapping[str, float] | None = None,
    task: Task | None = None,
    optimizer: OptimizerSpec | None = None,
    model: ChatModel | None = None,
    on_event: Observer | None = None,
    interruptible: Interruptible = _never,
) -> Result:
    """``resume`` for callers that already run an event loop; cancel it to stop, the run can be resumed.

    A ``budget`` by unit is that of the whole run, not what is added to it. ``interruptible`` as in ``aevolve``.
    """
    return await _resume(Path(run), budget, _Given(task, optimizer, model), on_event, interruptible)


def load_run(run: str | Path) -> Result:
    """A run folder as plain objects, finished or not; only reads. Raises StoreError."""
    folder = find_run(Path(run))
    store = SqliteStore.open(folder, read_only=True)
    try:
        return read_result(fold(store.read()), store, folder)
    finally:
        store.close()


# --- starting ----------------------------------------------------------------------------------------------------


async def _evolve(spec: Task | str | Path, options: EvolveOptions, interruptible: Interruptible) -> Result:
    started = time.monotonic()
    task = loading.load_task(spec) if isinstance(spec, str | Path) else loading.complete(spec)
    config, optimizer, model = _configure(task, options)
    task = assembly.adjust(task, config)
    if source := options.get("from_"):
        task = _seed_from(task, Path(source))
    job = assembly.Job.of(task, config, optimizer, strangers=bool(source), model=model)
    job.check_budget()
    place = Place.choose(task, options.get("out", ""))
    try:
        first = job.describe(str(place.folder or task.name), None if isinstance(spec, Task) else str(spec))
    except UserError:
        place.clear()
        raise
    store = new_store(place.folder, first)
    writer = SummaryWriter(place.folder, store, options.get("on_event"))
    try:
        return await _drive(job, job.parts(store), writer, interruptible, started)
    except ConfigError:
        if not writer.paid:
            place.clear()
        raise
    except UserError:
        if not writer.begun:
            place.clear()
        raise
    finally:
        store.close()


async def _resume(
    run: Path,
    budget: str | Mapping[str, float] | None,
    given: _Given,
    on_event: Observer | None,
    interruptible: Interruptible,
) -> Result:
    started = time.monotonic()
    folder = find_run(run)
    store = SqliteStore.open(folder)
    try:
        state = fold(store.read())
        whole = budget if isinstance(budget, Mapping) else state.limits
        more = parse_budget(budget, "--budget") if isinstance(budget, str) else {}
        if state.finished and not more and whole == state.limits:
            write_summary(folder, state, store)
            return read_result(state, store, folder)
        job = _job_of(state, folder, given)
        limits = _more_budget(state, more) if more else dict(whole)
        parts = job.parts(store, limits)  # what is wrong with them is said before anything is added to the log
        store.append("resumed", {"budget": limits})
        return await _drive(job, parts, SummaryWriter(folder, store, on_event), interruptible, started)
    finally:
        store.close()


@dataclass(frozen=True)
class _Given:
    """What was given as an object and cannot be had from the log."""

    task: Task | None
    optimizer: OptimizerSpec | None
    model: ChatModel | None


def _job_of(state: RunState, folder: Path, given: _Given) -> assembly.Job:
    """The parts a logged run was made of. Raises StoreError when they are not the same any more."""
    task, optimizer = given.task, given.optimizer
    if not state.info:
        raise StoreError(f"{folder}: the run ended before it began; start it again with agentopt evolve")
    source = state.info.get("source")
    if task is None and source is None:
        raise StoreError(f"{folder}: the run was started with a Task object; give it again: agentopt.resume(run, task=task)")
    config = settings.validate(state.info["config"], f"{folder}: config")
    loaded = loading.complete(task) if task else loading.load_task(str(source))
    loaded = assembly.adjust(loaded, config)
    loaded.parameters = {
        name: replace(parameter, initial=state.info["seed_values"][name])
        for name, parameter in loaded.resolved.items()
        if name in state.info["seed_values"]
    }
    if config.optimizer.name.startswith("object ") and optimizer is None:
        raise StoreError(
            f"{folder}: the run used the optimizer {config.optimizer.name}; give it again: agentopt.resume(run, optimizer=...)"
        )
    named = config.model or ""
    if (named.startswith(models.OBJECT) or given.model) and named != f"{models.OBJECT}{given.model.name if given.model else ''}":
        raise StoreError(f"{folder}: the run asked {named or 'no model'}; give the same: agentopt.resume(run, model=...)")
    job = assembly.Job.of(
        loaded, config, None if optimizer is None or isinstance(optimizer, str | Mapping) else optimizer, model=given.model
    )
    begun_at = level_of(state.info.get("sandbox", job.sandbox))
    if level_of(job.sandbox) != begun_at:
        raise StoreError(
            f"{folder}: the run was begun at sandbox level {begun_at}, this machine gives {level_of(job.sandbox)}, and scores of unlike "
            f"levels are not mixed; start a new run with --from {folder}"
        )
    if job.fingerprint != state.info["fingerprint"]:
        raise StoreError(
            f"{folder}: the task changed since the run began, so scores would not compare; "
            f"restore {source or 'it'} or start a new run with --from {folder}"
        )
    return job


def _more_budget(state: RunState, more: Mapping[str, float]) -> dict[str, float]:
    """``more`` on top of the limits; a spent limit in a unit that ``more`` does not name is lifted."""
    kept = {
        unit: limit for unit, limit in state.limits.items() if not more or unit in more or not (state.finished and _is_spent(state, unit))
    }
    return add_budgets(kept, more) | {unit: state.counted.get(unit, 0.0) + amount for unit, amount in more.items() if unit not in kept}


def _is_spent(state: RunState, unit: str) -> bool:
    return unit == "seconds" or state.counted.get(unit, 0.0) >= state.limits[unit]


def object_name(optimizer: Any) -> str:
    """How the log names an optimizer that was given as an object."""
    return f"{models.OBJECT}{getattr(optimizer, '__name__', type(optimizer).__name__)}"


def _configure(task: Task, options: EvolveOptions) -> tuple[settings.RunConfig, Any, ChatModel | None]:
    """The validated settings, and the optimizer and the model if they were given as objects."""
    own = {"budget": task.budget} if task.budget else {}
    file = settings.read_toml(Path(options["config"])) if "config" in options else {}
    settings.validate(file, str(options.get("config")))
    assigned = settings.parse_assignments(options.get("set", ()))
    settings.validate(assigned, "--set")
    outside = ("out", "config", "set", "from_", "on_event")
    flags = {key: value for key, value in cast("dict[str, Any]", options).items() if key not in outside and value is not None}
    optimizer = flags.get("optimizer")
    if optimizer is None or isinstance(optimizer, str | Mapping):
        optimizer = None
    else:
        flags["optimizer"] = {"name": object_name(optimizer)}
    model = flags.get("model")
    if model is None or isinstance(model, str):
        model = None
    else:
        flags["model"] = f"{models.OBJECT}{model.name}"
    merged = settings.layer(own, file, assigned, flags)
    config = models.named(settings.validate(merged))
    config = settings.validate(settings.with_optimizer(settings.layer(merged, config.model_dump(include={"model", "llm"}))))
    return config.resolved(any(o.source == "outside" for o in task.objectives)), optimizer, model


def _seed_from(task: Task, source: Path) -> Task:
    """The task with another seed: a run's best, or a file for the one trainable parameter."""
    if source.is_dir():
        best = load_run(source).best
        if best is None:
            raise ConfigError(f"--from {source}: that run has no best candidate yet")
        values: Mapping[str, Any] = best.values
    else:
        names = [name for name, parameter in task.resolved.items() if parameter.trainable]
        if len(names) != 1 or not source.is_file():
            what = (
                f"the task has {len(names)} trainable parameters, so a run folder is needed"
                if source.is_file()
                else "no such file or run folder"
            )
            raise ConfigError(f"--from {source}: {what}")
        values = {names[0]: source.read_text(encoding="utf-8")}
    unknown = set(values) - set(task.resolved)
    if unknown:
        raise ConfigError(f"--from {source}: its parameter {min(unknown)!r} is not one of this task's ({', '.join(task.resolved)})")
    parameters = {name: replace(p, initial=values.get(name, p.initial)) for name, p in task.resolved.items()}
    return replace(task, parameters=parameters)


# --- driving -----------------------------------------------------------------------------------------------------


async def _drive(job: assembly.Job, parts: Parts, writer: SummaryWriter, interruptible: Interruptible, started: float) -> Result:
    store, run = parts.store, Run(parts, job.plan, writer, started)
    loop = Loop(run)
    await loop.restore()
    interruptible(loop)
    try:
        state = await loop.drive(job.task.seed_values)
        writer.write(state)
    except StoreError as error:
        if not writer.begun:
            raise
        raise RunFailed(str(error)) from error  # the input was good: a disk is full, say
    except UserError:
        if writer.paid:
            writer.write(run.state)
        raise
    except BaseException as error:
        with suppress(StoreError):  # the error that is under way says more
            writer.write(run.state)
            if isinstance(error, RunFailed) and run.state.best_id:
                error.found = read_result(run.state, store, writer.folder)
        raise
    if isinstance(store, SqliteStore):
        store.verify()  # below level 2 a candidate can write into the run folder: then the run must not end in silence
    return read_result(state, store, writer.folder)
