"""``evaluate(path)`` of a module, in stages or at once, and what it gives as plain data."""

from __future__ import annotations

import decimal
import numbers
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .ground import check_imports

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cascade", "evaluate", "plain", "result_of"]


def evaluate(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    """``evaluate(path)``, or ``evaluate_stage1`` to ``3`` as long as each reaches its threshold."""
    script = folder / orders["evaluator"]
    check_imports(script, program)
    module = load(script)
    if orders["thresholds"] is not None and hasattr(module, "evaluate_stage1"):
        return cascade(module, str(program), orders["thresholds"])
    if not hasattr(module, "evaluate"):
        return {"failure": "{} has no function evaluate(path)".format(orders["evaluator"])}
    return result_of(call(module.evaluate, str(program)))


def load(script: Path) -> Any:
    import importlib.util

    os.chdir(str(script.parent))
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    spec: Any = importlib.util.spec_from_file_location(script.stem, str(script))
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # so that processes that it starts can import it, too
    spec.loader.exec_module(module)
    return module


def call(function: Callable[[str], Any], path: str) -> Any:
    import asyncio
    import inspect

    result = function(path)
    if not inspect.isawaitable(result):
        return result

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def result_of(result: Any) -> dict[str, Any]:
    """From a dict of metrics, or anything with ``metrics`` and ``artifacts``."""
    if isinstance(result, dict):
        metrics: dict[str, Any] = {**result}
        artifacts: Any = metrics.pop("artifacts", None)
        return {"metrics": metrics, "artifacts": artifacts if isinstance(artifacts, dict) else {}}
    if isinstance(getattr(result, "metrics", None), dict):
        return {"metrics": dict(result.metrics), "artifacts": dict(getattr(result, "artifacts", None) or {})}
    return {"failure": f"evaluate gave a {type(result).__name__}, not a dict of numbers or an EvaluationResult"}


def cascade(module: Any, path: str, thresholds: list[float]) -> dict[str, Any]:
    """Later stages add to what earlier ones found; one that raises keeps what is there."""
    found = result_of(call(module.evaluate_stage1, path))
    for number, threshold in enumerate(thresholds[:2], 2):
        stage = getattr(module, f"evaluate_stage{number}", None)
        if "failure" in found or stage is None or not _reaches(found["metrics"], threshold):
            return found
        try:
            more = result_of(call(stage, path))
        except Exception as error:
            found["metrics"][f"stage{number}_passed"] = 0.0
            found["artifacts"].update({"failure_stage": f"stage{number}", "stderr": str(error), "traceback": traceback.format_exc()})
            return found
        if "failure" in more:
            return more
        numbers = [both for part in (found, more) for both in part["metrics"].items() if both[0] != "error" and _is_number(both[1])]
        found = {"metrics": dict(numbers), "artifacts": dict(found["artifacts"], **more["artifacts"])}
    return found


def _is_number(value: Any) -> bool:
    return isinstance(plain(value), (int, float))


def _reaches(metrics: dict[str, Any], threshold: float) -> bool:
    if _is_number(metrics.get("combined_score")):
        return metrics["combined_score"] >= threshold
    numbers = [plain(value) for name, value in metrics.items() if name != "error" and _is_number(value)]
    return bool(numbers) and sum(numbers) / len(numbers) >= threshold


def plain(value: Any) -> Any:
    """With nothing in it but what JSON has: scalars of numpy and torch become numbers, bytes and everything else text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    items: Any = value
    if isinstance(value, dict):
        return {str(key): plain(items[key]) for key in items}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in items]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    size: Any = getattr(value, "size", None)
    if callable(size):  # of torch
        size = value.numel()
    if size == 1 and callable(getattr(value, "item", None)):
        return plain(value.item())
    return float(value) if size is None and isinstance(value, (numbers.Real, decimal.Decimal)) else str(value)
