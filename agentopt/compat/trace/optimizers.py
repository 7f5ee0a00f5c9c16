"""Trace's optimizers over ours: ``zero_feedback``, ``backward`` and ``step``, with the log, the budget and the resuming of a run.

What is different: a reply that changes nothing is asked for again, and a run ends with its budget, which gives the parameters their best
values. Without scores these are the newest, as in Trace.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from agentopt.compat.trace.called import as_model
from agentopt.core.errors import ConfigError
from agentopt.pipeline.stepper import Step, Stepper
from agentopt.store.layout import is_run_folder
from agentopt.trace.params import Param

__all__ = ["OPRO", "OptoPrime", "OptoPrimeMulti", "OptoPrimeV2"]

_WITHOUT_EFFECT = frozenset(
    {
        "config_list",
        "experts_list",
        "filter_dict",
        "highlight_variables",
        "ignore_extraction_error",
        "include_example",
        "initial_var_char_limit",
        "json_keys",
        "llm_profiles",
        "log",
        "optimizer_prompt_symbol_set",
        "prompt_symbols",
        "propagator",
        "selector",
        "temperature_min_max",
        "truncate_expression",
    }
)
"""Arguments of Trace's that are known and change nothing here."""
_SPREADS = {"temperature_variation": "temperature", "iterative_alternatives": "alternatives", "multi_experts": "experts"}
_COMBINES = {"best_of_n": "each", "moa": "merge"}


class RunOptions(TypedDict, total=False):
    """What Trace does not have: the run behind the steps."""

    budget: str
    out: str | Path | None
    """Default: in memory."""
    rng_seed: int


class OptoPrime:
    """A language model that reads the graph of what ran, and what was said of it, and changes ``parameters``.

    ``llm`` is a function ``llm(messages=[...])``, the spec of a model (``openai:NAME``) or a chat model; default: AGENTOPT_MODEL. The
    run begins at the first step, so ``objective``, the text of what is to be done, may be set until then.
    """

    default_objective: ClassVar[str] = (
        "Change the values of the variables in #Variables so that the output becomes better, as #Feedback says of it."
    )
    _fixed: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        parameters: Iterable[Any],
        llm: Any = None,
        *,
        objective: str | None = None,
        memory_size: int = 0,
        max_tokens: int | None = None,
        use_json_object_format: bool = False,
        **options: Any,
    ) -> None:
        """Raises ConfigError for parameters and options that cannot be used. Options of Trace's without a meaning here are warned of."""
        self.parameters = list({id(_param_of(node)): node for node in parameters}.values())
        self.llm = llm
        self.objective = objective or self.default_objective
        self.memory_size = memory_size
        self._options = {"memory": memory_size, "start": "latest", "reply": "json" if use_json_object_format else "xml", **self._fixed}
        if max_tokens is not None:
            self._options["max_output_tokens"] = max_tokens
        self._run = self._run_options(options)
        self._named = _distinct(map(_param_of, self.parameters))
        self._stepper: Stepper | None = None
        out = self._run.get("out")
        if out and is_run_folder(Path(out)):
            _ = self.stepper  # the candidate that was being tried is applied before the user goes on

    def _run_options(self, options: dict[str, Any]) -> RunOptions:
        """What is left is for the run, or without effect."""
        name = type(self).__name__
        for given in sorted(set(options) & _WITHOUT_EFFECT):
            warnings.warn(f"{name}: {given} has no effect here", stacklevel=3)
        run = RunOptions(**{given: value for given, value in options.items() if given in RunOptions.__annotations__})
        if unknown := sorted(set(options) - set(run) - _WITHOUT_EFFECT):
            raise ConfigError(
                f"{name}: the argument {unknown[0]!r} is unknown; beside Trace's there are {', '.join(RunOptions.__annotations__)}"
            )
        return run

    @property
    def stepper(self) -> Stepper:
        """The run behind this optimizer."""
        if self._stepper is None:
            run: dict[str, Any] = {"out": None, "name": type(self).__name__.lower(), **self._run}
            model = as_model(self.llm)
            optimizer = {"name": "optoprime", "options": self._options}
            given = {} if model is None else {"model": model}
            self._stepper = Stepper(self._named.values(), optimizer=optimizer, goal=self.objective, **given, **run)
        return self._stepper

    @property
    def parameter_dict(self) -> dict[str, Any]:
        """The parameters by name."""
        return {param.name: node for param, node in zip(self._named.values(), self.parameters, strict=True)}

    def zero_feedback(self) -> None:
        """Forget what was said of the parameters since the last step."""
        for param in self._named.values():
            param.feedback.clear()

    def backward(self, node: Any, feedback: Any = "", **options: Any) -> Any:
        """Say of ``node`` how good it is; as ``node.backward(feedback)``."""
        return node.backward(feedback, **options)

    def step(self, bypassing: bool = False, verbose: bool | str = False) -> dict[Any, Any]:
        """New values of the parameters, by parameter; with ``bypassing`` they are not set.

        In an event loop that loop stands still meanwhile. Raises as ``Stepper.step``.
        """
        before = {name: param.parameter().initial for name, param in self._named.items()}
        step = self.stepper.blocking_step()
        if verbose:
            sys.stdout.write(f"{_story(step)}\n")
        changed = {node: step.changed[name][1] for name, node in self.parameter_dict.items() if name in step.changed}
        if bypassing:
            for name in step.changed:
                self._named[name].set(before[name])
        return changed

    def propose(self, verbose: bool | str = False) -> dict[Any, Any]:
        """``step`` that sets nothing; ``update`` does that."""
        return self.step(bypassing=True, verbose=verbose)

    def update(self, update_dict: Mapping[Any, Any]) -> None:
        """Set parameters to what ``propose`` gave. Feedback on other values than those is refused by the next step."""
        names = {id(node): name for name, node in self.parameter_dict.items()}
        for node, value in update_dict.items():
            self._named[names[id(node)]].set(value)

    def close(self) -> None:
        """End the run's thread."""
        if self._stepper is not None:
            self._stepper.close()


