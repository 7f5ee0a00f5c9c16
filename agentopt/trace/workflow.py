"""A workflow, tried under a candidate's values: recorded, paid for, in the user's own process."""

from __future__ import annotations

import copy
import inspect
import random
import sys
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from agentopt.core.calls import Bound
from agentopt.core.errors import BudgetSpent
from agentopt.core.metering import METER, PRICES, Meter, Pricing, Ticket
from agentopt.core.running import RUNNER, CodeRunner
from agentopt.core.task import Values
from agentopt.trace.calling import Call, Called, Caller
from agentopt.trace.params import applied
from agentopt.trace.recorder import Trace, record
from agentopt.trace.traced import traced

__all__ = ["Attempt", "Fields", "Guest", "Surroundings", "Workflow", "call_metered", "put"]


class Fields(dict[str, Any]):
    """An input whose items are keyword arguments; any other input is the one argument."""


@dataclass(frozen=True)
class Guest:
    """What a workflow gets that has an argument ``ctx``: random numbers of its own, the same for every candidate on the same row."""

    rng_seed: int
    rng: Random


@dataclass(frozen=True)
class Attempt:
    """One call of a workflow, and its trace."""

    called: Called
    trace: Trace


@dataclass(frozen=True)
class Surroundings:
    """Who calls the code and counts the models of a workflow. ``alone``: nothing else of the process draws random numbers meanwhile."""

    runner: CodeRunner | None = None
    meter: Meter | None = None
    alone: bool = False
    prices: Pricing | None = None


class Workflow:
    """A function with parameters, to be tried with other values for them on many inputs at once.

    ``seconds`` is the deadline of each try.
    """

    def __init__(self, function: Callable[..., Any], seconds: float, caller: Caller) -> None:
        self._function, self._seconds, self._caller = _recorded(function), seconds, caller
        self._takes_guest = "ctx" in _signature(function)

    async def attempt(self, values: Values, given: Any, rng_seed: int, around: Surroundings) -> Attempt:
        """``given`` is Fields, or the one argument. Raises BudgetSpent, and RunFailed as ``Caller.call`` does.

        The trace holds its values as they were then, its output, and its exception.
        """
        traces: list[Trace] = []
        given = _own(given)
        args, kwargs = ((), dict(given)) if isinstance(given, Fields) else ((given,), {})
        if self._takes_guest:
            kwargs.setdefault("ctx", Guest(rng_seed, Random(rng_seed)))

        @contextmanager
        def inside() -> Generator[None]:
            with applied(values), record() as trace, ExitStack() as stack:
                traces.append(trace)
                for name, value in given.items() if isinstance(given, Fields) else [("input", given)]:
                    trace.input(name, value)
                if around.runner:
                    stack.enter_context(put(RUNNER, around.runner))
                if around.prices:
                    stack.enter_context(put(PRICES, around.prices))
                if around.alone:
                    stack.enter_context(_seeded(rng_seed))
                yield

        called = await call_metered(self._caller, Call(self._function, args, kwargs, inside), self._seconds, around.meter)
        if called.error is None and not called.late:
            traces[0].output(called.value)
        return Attempt(called, traces[0])


async def call_metered(caller: Caller, call: Call, seconds: float, meter: Meter | None) -> Called:
    """A call that pays for the models it asks, if there is a meter.

    Raises BudgetSpent if one did not fit the budget, whatever the function made of that; and RunFailed as ``Caller.call`` does.
    """
    if meter is None:
        return await caller.call(call, seconds)
    gate = _Gate(meter)

    @contextmanager
    def inside() -> Generator[None]:
        with put(METER, gate), call.inside():
            yield

    try:
        called = await caller.call(replace(call, inside=inside), seconds)
    finally:
        gate.shut = True
    if gate.spent:
        raise gate.spent
    return called


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Its calls are the outermost nodes of traces, whether it is ``@traced`` or not."""
    code = getattr(function, "__code__", None)
    ours = code is not None and Path(code.co_filename).parent == Path(__file__).parent
    return function if ours or isinstance(function, type) else traced(function)


def _signature(function: Callable[..., Any]) -> Collection[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def _own(given: Any) -> Any:
    """A copy, so that a workflow spoils nothing for the next; of what cannot be copied, the thing itself."""
    if isinstance(given, Fields):
        return Fields({name: _own(value) for name, value in given.items()})
    if isinstance(given, dict | list | set | bytearray):
        with suppress(Exception):
            return copy.deepcopy(cast("Any", given))
    return cast("Any", given)


_T = TypeVar("_T")


@contextmanager
def put(variable: ContextVar[_T], value: _T) -> Generator[None]:
    """Inside, the variable has that value."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


@contextmanager
def _seeded(rng_seed: int) -> Generator[None]:
    """The random numbers of the whole process; what it had before goes on afterwards."""
    numpy = sys.modules.get("numpy")
    before, arrays = random.getstate(), numpy.random.get_state() if numpy else None
    random.seed(rng_seed)
    if numpy:
        numpy.random.seed(rng_seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before)
        if numpy:
            numpy.random.set_state(arrays)


class _Gate:
    """The meter of one call. When that is over, nobody whom it left behind asks another model."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.spent: BudgetSpent | None = None
        """Set once a request did not fit the budget, whatever its caller made of that."""
        self.shut = False

    @property
    def output_cap(self) -> int | None:
        return self._meter.output_cap

    def begin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> Ticket:
        self._check()
        try:
            return self._meter.begin(model, bound, request)
        except BudgetSpent as error:
            self.spent = error
            raise

    async def abegin(self, model: str, bound: Bound, request: Mapping[str, Any]) -> Ticket:
        self._check()
        try:
            return await self._meter.abegin(model, bound, request)
        except BudgetSpent as error:
            self.spent = error
            raise

    def _check(self) -> None:
        if self.shut:
            raise TimeoutError("the deadline of this call of the workflow has passed, so it asks no model any more")
