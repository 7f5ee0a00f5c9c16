"""What came of improving a workflow: the proof, the cost, the changes, and how to keep them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from agentopt.core.errors import ConfigError, ConsentError, RunFailed
from agentopt.core.task import Value, Values
from agentopt.results import Result
from agentopt.trace.params import Param

__all__ = ["Best", "Optimized", "load_params"]

_FORMAT = "agentopt parameters"


@dataclass(frozen=True)
class Best:
    """The best candidate's values, and the parameters they are for."""

    values: Values
    params: Mapping[str, Param]

    def apply(self, trust: bool = False) -> None:
        """From here on the parameters have these values.

        Raises ConsentError for code that a model wrote, unless ``trust`` says that it was looked at; nothing is set then.
        """
        _set(self.params.values(), self.values, trust, "look at .diffs and call .best.apply(trust=True)")


def _set(params: Iterable[Param], values: Values, trust: bool, way: str) -> None:
    changed = [param for param in params if param.name in values and param.parameter().initial != values[param.name]]
    code = [param.name for param in changed if param.kind == "code" and not getattr(param, "trust", False)]
    if code and not trust:
        raise ConsentError(f"{', '.join(code)} is code that this process would run with your rights; {way} if you trust it")
    for param in changed:
        param.set(values[param.name])


@dataclass(frozen=True)
class Optimized:
    """A run that improved a workflow, finished or not. ``notes`` are what a reader has to know, a sentence each."""

    result: Result
    params: Mapping[str, Param]
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> Best:
        """Raises RunFailed if the run was stopped before anything had a score."""
        if self.result.best is None:
            raise RunFailed(f"no candidate has a score ({self.result.status}: {self.result.why})")
        return Best(self.result.best.values, self.params)

    @cached_property
    def diffs(self) -> dict[str, str]:
        """Name -> what changed, of each parameter that did: a unified diff of texts, ``0.7 -> 0.3`` of other values."""
        found = self.result
        if found.best is None or found.seed is None:
            return {}
        before, after = found.seed.values, found.best.values
        return {name: _diff(name, before[name], after[name]) for name in after if before[name] != after[name]}

    def report(self) -> str:
        """Status, held-out score with its interval, cost, and what changed."""
        lines = [self.result.report(), *self._held_out(), *self.notes, *self._warnings(), _cost(self.result)]
        if not self.diffs:
            lines.append("nothing changed: the workflow is as it was")
        return "\n".join([*lines, *self.diffs.values()])

    def _held_out(self) -> list[str]:
        best, seed = self.result.best, self.result.seed
        if not (best and seed and best.test and seed.test) or best.id == seed.id:
            return []
        n = self.result.cases.get("test", 0)
        return [f"held out ({n} rows): {name} {seed.test[name]:.6g} -> {best.test[name]:.6g}" for name in best.test if name in seed.test]

    def _warnings(self) -> list[str]:
        return [f"warning: {text}" for text in self.result.summary.get("warnings", ())]

    def save(self, path: str | Path) -> None:
        """The best values as JSON, for ``load_params``."""
        best = self.best
        held = {name: {"kind": best.params[name].kind, "value": value} for name, value in best.values.items()}
        text = json.dumps({"format": _FORMAT, "parameters": held}, indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def __str__(self) -> str:
        return self.report()


def load_params(path: str | Path, params: Iterable[Param] = (), trust: bool = False) -> dict[str, Value]:
    """The values that ``Optimized.save`` wrote, by name; ``params`` are given theirs.

    Raises ConfigError for a file that is none of that, or has no value for one of ``params``; ConsentError as ``Best.apply`` does.
    """
    try:
        found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(found, dict) or cast("dict[str, Any]", found).get("format") != _FORMAT:
        raise ConfigError(f"{path}: it holds no parameters; give a file that .save() wrote")
    try:
        values = {name: held["value"] for name, held in cast("dict[str, dict[str, Any]]", found["parameters"]).items()}
    except (KeyError, TypeError, AttributeError):
        raise ConfigError(f"{path}: its 'parameters' are not as .save() writes them; give a file that nobody changed") from None
    given = list(params)
    if missing := [param.name for param in given if param.name not in values]:
        raise ConfigError(f"{path}: it has no value for the parameter {missing[0]!r}; it has {', '.join(values)}")
    _set(given, values, trust, "look at the file and give trust=True")
    return values


def _diff(name: str, before: Value, after: Value) -> str:
    if not (isinstance(before, str) and isinstance(after, str)):
        return f"{name}: {json.dumps(before)} -> {json.dumps(after)}"
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"{name} (before)", f"{name} (best)", lineterm="")
    return "\n".join(lines)


def _cost(result: Result) -> str:
    """The optimizer's calls and those that the workflow made itself."""
    spent = result.spent
    rollouts = f"{spent.get('rollouts', 0):.0f} calls of the workflow"
    if not spent.get("calls"):
        return f"cost: no model was asked; {rollouts}"
    usd = f"${spent['usd']:.4f}" if "usd" in spent else "USD unknown"
    asked = sum(arm["calls"] for arm in result.summary.get("arms", {}).values())
    own = f"{spent['calls'] - asked:.0f} by the workflow itself"
    return f"cost: {spent['calls']:.0f} calls of models ({own}), {spent['tokens']:.0f} tokens, {usd}; {rollouts}"
