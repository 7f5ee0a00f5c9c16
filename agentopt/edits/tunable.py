"""All numbers of a candidate as one vector: literals of its code and fields of its configs and values."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from agentopt.core.candidate import candidate_id
from agentopt.core.task import Parameter, Value, Values
from agentopt.edits.constants import Constant, find_constants, mask_constants, replace_constants
from agentopt.edits.draft import UNREADABLE
from agentopt.edits.fields import Field, find_fields, replace_fields

__all__ = ["Tunable"]

_DIGITS = 10
_FAR = 100.0
_ZERO_STRETCH = 3.0


@dataclass(frozen=True)
class Tunable:
    """The numbers of ``values``; ``decode`` maps a vector of steps from them, about 1 wide in each direction, to new values.

    A bounded field steps through its range (its logarithm if it says so) and is reflected at the bounds. Any other number steps by
    its own size, at first linearly; one that is 0 by ``zero_scale``, soon exponentially, since nothing tells what size it should have.
    """

    values: Values
    parameters: Mapping[str, Parameter]
    zero_scale: float = 1.0

    @cached_property
    def numbers(self) -> Mapping[str, Sequence[Constant | Field]]:
        """Per trainable parameter what can be tuned; without parameters that have nothing."""
        found = {name: _numbers(parameter, self.values[name]) for name, parameter in self.parameters.items() if parameter.trainable}
        return {name: numbers for name, numbers in found.items() if numbers}

    @property
    def dimension(self) -> int:
        return sum(len(numbers) for numbers in self.numbers.values())

    @cached_property
    def structure(self) -> str:
        """Equal for candidates that differ in tunable numbers only (8 hex digits)."""
        masked = {name: _masked(self.values[name], self.numbers.get(name, ())) for name in self.parameters}
        return hashlib.sha256(json.dumps([candidate_id(masked, self.parameters), self.dimension]).encode()).hexdigest()[:8]

    def decode(self, steps: Sequence[float]) -> dict[str, Value]:
        """``values`` with every number moved by its step; a number whose step leads beyond all floats stays."""
        values = dict(self.values)
        position = 0
        for name, numbers in self.numbers.items():
            moved = [self._moved(number, steps[position + offset]) for offset, number in enumerate(numbers)]
            position += len(numbers)
            values[name] = _replaced(values[name], numbers, moved)
        return values

    def _moved(self, number: Constant | Field, step: float) -> float | int:
        if isinstance(number, Field) and number.is_bounded:
            return number.from_unit(_reflected(number.to_unit() + step))
        step = min(max(step, -_FAR), _FAR)
        # sinh: linear near the start, and still able to reach other orders of magnitude
        way = abs(number.value) * math.sinh(step) if number.value else self.zero_scale * math.sinh(_ZERO_STRETCH * step)
        moved = number.value + way
        moved = float(f"{moved:.{_DIGITS}g}") if math.isfinite(moved) else number.value
        return number.fitted(moved) if isinstance(number, Field) else moved


def _numbers(parameter: Parameter, value: Value) -> Sequence[Constant | Field]:
    if parameter.is_python:
        try:
            return [constant for constant in find_constants(value) if not constant.structural]
        except UNREADABLE:
            return ()
    if parameter.kind in ("config", "value"):
        return [field for field in find_fields(parameter, value) if field.is_number]
    return ()


def _replaced(value: Value, numbers: Sequence[Constant | Field], moved: Sequence[float | int]) -> Value:
    constants = [number for number in numbers if isinstance(number, Constant)]
    if constants:
        return replace_constants(value, constants, moved)
    return replace_fields(value, [number for number in numbers if isinstance(number, Field)], moved)


def _masked(value: Value, numbers: Sequence[Constant | Field]) -> Value:
    if any(isinstance(number, Constant) for number in numbers):
        return mask_constants(value)
    return replace_fields(value, [number for number in numbers if isinstance(number, Field)], [0] * len(numbers))


def _reflected(unit: float) -> float:
    """Fold the line onto [0, 1] so that a step over a bound comes back."""
    unit = abs(unit) % 2.0
    return 2.0 - unit if unit > 1.0 else unit