class OptoPrimeV2(OptoPrime):
    """OptoPrime. Replies in XML are its form here anyway."""


class OptoPrimeMulti(OptoPrime):
    """Several answers to each question: tried one after another, a step each (``best_of_n``), or made one by one call more (``moa``)."""

    def __init__(
        self,
        parameters: Iterable[Any],
        llm: Any = None,
        *,
        num_responses: int = 3,
        generation_technique: str = "temperature_variation",
        selection_technique: str = "best_of_n",
        **options: Any,
    ) -> None:
        """Raises ConfigError, also for a technique that is not there."""
        super().__init__(parameters, llm, **options)
        self._options |= {
            "candidates": num_responses,
            "spread": _choice("generation_technique", generation_technique, _SPREADS),
            "combine": _choice("selection_technique", selection_technique, _COMBINES),
        }


class OPRO(OptoPrime):
    """Only values and what was said of them, the best last; no graph."""

    default_objective = "Come up with new values of the variables that get better feedback."
    _fixed: ClassVar[Mapping[str, Any]] = {"graph": False, "recall": "best"}

    def __init__(self, parameters: Iterable[Any], llm: Any = None, *, memory_size: int = 20, **options: Any) -> None:
        super().__init__(parameters, llm, memory_size=memory_size, **options)


def _choice(option: str, given: str, known: Mapping[str, str]) -> str:
    if given not in known:
        raise ConfigError(f"OptoPrimeMulti: {option} is {given!r}; it must be one of {', '.join(known)}")
    return known[given]


def _param_of(node: Any) -> Param:
    param = node if isinstance(node, Param) else getattr(node, "param", None)
    if not isinstance(param, Param):
        raise ConfigError(f"parameters holds a {type(node).__name__}; make it a parameter with node(value, trainable=True)")
    return param


def _distinct(params: Iterable[Param]) -> dict[str, Param]:
    """By name; of two with one name the second is given another."""
    found: dict[str, Param] = {}
    for param in params:
        name, count = param.name, 1
        while param.name in found:
            param.name, count = f"{name}_{count}", count + 1
        found[param.name] = param
    return found


def _story(step: Step) -> str:
    lines = [str(step), *([step.rationale] if step.rationale else [])]
    return "\n".join(lines + [f"{name} = {after!r}" for name, (_, after) in step.changed.items()])
