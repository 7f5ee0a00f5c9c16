"""Toy problems: a seed, and the loss of a candidate (None: it failed)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agentopt.core.task import Parameter

XS = [i / 5 for i in range(-10, 11)]
LINE = "def f(x):\n    a = 1.0\n    b = 0.5\n    return a * x + b\n"
NUMBERS = "def f():\n    return [0.0, 1.0, -5.0, 0.1, 3.0, 2]\n"
TARGET = [1.5, -2.0, 7.0, 0.33, 3.1, 9]


def finite(loss: Any) -> float | None:
    return float(loss) if isinstance(loss, int | float) and math.isfinite(loss) else None


def parabola(x: float) -> float:
    return 1.7 * x * x - 2.3 * x + 0.4


def regression(values: Mapping[str, Any]) -> float | None:
    """Symbolic regression of a parabola; 25.3 at the seed."""
    try:
        namespace: dict[str, Any] = {}
        exec(values["f"], namespace)
        return finite(sum((namespace["f"](x) - parabola(x)) ** 2 for x in XS) / len(XS))
    except (ArithmeticError, TypeError, ValueError, NameError):
        return None


def distance(values: Mapping[str, Any]) -> float | None:
    """Squared distance of six constants to their targets; 204 at the seed."""
    try:
        namespace: dict[str, Any] = {}
        exec(values["f"], namespace)
        return finite(sum((a - b) ** 2 for a, b in zip(namespace["f"](), TARGET, strict=True)))
    except (ArithmeticError, TypeError, ValueError, NameError):
        return None


def code(source: str) -> Parameter:
    return Parameter("f", "code", source)


SETTINGS = {"rate": 0.5, "depth": 3, "kind": "slow"}
SPACE = {"rate": {"low": 1e-5, "high": 1.0, "log": True}, "depth": (1, 20), "kind": ["slow", "fast", "wild"]}


def settings_loss(values: Mapping[str, Any]) -> float:
    """Best at rate 1e-3, depth 12, kind fast."""
    config = values["settings"]
    penalty = {"slow": 2.0, "fast": 0.0, "wild": 5.0}[config["kind"]]
    return (math.log10(config["rate"]) + 3.0) ** 2 + (config["depth"] - 12) ** 2 / 10 + penalty
