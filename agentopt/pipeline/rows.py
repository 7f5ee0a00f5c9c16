"""The user's data as cases: what the workflow is given, what only ``score`` sees, and which rows the search never sees."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from agentopt.core.errors import TaskError
from agentopt.core.task import SPLITS, Case
from agentopt.trace.workflow import Fields

__all__ = ["EXPECTED", "Data", "check_calls", "read_data"]

EXPECTED = ("expected", "answer", "label")
"""Keys of a row that the workflow does not get; the first of them that is there is the case's ``expected``."""
_HELD_OUT_FROM, _VALIDATED_FROM = 12, 4
"""Rows without which there is no test split, and no validation split either."""


@dataclass(frozen=True)
class Data:
    """Cases per split, and the rows that they come from, by case id. ``note``: what a reader of the result has to know of the splits."""

    cases: Mapping[str, Sequence[Case]]
    rows: Mapping[str, Any]
    note: str = ""


def read_data(data: Any, rng_seed: int) -> Data:
    """Half of the rows for the search, a quarter for validation, a quarter for test, shuffled by ``rng_seed``.

    A mapping of ``train``, ``validation`` and ``test`` to rows is taken as the splits. Raises TaskError for what is no data.
    """
    if isinstance(data, Mapping):
        return _given(cast("Mapping[str, Any]", data))
    rows = _list(data, "data")
    order = list(range(len(rows)))
    Random(f"{rng_seed}:split").shuffle(order)
    held = len(rows) // 4 if len(rows) >= _HELD_OUT_FROM else 0
    checked = held or (len(rows) // 3 if len(rows) >= _VALIDATED_FROM else 0)
    cuts = {"test": order[:held], "validation": order[held : held + checked], "train": order[held + checked :]}
    width = len(str(len(rows) - 1))
    named = {split: {f"row{number:0{width}}": rows[number] for number in cuts[split]} for split in SPLITS if cuts[split]}
    return _data(named, _note(len(rows), held, checked))


def _note(rows: int, held: int, checked: int) -> str:
    if held:
        return ""
    what = "the scores shown are those of validation rows" if checked else "the scores shown are those of the rows that the search saw"
    return f"{rows} rows are too few for a held-out test (it takes {_HELD_OUT_FROM}), so {what}"


def _given(splits: Mapping[str, Any]) -> Data:
    if unknown := sorted(set(splits) - set(SPLITS)):
        raise TaskError(f"data has the key {unknown[0]!r}; give a list of rows, or a mapping of {', '.join(SPLITS)} to lists of rows")
    if not splits.get("train"):
        raise TaskError("data has no rows in 'train'; the search works on those")
    named = {split: {f"{split}{number}": row for number, row in enumerate(_list(splits[split], f"data[{split!r}]"))} for split in splits}
    named = {split: named[split] for split in SPLITS if named.get(split)}
    seen = "validation rows" if "validation" in named else "the rows that the search saw"
    return _data(named, "" if "test" in named else f"data has no 'test' rows, so the scores shown are those of {seen}")


def _list(rows: Any, where: str) -> list[Any]:
    if isinstance(rows, str | bytes) or not hasattr(rows, "__iter__"):
        raise TaskError(f"{where} is a {type(rows).__name__}; give a list of rows")
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):
        raise TaskError(f"{where} is a {type(rows).__name__}, which is iterated by its columns; give {where}.to_dict('records')")
    found = list(rows)
    if not found:
        raise TaskError(f"{where} has no rows; give at least one")
    return found


def _data(named: Mapping[str, Mapping[str, Any]], note: str) -> Data:
    cases = {split: [_case(key, row) for key, row in rows.items()] for split, rows in named.items()}
    return Data(cases, {key: row for rows in named.values() for key, row in rows.items()}, note)


def _case(key: str, row: Any) -> Case:
    """A dict is the keyword arguments, a pair is (input, expected), anything else is the one argument."""
    if isinstance(row, Mapping):
        fields = cast("Mapping[Any, Any]", row)
        if wrong := [name for name in fields if not isinstance(name, str)]:
            raise TaskError(f"{key}: the row has the key {wrong[0]!r}; the keys of a row are names of arguments")
        expected = next((fields[name] for name in EXPECTED if name in fields), None)
        return Case(key, Fields({name: value for name, value in fields.items() if name not in EXPECTED}), expected)
    if isinstance(row, tuple) and len(pair := cast("tuple[Any, ...]", row)) == 2:
        return Case(key, pair[0], pair[1])
    return Case(key, row)


def check_calls(function: Callable[..., Any], cases: Mapping[str, Sequence[Case]]) -> None:
    """Raises TaskError for the first row with which the workflow cannot be called."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    name = getattr(function, "__name__", type(function).__name__)
    for case in (case for members in cases.values() for case in members):
        try:
            _bind(signature, case)
        except TypeError as error:
            given = f"the fields {', '.join(case.input) or 'none'}" if isinstance(case.input, Fields) else "one value"
            raise TaskError(
                f"{case.id}: {name}{signature} cannot be called with {given}: {error} ({', '.join(EXPECTED)} are kept for score)"
            ) from None


def _bind(signature: inspect.Signature, case: Case) -> None:
    """Raises TypeError."""
    extra = {"ctx": None} if "ctx" in signature.parameters and not (isinstance(case.input, Fields) and "ctx" in case.input) else {}
    if isinstance(case.input, Fields):
        signature.bind(**case.input, **extra)
    else:
        signature.bind(case.input, **extra)
