"""Traces as JSON Lines: a header, then one line per node. No pickle: what is loaded is data.

Values that JSON has come back as they were, and so do tuples, sets, bytes, numbers that are not finite, and numpy arrays. Of anything else
its type and text come back, as an ``Outline``.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar, cast

from agentopt.core.errors import UserError
from agentopt.trace.graph import HOWS, KINDS, Feedback, FunctionInfo, Graph, Node, ParamInfo
from agentopt.trace.values import More, Outline, text_of, type_of

__all__ = ["VERSION", "dump", "load", "read_info"]

VERSION = 1
_DEPTH = 50
_PLAIN = frozenset({str, bool, type(None)})
_TAG = "$"
_BITS = 4096
"""Whole numbers of more are shown as text: reading them would take a time that grows with their square."""
_SHORT = 80
_ENDLESS = 1e12
"""Seconds. What is beyond is no time."""
_WORDS = ("error", "message", "where")
"""Of an exception; whoever shows it relies on texts."""
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_Info = TypeVar("_Info", FunctionInfo, ParamInfo)


# --- writing


def dump(graph: Graph) -> bytes:
    """The graph as JSON Lines. O(size of its values)."""
    out = io.BytesIO()
    for line in _lines(graph):
        out.write(_JSON(line).encode() + b"\n")
    return out.getvalue()


def _lines(graph: Graph) -> Iterator[dict[str, Any]]:
    yield {
        "agentopt_trace": VERSION,
        "nodes": len(graph),
        "output": graph.output,
        "functions": {name: asdict(info) for name, info in graph.functions.items()},
        "params": {name: asdict(info) for name, info in graph.params.items()},
        "feedback": [{"target": said.target, "text": said.text, "scores": _encode(dict(said.scores))} for said in graph.feedback],
        "meta": _encode(graph.meta),
    }
    for node in graph:
        yield _line(node)


def _line(node: Node) -> dict[str, Any]:
    line: dict[str, Any] = {"kind": node.kind, "name": node.name}
    if node.value is not None:
        line["value"] = _encode(node.value)
    if node.inputs:
        line["inputs"] = [[edge.source, edge.role] if edge.how == "arg" else list(edge) for edge in node.inputs]
    if node.literals:
        line["literals"] = [[role, _encode(value)] for role, value in node.literals]
    if node.span >= 0:
        line["span"] = node.span
    line["started"], line["seconds"] = round(node.started, 9), round(node.seconds, 9)
    if node.meta:
        line["meta"] = _encode(dict(node.meta))
    return line


def _encode(value: Any, depth: int = 0) -> Any:
    kind = type_of(value)
    if kind in _PLAIN:
        return value
    encoder = _ENCODERS.get(kind)
    if encoder is not None and depth < _DEPTH:
        return encoder(value, depth + 1)
    if kind.__name__ == "ndarray" and kind.__module__ == "numpy" and not value.dtype.hasobject:
        return {_TAG: "array", "dtype": value.dtype.str, "shape": list(value.shape), "base64": _base64(value.tobytes())}
    return {_TAG: "outline", "type": kind.__name__, "text": text_of(value)}


def _encode_int(value: int, depth: int) -> Any:
    return value if value.bit_length() <= _BITS else {_TAG: "outline", "type": "int", "text": f"<int of {value.bit_length()} bits>"}


def _encode_float(value: float, depth: int) -> Any:
    return value if math.isfinite(value) else {_TAG: "float", "text": repr(value)}


def _encode_dict(value: dict[Any, Any], depth: int) -> Any:
    if _TAG not in value and all(type(key) is str for key in value):
        return {key: _encode(item, depth) for key, item in value.items()}
    return {_TAG: "dict", "items": [[_encode(key, depth), _encode(item, depth)] for key, item in value.items()]}


def _items(tag: str) -> Callable[[Any, int], Any]:
    return lambda value, depth: {_TAG: tag, "items": [_encode(item, depth) for item in value]}


def _base64(value: Any) -> str:
    return base64.b64encode(value).decode()


_ENCODERS: dict[type, Callable[[Any, int], Any]] = {
    int: _encode_int,
    float: _encode_float,
    dict: _encode_dict,
    list: lambda value, depth: [_encode(item, depth) for item in value],
    tuple: _items("tuple"),
    set: _items("set"),
    frozenset: _items("frozenset"),
    bytes: lambda value, depth: {_TAG: "bytes", "base64": _base64(value)},
    bytearray: lambda value, depth: {_TAG: "bytearray", "base64": _base64(value)},
    complex: lambda value, depth: {_TAG: "complex", "text": repr(value)},
    More: lambda value, depth: {_TAG: "more", "count": value.count},
    Outline: lambda value, depth: {_TAG: "outline", "type": value.type, "text": value.text},
}


# --- reading


def load(data: bytes) -> Graph:
    """The graph that ``dump`` wrote. Keys that are not known are ignored. Raises UserError with the line that cannot be read."""
    lines = iter(io.BytesIO(data))
    try:
        header = json.loads(next(lines, b""))
        version = header["agentopt_trace"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError("this is no trace: its first line is not the header that agentopt writes") from None
    if not isinstance(version, int) or version > VERSION:
        raise UserError(f"the trace has version {version!r}, and this agentopt reads versions up to {VERSION}; upgrade agentopt")
    return _load(header, lines)


def _load(header: dict[str, Any], lines: Iterable[bytes]) -> Graph:
    graph, number = Graph(), 1
    try:
        count = int(header["nodes"])
        _load_header(graph, header, count)
        shared: dict[str, str] = {}
        for number, line in enumerate(lines, 2):  # noqa: B007
            if len(graph) < count:
                _add(graph, json.loads(line), count, shared)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}".replace("\n", " ")
        raise UserError(f"the trace cannot be read: line {number} is damaged ({why}); take another copy of it") from None
    if len(graph) < count:
        raise UserError(f"the trace is cut off: it holds {len(graph)} of its {count} nodes; take another copy of it")
    return graph


def _load_header(graph: Graph, header: dict[str, Any], count: int) -> None:
    graph.functions = {name: read_info(FunctionInfo, info) for name, info in header.get("functions", {}).items()}
    graph.params = {name: read_info(ParamInfo, info) for name, info in header.get("params", {}).items()}
    for said in header.get("feedback", []):
        scores = {str(name): float(score) for name, score in _decode(said.get("scores", {})).items()}
        graph.feedback.append(Feedback(_number(said["target"], count), str(said.get("text", "")), scores))
    graph.output, graph.meta = _number(header.get("output", -1), count), _mapping(_decode(header.get("meta", {})))


def read_info(kind: type[_Info], info: Mapping[str, Any]) -> _Info:
    """What is known of a function or a parameter, from JSON. Raises what its wrong form raises, ValueError for a field that is no text."""
    found = kind(**{field.name: info[field.name] for field in fields(kind) if field.name in info})
    for name, value in asdict(found).items():
        if type(value) is not (bool if name == "trainable" else str):
            raise ValueError(f"{name} is {text_of(value, _SHORT)}")
    return found


def _number(number: Any, count: int) -> int:
    if not isinstance(number, int) or not -1 <= number < count:
        raise ValueError(f"there is no node {text_of(number, _SHORT)}")
    return number


def _add(graph: Graph, line: dict[str, Any], count: int, shared: dict[str, str]) -> None:
    """``shared`` makes equal names one object."""
    kind, name = line["kind"], str(line["name"])
    if kind not in KINDS:
        raise ValueError(f"there is no kind {text_of(kind, _SHORT)}")
    span = _number(line.get("span", -1), count)
    times = (_seconds(line.get("started", 0.0)), _seconds(line.get("seconds", 0.0)))
    number = graph.put(kind, shared.setdefault(name, name), _decode(line.get("value")), span, times)
    for edge in line.get("inputs", ()):
        source, role, how = edge if len(edge) == 3 else (*edge, "arg")
        if how not in HOWS or _number(source, count) < 0:
            raise ValueError(f"{text_of(edge, _SHORT)} is no edge")
        graph.link_one(source, _role(role, shared), how)
    if "literals" in line:
        graph.set_literals(number, [(_role(role, shared), _decode(value)) for role, value in line["literals"]])
    if "meta" in line:
        meta = _mapping(_decode(line["meta"]))
        graph.set_meta(number, meta | {key: str(meta[key]) for key in _WORDS if key in meta})


def _role(role: Any, shared: dict[str, str]) -> str:
    if type(role) is not str:
        raise ValueError(f"{text_of(role, _SHORT)} names no argument")
    return shared.setdefault(role, role)


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not abs(seconds) < _ENDLESS:
        raise ValueError(f"a time is {seconds:g} s")
    return seconds


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"meta is {text_of(value, _SHORT)}")
    return cast("dict[str, Any]", value)


def _decode(value: Any) -> Any:
    if type(value) is list:
        return [_decode(item) for item in cast("list[Any]", value)]
    if type(value) is not dict:
        return value
    held = cast("dict[str, Any]", value)
    decoder = _DECODERS.get(held.get(_TAG, ""))
    if decoder is not None:
        return decoder(held)
    return {key: _decode(item) for key, item in held.items()}


def _decode_array(held: dict[str, Any]) -> Any:
    try:
        import numpy
    except ImportError:
        return Outline("ndarray", f"<ndarray {held['dtype']} {tuple(held['shape'])}>")
    return numpy.frombuffer(base64.b64decode(held["base64"]), numpy.dtype(held["dtype"])).reshape(held["shape"]).copy()


_DECODERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "tuple": lambda held: tuple(_decode(held["items"])),
    "set": lambda held: set(_decode(held["items"])),
    "frozenset": lambda held: frozenset(_decode(held["items"])),
    "dict": lambda held: {_decode(key): _decode(item) for key, item in held["items"]},
    "float": lambda held: float(held["text"]),
    "complex": lambda held: complex(held["text"]),
    "bytes": lambda held: base64.b64decode(held["base64"]),
    "bytearray": lambda held: bytearray(base64.b64decode(held["base64"])),
    "array": _decode_array,
    "more": lambda held: More(int(held["count"])),
    "outline": lambda held: Outline(str(held["type"]), str(held["text"])),
}
