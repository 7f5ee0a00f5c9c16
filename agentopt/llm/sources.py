"""Python text as a model gives it: does it parse, is it all there, and can the entry still be called as before?"""

from __future__ import annotations

import ast
import json
import textwrap
import warnings
from collections.abc import Iterator
from functools import lru_cache

from agentopt.llm.verdicts import Fault, quoted

__all__ = ["check_entry", "elision", "imported", "parse", "parses", "tidied"]

_TYPOGRAPHY = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\u00a0": " ", "\u202f": " ", "−": "-", "\u200b": "", "\ufeff": "", "…": "..."}
)
_LEFT_OUT = (
    *("rest of the", "existing code", "unchanged", "remains the same", "remain the same", "same as before", "omitted", "your code"),
    *("other code", "original code", "remaining code", "previous code", "rest of code", "as before", "existing implementation"),
)
_LEFT_OUT_IN_DOTS = (*_LEFT_OUT, "rest", "existing", "remain", "same", "other", "keep", "implementation", "code here", "truncated")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Bound = _Function | ast.ClassDef | ast.expr | ast.Delete | None


def parse(source: str, where: str = "") -> ast.Module:
    """The tree of text that Python would load. Raises Fault with ``syntax``, naming the line."""
    read = _read(source)
    if isinstance(read, ast.Module):
        return read
    raise Fault("syntax", f"The Python{where} {read}.")


@lru_cache(maxsize=4)
def _read(source: str) -> ast.Module | str:
    """The tree, or what keeps Python from loading the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<reply>", "exec", dont_inherit=True)
            return ast.parse(source)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        line = (error.text or "").strip()
        return f"has a syntax error{where}: {error.msg}{f' ({quoted(line)})' if line else ''}"
    except (RecursionError, MemoryError):
        return "is nested too deeply to be parsed"
    except (ValueError, OverflowError) as error:
        return f"cannot be read: {error}"


def parses(source: str) -> bool:
    """Would Python load it?"""
    return isinstance(_read(source), ast.Module)


def tidied(source: str) -> tuple[str, tuple[str, ...]]:
    """Source that parses where a harmless change to all of it is enough: indentation, typographic quotes, newlines escaped twice."""
    if parses(source):
        return source, ()
    attempts = [(textwrap.dedent(source), "the code was moved to the left margin")]
    if "\n" not in source.strip() and "\\n" in source:
        attempts.append((_unescaped(source), "newlines were escaped twice"))
    plain = textwrap.dedent(source).translate(_TYPOGRAPHY)
    attempts.append((plain, "typographic characters were replaced by plain ones"))
    for text, note in attempts:
        if text != source and parses(text):
            return text, (note,)
    return source, ()


def _unescaped(source: str) -> str:
    try:
        text = json.loads(f'"{source.strip()}"')
    except ValueError:
        return source.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"')
    return str(text)


def elision(source: str, parent: str) -> str | None:
    """A comment of ``source`` that stands for code left out, like ``# ... rest unchanged ...``, and is not in the parent."""
    for line in source.split("\n"):
        text = line.strip()
        if not text.startswith(("#", "//", "/*")) or not ("..." in text or "…" in text) or text in parent:
            continue
        words = text[:200].lower().strip("#/*()[]<> \t")
        dotted = words.startswith(("...", "…"))
        if not words.strip(".… ") or any(word in words for word in (_LEFT_OUT_IN_DOTS if dotted else _LEFT_OUT)):
            return text
    return None


