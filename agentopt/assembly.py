"""From a task and its settings to the parts of a run, and to the row that describes them in the log."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from agentopt import __version__, models, plugins
from agentopt.core.budget import parse_budget
from agentopt.core.chat import ChatModel
from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.events import SCHEMA
from agentopt.core.fold import RunState
from agentopt.core.metering import Meter
from agentopt.core.protocols import (
    Archive,
    ArchiveContext,
    Chat,
    Executor,
    ExecutorContext,
    Optimizer,
    OptimizerContext,
    Store,
    TaskCard,
    Wish,
)
from agentopt.core.selection import ordered_objectives
from agentopt.core.task import Cases, Limits, Parameter, Task
from agentopt.engine.plan import Parts, Plan
from agentopt.engine.racing import discovery_level
from agentopt.engine.replay import read_entry
from agentopt.engine.rules import Rules
from agentopt.engine.schedule import Schedule
from agentopt.loading import fingerprint, make_cases
from agentopt.results import value_text
from agentopt.sandbox.interpreter import find_python, is_python, paths_of
from agentopt.sandbox.levels import beside, choose
from agentopt.settings import RunConfig

__all__ = ["Job", "adjust", "file_name", "files_of", "rules_of"]

_WITHOUT_MODEL = "no model named: searching with {}, no language model involved"
_NO_MODEL = {"memetic": "mutate + tune"}


def adjust(task: Task, config: RunConfig) -> Task:
    """The task with the limits, the repeats and the Python that the settings override. Raises ConfigError."""
    known = Limits.__dataclass_fields__
    for key in config.limits:
        if key not in known:
            raise ConfigError(f"limits.{key} is unknown; the limits are: {', '.join(known)}")
    try:
        limits = replace(task.limits, **config.limits)
    except TaskError as error:
        raise ConfigError(str(error)) from None
    task = replace(task, limits=limits, repeats=config.repeats or task.repeats)
    return _with_python(task, config.box.python) if config.box.python else task


def _with_python(task: Task, given: str) -> Task:
    if not task.command or not is_python(task.command[0]):
        raise ConfigError(f"--python {given}: task {task.name!r} has no command that starts a Python, so there is nothing to run with it")
    python = find_python(given)
    ours = paths_of(task.command[0]) if task.command[0].startswith("/") else ()
    sees = [*(path for path in task.sees if path not in ours), *paths_of(python)]
    return replace(task, command=[python, *task.command[1:]], sees=sees)


def rules_of(task: Task, config: RunConfig) -> Rules:
    """What evaluations may save. Raises ConfigError for a rule that cannot hold for the task or the archive."""
    ranking = hasattr(plugins.resolve("archives", config.archive.name), "shelve")
    parts, alone = task.aggregate is None, len(task.objectives) == 1
    race, duel = config.evaluation.race, config.evaluation.duel
    automatic = task.noisy and ranking and parts
    rules = Rules(
        cascade=config.evaluation.cascade,
        race=automatic if race is None else race,
        duel=automatic and alone if duel is None else duel,
        same_output=config.evaluation.same_output,
        first_stage=config.evaluation.first_stage,
        risk=config.evaluation.risk,
        false_kept=config.evaluation.false_kept,
        duel_repeats=config.evaluation.duel_repeats,
        duel_reuse=config.evaluation.duel_reuse,
    )
    if (rules.staged or rules.duel) and not parts:
        raise ConfigError(
            "evaluation: the task adds up its cases by its own aggregate, of which some cases say nothing; set no race, duel, cascade"
        )
    if rules.duel and not (alone and ranking):
        raise ConfigError("evaluation.duel: duels need one objective and an archive that ranks by it, such as pareto; set it to false")
    if rules.same_output and (task.noisy or any(objective.source == "outside" for objective in task.objectives)):
        raise ConfigError("evaluation.same_output: equal outputs are equal scores only without noise and times; set it to false")
    return rules


@dataclass(frozen=True)
class Job:
    """A task with settings and cases: everything a run needs but a store."""

    task: Task
    cases: Cases
    config: RunConfig
    card: TaskCard
    fingerprint: str
    optimizer: Any = None
    """An Optimizer or a factory of one, when it was given as an object."""
    strangers: bool = False
    """Whether code comes from elsewhere than the task."""
    model: ChatModel | None = None
    """A model that was given as an object."""

    @classmethod
    def of(cls, task: Task, config: RunConfig, optimizer: Any = None, strangers: bool = False, model: ChatModel | None = None) -> Job:
        cases = make_cases(task)
        ordered_objectives(task.objectives, config.select)
        inputs = tuple(case.input for case in cases["train"])
        described = (task.name, task.goal, task.resolved, tuple(task.objectives), tuple(task.measures))
        limits = None if "listen" in task.functions else task.limits  # nobody bounds what the user runs
        card = TaskCard(*described, inputs, limits, tuple(task.imports), tuple(case.id for case in cases["train"]))
        return cls(task, cases, config, card, fingerprint(task, cases), optimizer, strangers, model)

    @property
    def budget(self) -> dict[str, float]:
        return parse_budget(self.config.budget)

    @property
    def schedule(self) -> Schedule:
        return Schedule.of(self.task, self.cases, rules_of(self.task, self.config))

    @property
    def executor_name(self) -> str:
        if self.config.executor != "auto":
            return self.config.executor
        task = self.task
        if "pipeline" in task.functions:
            return "pipeline"
        return "boxed" if task.has_code or task.self_reported or task.needs or task.command else "worker"

    @property
    def plan(self) -> Plan:
        config = self.config
        return Plan(
            rng_seed=config.rng_seed,
            deterministic=bool(config.deterministic),
            look_ahead=config.look_ahead or 0,
            target=config.target,
            patience=config.patience,
            last_look=self._last_look,
        )

    def _last_look(self) -> str:
        """The judge works from what was loaded at the start. If the files are others now, that must be known."""
        try:
            same = fingerprint(self.task, self.cases) == self.fingerprint
        except OSError:
            same = False
        return "" if same else "the task's files changed while the run went on; its scores are those of the files as they were"

    def check_budget(self) -> None:
        """Raises ConfigError if a counted unit cannot fit the seed, one child and the test split."""
        size, rules = self.schedule.size, self.schedule.rules
        pairs = len(self.cases[self.schedule.duel_split]) * rules.duel_repeats
        if rules.duel and 2.0**-pairs > discovery_level(1, (), rules.false_kept):
            raise ConfigError(f"evaluation.duel_repeats: {pairs} pairs of rollouts can never prove a lead; give more repeats")
        candidate, test = self.schedule.most, size("test")
        needed = {"evals": 2, "rollouts": 2 * candidate + 2 * test}
        for unit, least in needed.items():
            if self.budget.get(unit, least) < least:
                raise ConfigError(
                    f"budget: {self.budget[unit]:.0f}{unit} cannot fit the seed, one child and the test split; give at least {least}{unit}"
                )

    def parts(self, store: Store, limits: Mapping[str, float] | None = None) -> Parts:
        """The live parts. ``limits`` are those of the whole run, if it got more. Raises ConfigError for unknown names or options."""
        own = "pipeline" in self.task.functions
        chat = models.journal_of(self.config, self.budget if limits is None else limits, self.model, own)
        archive = self._archive(self.config.archive.name, self.config.archive.options)
        meter = models.metering_of(self.config) if own else None
        executor = self.executor(store.put, meter)
        return Parts(self.card, self.schedule, self._optimizer(chat), archive, executor, store, chat, meter)

    def _optimizer(self, chat: Chat | None) -> Optimizer:
        name, given, options = self.config.optimizer.name, self.optimizer, _flat(self.config.optimizer.options)

        def build(name: str, options: Mapping[str, Any], chat: Chat | None) -> Optimizer:
            return plugins.resolve("optimizers", name)(context(name, options, chat))

        def context(name: str, options: Mapping[str, Any], chat: Chat | None) -> OptimizerContext:
            prompts = models.prompts_of(self.config, name) if chat else None
            return OptimizerContext(self.card, options, build, self._archive, chat, prompts)

        if given is None:
            return build(name, options, chat)
        return given if hasattr(given, "propose") and not isinstance(given, type) else given(context(name, options, chat))

    def _archive(self, name: str, options: Mapping[str, Any]) -> Archive:
        return plugins.resolve("archives", name)(ArchiveContext(self.card.objectives, self.card.measures, options, self._archive))

    @property
    def wish(self) -> Wish:
        return Wish(self.config.sandbox, self.config.unsafe, self.config.allow_weak_sandbox, self.strangers)

    @property
    def sandbox(self) -> str:
        """The level and its walls. Raises UserError if it cannot be had or needs consent."""
        name = self.executor_name
        if name == "pipeline":
            return beside(self.task, self.wish, name)
        return choose(self.task, self.wish).text if name == "boxed" else name

    def executor(self, put: Callable[[bytes], str], meter: Meter | None = None) -> Executor:
        """The executor that the settings or the task ask for."""
        context = ExecutorContext(self.task, self.cases, self.config.workers or 1, put, self.wish, meter)
        return plugins.resolve("executors", self.executor_name)(context)

    def describe(self, run: str, source: str | None) -> dict[str, Any]:
        """The data of ``run_started``."""
        task = self.task
        name = self.config.optimizer.name
        return {
            "schema": SCHEMA,
            "version": __version__,
            "run": run,
            "source": _absolute(source),
            "fingerprint": self.fingerprint,
            "task": {
                "name": task.name,
                "goal": task.goal,
                "objectives": [asdict(objective) for objective in task.objectives],
                "measures": [asdict(measure) for measure in task.measures],
                "parameters": [
                    {"name": p.name, "kind": p.kind, "file": file_name(p), "source_file": task.files.get(p.name)}
                    for p in task.resolved.values()
                ],
                "cases": {split: len(members) for split, members in self.cases.items()},
                "repeats": task.repeats,
                "noisy": task.noisy,
                "self_reported": task.self_reported,
                "notes": list(task.notes),
            },
            "seed_values": task.seed_values,
            "config": self.config.model_dump(),
            "budget": self.budget,
            "model": self.config.model,
            "search": models.describe(self.config) if self.config.model else _WITHOUT_MODEL.format(_NO_MODEL.get(name, name)),
            "sandbox": self.sandbox,
            "host": {"machine": platform.machine(), "system": platform.system(), "kernel": platform.release(), "cores": os.cpu_count()},
            "python": platform.python_version(),
        }


def _flat(options: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """``{"tune": {"sigma": 0.5}}``, as a dotted key comes from a file or ``--set``, -> ``{"tune.sigma": 0.5}``."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        found |= _flat(cast("dict[str, Any]", value), f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found


def _absolute(source: str | None) -> str | None:
    """The task's name on the command line such that it means the same from any folder."""
    if source is None:
        return None
    path, colon, attribute = source.rpartition(":")
    if colon and os.path.exists(path):
        return f"{os.path.abspath(path)}:{attribute}"
    return os.path.abspath(source) if os.path.exists(source) else source


def file_name(parameter: Parameter) -> str:
    """The name under which a parameter is written in ``best/``."""
    if parameter.path:
        return parameter.path
    suffix = {"config": ".json", "value": ".json", "prompt": ".txt"}.get(parameter.kind)
    return parameter.name + (suffix or {"python": ".py", "cpp": ".cpp", "c": ".c"}.get(parameter.language, f".{parameter.language}"))


def files_of(state: RunState, store: Store) -> dict[str, str]:
    """File name -> text of the best candidate's parameters."""
    entry = read_entry(store.read(subject=state.best_id), store.get)
    if entry is None:
        return {}
    files = {parameter["name"]: parameter["file"] for parameter in state.info["task"]["parameters"]}
    return {files[name]: value_text(value) for name, value in entry.candidate.values.items()}
