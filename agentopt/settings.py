"""One validated schema for everything that can be set: flags > ``--set`` > run.toml > task > defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentopt.core.errors import ConfigError

__all__ = [
    "DEFAULT_BUDGET",
    "Boxing",
    "Calling",
    "Evaluating",
    "Plugin",
    "RunConfig",
    "layer",
    "parse_assignments",
    "read_toml",
    "validate",
    "with_optimizer",
]

DEFAULT_BUDGET = "60s"
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)


_WITH_A_MODEL = "auto"
_DEFAULT_PARTS = {"optimizer": {"name": "memetic"}, "archive": {"name": "pareto"}}


class Plugin(BaseModel):
    """A replaceable part by name, and its options."""

    model_config = _STRICT

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Calling(BaseModel):
    """How models are called. Seconds, counts and tokens; None means no limit."""

    model_config = _STRICT

    base_url: str | None = None
    price: str | None = None
    """USD per million tokens of input and output: ``0.15,0.60``."""
    record: str | None = None
    """A cassette to which every reply is added."""
    retries: Annotated[int, Field(ge=0, le=100)] = 4
    timeout: Annotated[float, Field(gt=0)] = 300.0
    relay_seconds: Annotated[float, Field(gt=0)] = 3600.0
    """How long a relay waits for its answer."""
    agent_seconds: Annotated[float, Field(gt=0)] = 1800.0
    """How long an agent (``command:``) may take for an answer."""
    agent_allow: list[str] = Field(default_factory=list)
    """What an agent may read beside its own folder; ``PATH:rw`` to write there too."""
    agent_env: list[str] = Field(default_factory=list)
    """Variables that an agent gets."""
    unsafe_agent: bool = False
    """An agent runs without a box."""
    concurrency: Annotated[int, Field(ge=1)] = 16
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] = 8192
    """Sent with a budget in tokens or USD, unless the optimizer, or the workflow that calls a model itself, asks for less."""
    prices: dict[str, str] = Field(default_factory=dict)
    """Of models that a workflow calls itself: name -> USD per million tokens of input and output, ``"0.15,0.60"``."""
    choose: Literal["weighted", "bandit"] = "weighted"
    prompts: str | None = None
    """A folder whose templates take the place of the package's."""
    prompt_tokens: Annotated[int, Field(ge=100)] = 24_000


class Boxing(BaseModel):
    """What boxes are made of."""

    model_config = _STRICT

    python: str | None = None
    """The interpreter, or the virtual environment, for a command that starts a Python."""


class Evaluating(BaseModel):
    """What evaluations may save, and how sure a kept improvement is (``engine/rules.py``). None: on where the task is ``noisy``."""

    model_config = _STRICT

    cascade: bool = False
    race: bool | None = None
    duel: bool | None = None
    same_output: bool = False
    first_stage: Annotated[int, Field(ge=2)] = 4
    risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    false_kept: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    duel_repeats: Annotated[int, Field(ge=1)] = 8
    duel_reuse: Annotated[int, Field(ge=1)] = 4


class RunConfig(BaseModel):
    """Everything a run can be told. The resolved values are in the log."""

    model_config = _STRICT

    budget: str = DEFAULT_BUDGET
    optimizer: Plugin = Plugin(name=_DEFAULT_PARTS["optimizer"]["name"])
    archive: Plugin = Plugin(name=_DEFAULT_PARTS["archive"]["name"])
    executor: str = "auto"
    sandbox: Literal["auto", "L0", "L1", "L2"] = "auto"
    unsafe: bool = False
    allow_weak_sandbox: bool = False
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    rng_seed: int = 0
    deterministic: bool | None = None
    look_ahead: Annotated[int, Field(ge=0, le=1024)] | None = None
    target: float | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    select: str | None = None
    repeats: Annotated[int, Field(ge=1)] | None = None
    limits: dict[str, float] = Field(default_factory=dict)
    evaluation: Evaluating = Evaluating()
    model: str | None = None
    llm: Calling = Calling()
    box: Boxing = Boxing()

    def resolved(self, one_at_a_time: bool) -> RunConfig:
        """With every automatic choice made. Objectives measured outside are measured with one worker."""
        workers = self.workers or (1 if one_at_a_time else usable_cores())
        deterministic = workers == 1 if self.deterministic is None else self.deterministic
        window = workers - 1 if deterministic else 1
        look_ahead = window if self.look_ahead is None else self.look_ahead
        box = Boxing(python=os.path.abspath(os.path.expanduser(self.box.python))) if self.box.python else self.box
        return self.model_copy(update={"workers": workers, "deterministic": deterministic, "look_ahead": look_ahead, "box": box})


def usable_cores() -> int:
    """Cores this process may run on, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, cores)


def read_toml(path: Path) -> dict[str, Any]:
    """A config file as a mapping. Raises ConfigError naming the file."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the config file cannot be read ({error.strerror}); check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """``["optimizer.options.sigma=0.3", "workers=2"]`` -> nested mapping. Values are TOML, or else plain text."""
    found: dict[str, Any] = {}
    for text in assignments:
        dotted, equals, given = text.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set {text!r} is not key=value; write for example --set workers=2")
        value = _toml_value(given.strip())
        if keys[0] in _DEFAULT_PARTS and len(keys) == 1 and isinstance(value, str):
            keys.append("name")  # so that its options can be set beside it
        place = found
        for key in keys[:-1]:
            inner: Any = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {text!r} sets a key inside a plain value; give {dotted!r} once")
            place = cast("dict[str, Any]", inner)
        place[keys[-1]] = value
    return found


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def layer(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later mappings over earlier ones, tables merged key by key. ``optimizer = "name"`` is short for a table with that name."""
    merged: dict[str, Any] = {}
    for settings in layers:
        for key, value in settings.items():
            if key in _DEFAULT_PARTS and isinstance(value, str):
                value = {"name": value}
            before: Any = merged.get(key)
            tables = isinstance(before, dict) and isinstance(value, dict)
            merged[key] = layer(before, value) if tables else value  # pyright: ignore[reportUnknownArgumentType]
    return merged


def _fields_beside(place: Sequence[int | str]) -> Mapping[str, object]:
    if len(place) < 2:
        return RunConfig.model_fields
    tables: Mapping[int | str, type[BaseModel]] = {"llm": Calling, "box": Boxing, "evaluation": Evaluating}
    return tables.get(place[0], Plugin).model_fields


def with_optimizer(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings with the optimizer that is the default where a model is named."""
    return layer({"optimizer": _WITH_A_MODEL}, settings) if settings.get("model") else settings


def validate(settings: Mapping[str, Any], where: str = "settings") -> RunConfig:
    """Raises ConfigError that names the key, what is wrong and what would be right."""
    try:
        return RunConfig.model_validate(layer(_DEFAULT_PARTS, settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _fields_beside(first["loc"])
            raise ConfigError(f"{where}: the key {key!r} is unknown; the keys are: {', '.join(sorted(known))}") from None
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ConfigError(f"{where}: {key} is {first['input']!r}; {message}") from None