def imported(tree: ast.Module) -> set[str]:
    """Every part of the dotted names that it imports anywhere: each of them may be a file."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            dotted = [alias.name for alias in node.names] + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            names.update(part for name in dotted for part in name.split("."))
    return names


def check_entry(entry: str, tree: ast.Module, parent: ast.Module) -> tuple[str, ...]:
    """Notes on how ``entry`` is defined. Raises Fault with ``signature`` unless calls that worked with the parent still fit."""
    found, new = _binding(tree, entry)
    if not found:
        raise Fault("signature", f"The code does not define {entry!r} at its top level.")
    old = _binding(parent, entry)[1]
    if not isinstance(old, _Function):
        return ()
    if isinstance(new, ast.Lambda):
        return _check_arguments(entry, new.args, old.args)
    if isinstance(new, _Function):
        if isinstance(new, ast.AsyncFunctionDef) != isinstance(old, ast.AsyncFunctionDef):
            words = ("a plain function", "async")
            was, now = words[isinstance(old, ast.AsyncFunctionDef)], words[isinstance(new, ast.AsyncFunctionDef)]
            raise Fault("signature", f"{entry!r} was {was} and is now {now}; keep it as it was.")
        return _check_arguments(entry, new.args, old.args)
    if isinstance(new, ast.ClassDef):
        raise Fault("signature", f"{entry!r} was a function and is now a class; keep it a function.")
    return (f"the parameters of {entry!r} could not be checked",)


def _check_arguments(entry: str, new: ast.arguments, old: ast.arguments) -> tuple[str, ...]:
    had, has = _positional(old), _positional(new)
    required, was_required = len(has) - len(new.defaults), len(had) - len(old.defaults)
    positions = has[: len(had)] == had and required <= was_required and len(new.posonlyargs) <= len(old.posonlyargs)
    keywords = {arg.arg for arg in old.kwonlyargs} <= {arg.arg for arg in new.kwonlyargs} | set(has) or new.kwarg is not None
    stars = (new.vararg or not old.vararg) and (new.kwarg or not old.kwarg)
    if not (positions and keywords and stars and _needed(new) <= _needed(old)):
        was, now = (quoted(f"{entry}({_written(arguments)})", 160) for arguments in (old, new))
        raise Fault("signature", f"The signature of {entry!r} has to stay {was}, but is now {now}.")
    added = has[len(had) :]
    return (f"{entry!r} takes further optional parameters: {', '.join(added)}",) if added else ()


def _needed(arguments: ast.arguments) -> set[str]:
    """Keyword-only parameters without a default."""
    return {arg.arg for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None}


def _written(arguments: ast.arguments) -> str:
    """The parameters as in a ``def``, with "..." for each default."""
    names = _positional(arguments)
    required = len(names) - len(arguments.defaults)
    parts = [name if i < required else f"{name}=..." for i, name in enumerate(names)]
    if arguments.vararg or arguments.kwonlyargs:
        parts.append(f"*{arguments.vararg.arg if arguments.vararg else ''}")
    needed = _needed(arguments)
    parts += [arg.arg if arg.arg in needed else f"{arg.arg}=..." for arg in arguments.kwonlyargs]
    return ", ".join([*parts, *([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])])


def _positional(arguments: ast.arguments) -> list[str]:
    return [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]


def _binding(tree: ast.Module, name: str) -> tuple[bool, _Bound]:
    """Whether the module binds ``name``, and to what as far as it can be seen: the last definition, aliases followed to theirs."""
    bound: dict[str, _Bound] = dict(_bindings(tree.body))
    value = bound.get(name)
    for _ in range(8):
        if not isinstance(value, ast.Name):
            break
        value = bound.get(value.id)
    return name in bound and not isinstance(bound[name], ast.Delete), value


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, _Bound]]:
    """(name, what is done to it) for each statement that runs with the module, the branches of ``if`` and ``try`` included."""
    stack = list(reversed(body))
    while stack:
        node = stack.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node
            case ast.Import() | ast.ImportFrom():
                yield from ((alias.asname or alias.name.partition(".")[0], None) for alias in node.names)
            case ast.Delete():
                yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))
            case ast.Assign():
                for target in node.targets:
                    yield from _targets(target, node.value)
            case ast.AnnAssign(value=value) if value is not None:
                yield from _targets(node.target, value)
            case _:
                for field in ("finalbody", "orelse", "body"):
                    stack += reversed(getattr(node, field, []))
                for handler in getattr(node, "handlers", []):
                    stack += reversed(handler.body)


def _targets(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, _Bound]]:
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple | ast.List):
        yield from ((part.id, None) for part in target.elts if isinstance(part, ast.Name))
