"""Parameters and options of a ``Stepper`` -> the task and the settings of a run."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, cast

from agentopt import api, models, settings
from agentopt.core.chat import ChatModel
from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.fold import RunState
from agentopt.core.task import Case, Objective, Parameter, Task
from agentopt.executors.interactive import Listen
from agentopt.trace.params import Param

__all__ = ["StepperOptions", "by_name", "check_same", "engine_options", "heard_by", "objectives_of", "task_of"]

_BUDGET = "1000evals"
_NO_FOLDER = Path(os.devnull)
"""A text that is also the name of a file of the working folder is a text all the same."""


class StepperOptions(TypedDict, total=False):
    """What ``Stepper`` takes beside the parameters. A run that goes on keeps its own settings, all but the budget."""

    goal: str
    """What the workflow is to do, in words for the optimizer."""
    name: str
    """Of the run; default ``stepper``."""
    optimizer: api.OptimizerSpec
    model: str | ChatModel
    budget: str
    """Of the whole run, in however many processes; default 1000 candidates."""
    out: str | Path | None
    """The run folder; a run that is there goes on. Default ``runs/<name>-<time>``; None keeps the run in memory."""
    objectives: Sequence[str | Objective]
    """Default: the scores of the first step, all to be maximised; without any the newest candidate is the best."""
    llm: Mapping[str, Any]
    """How models are called, as in ``agentopt.evolve``."""
    set: Sequence[str]
    """``key=value`` assignments, as in ``agentopt.evolve``."""
    rng_seed: int


_OURS = ("goal", "name", "objectives")


def engine_options(options: StepperOptions) -> dict[str, Any]:
    """Those of ``api.aevolve``, and what makes it stop at each candidate. Raises ConfigError for an unknown one."""
    if unknown := sorted(set(options) - set(StepperOptions.__annotations__)):
        known = ", ".join(StepperOptions.__annotations__)
        raise ConfigError(f"Stepper: the option {unknown[0]!r} is unknown; the options are: {known}")
    given = {key: value for key, value in options.items() if key not in _OURS}
    fixed = {"executor": "interactive", "workers": 1, "deterministic": True, "look_ahead": 0}
    return {"budget": _BUDGET, **given, **fixed}


def by_name(parameters: Iterable[Any]) -> dict[str, Param]:
    """Params, and what has one as its ``param``. Raises ConfigError unless one of them is trainable, and for names that are not unique."""
    found: dict[str, Param] = {}
    for given in parameters:
        param = given if isinstance(given, Param) else getattr(given, "param", None)
        if not isinstance(param, Param):
            raise ConfigError(f"Stepper: parameters holds a {type(given).__name__}; make it one with agentopt.param(value, name=...)")
        if param.name in found:
            raise ConfigError(f"Stepper: two parameters have the name {param.name!r}; names are unique")
        found[param.name] = param
    if not any(param.trainable for param in found.values()):
        raise ConfigError("Stepper: there is no trainable parameter; give at least one agentopt.param(value, name=...)")
    return found


def objectives_of(given: Iterable[str | Objective]) -> tuple[Objective, ...]:
    """Names are objectives to be maximised. Raises ConfigError for a name that cannot be one."""
    try:
        return tuple(Objective(item) if isinstance(item, str) else item for item in given)
    except TaskError as error:
        raise ConfigError(f"Stepper: {error}") from None


def task_of(options: StepperOptions, params: Iterable[Param], objectives: tuple[Objective, ...]) -> Task:
    """One case, which is all that the user does with a candidate between two steps."""
    return Task(
        name=options.get("name", "stepper"),
        goal=options.get("goal", ""),
        parameters={param.name: _copied(param) for param in params},
        objectives=objectives,
        cases={"train": [Case("step", None)]},
        folder=_NO_FOLDER,
    )


def _copied(param: Param) -> Parameter:
    """The seed stays what it is, whatever becomes of a mapping in the user's hands."""
    parameter = param.parameter()
    return replace(parameter, initial=copy.deepcopy(parameter.initial))


def heard_by(task: Task, listen: Listen) -> Task:
    """The task, with who waits for the user."""
    return replace(task, functions={"listen": listen})


def check_same(folder: Path, state: RunState, params: Iterable[Param], options: StepperOptions) -> None:
    """Raises ConfigError when the run in ``folder`` is one of other parameters, or of another optimizer or model than those named."""
    if not state.info:
        return
    theirs = {parameter["name"]: parameter["kind"] for parameter in state.info["task"]["parameters"]}
    ours = {param.name: param.kind for param in params}
    if theirs != ours:
        raise ConfigError(
            f"{folder}: the run there has the parameters {_listed(theirs)}, not {_listed(ours)}; name another folder with out"
        )
    config = state.info["config"]
    begun = config["optimizer"]["name"]
    named = _name_of(options.get("optimizer")) or begun
    if named != begun:
        raise ConfigError(f"{folder}: the run there was begun with the optimizer {begun}, not {named}; name another folder with out")
    model = options.get("model")
    if isinstance(model, str) and (named := models.named(settings.validate({"model": model})).model) != config["model"]:
        raise ConfigError(f"{folder}: the run there asked {config['model'] or 'no model'}, not {named}; name another folder with out")


def _name_of(optimizer: api.OptimizerSpec | None) -> str:
    """As it stands in the log; empty if none is named."""
    if optimizer is None or isinstance(optimizer, str):
        return optimizer or ""
    if isinstance(optimizer, Mapping):
        return str(cast("Mapping[str, Any]", optimizer).get("name", ""))
    return api.object_name(optimizer)


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
