"""Code that a reply gives without any fence around it."""

from __future__ import annotations

import ast
import re
import warnings

from agentopt.core.task import Parameter
from agentopt.llm.naming import defined
from agentopt.llm.verdicts import reads_as_refusal

__all__ = ["bare_text"]

_START = re.compile(r"(?:async )?def \w+|class \w+|import \w|from [\w.]+ import |@\w|#|\"\"\"|'''|[A-Za-z_]\w* = ")
_CODE_ENDS = (";", "{", "}", ")", ",", ":", "(", "*/", "\\")
_CODE_STARTS = ("#", "//", "/*", "* ", "}", "@")
_MOST_STARTS = 5
_ENOUGH = 0.7
"""The share of lines that have to look like code in a language that nobody here can parse."""


def bare_text(prose: str, parameter: Parameter, wanted: set[str], parent: object, limit: int) -> tuple[str, tuple[str, ...]] | None:
    """What of ``prose`` is the parameter's text, and notes; None when that cannot be told, as it never can for a prompt."""
    if parameter.is_python:
        return (prose, ()) if len(prose) > limit and wanted & defined(prose) else _python(prose, wanted)
    if parameter.kind == "code":
        return (prose, ()) if _looks_like_code(prose, str(parent)) else None
    if parameter.kind == "config":
        start, end = prose.find("{"), prose.rfind("}")
        return (prose[start : end + 1], ()) if 0 <= start < end else None
    if parameter.kind == "value" and not isinstance(parent, str) and len(prose.split()) == 1:
        return prose.strip().strip("`*."), ()
    return None


def _python(prose: str, wanted: set[str]) -> tuple[str, tuple[str, ...]] | None:
    """From the first line that begins code, up to prose that follows; text that does not parse is given as it is, for the message."""
    if not wanted & defined(prose):
        return None
    lines = prose.split("\n")
    starts = [i for i, line in enumerate(lines) if _START.match(line)][:_MOST_STARTS]
    for start in starts:
        error = _error_line(lines[start:])
        if error is None:
            return _told(lines[start:], start > 0 and any(line.strip() for line in lines[:start]), False)
        end = _last_prose(lines, start, start + error - 1)
        if end is not None and _error_line(lines[start:end]) is None and wanted & defined("\n".join(lines[start:end])):
            return _told(lines[start:end], any(line.strip() for line in lines[:start]), True)
    return ("\n".join(lines[starts[0] :]), ()) if starts else None


def _told(lines: list[str], before: bool, after: bool) -> tuple[str, tuple[str, ...]]:
    where = " and ".join(word for word, said in (("before", before), ("after", after)) if said)
    return "\n".join(lines), (f"prose {where} the code was left out",) if where else ()


def _error_line(lines: list[str]) -> int | None:
    """The line, from 1, that Python stumbles over."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse("\n".join(lines))
    except SyntaxError as error:
        return max(1, min(error.lineno or 1, len(lines)))
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return 1
    return None


def _last_prose(lines: list[str], start: int, error: int) -> int | None:
    """The line at or just before ``error`` where sentences begin."""
    while error > start and (not lines[error].strip() or lines[error][0].isspace()):
        error -= 1
    return error if error > start and _is_prose(lines[error]) else None


def _is_prose(line: str) -> bool:
    return (line[:1].isupper() or line.startswith(("-", "*"))) and len(line.split()) >= 4 and "=" not in line


def _looks_like_code(prose: str, parent: str) -> bool:
    lines = [line.strip() for line in prose.split("\n") if line.strip()]
    if len(lines) < 2 or reads_as_refusal(prose):
        return False
    known = {line.strip() for line in parent.split("\n")}
    code = [line for line in lines if line in known or line.endswith(_CODE_ENDS) or line.startswith(_CODE_STARTS)]
    return len(code) >= _ENOUGH * len(lines)
