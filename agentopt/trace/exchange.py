"""What goes to a model and what comes back, in the forms of OpenAI's endpoints: as JSON, as the SDKs' objects, or as a stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from agentopt.core.calls import Bound
from agentopt.core.chat import Finish, Usage

__all__ = ["Endpoint", "Reply", "bound_of", "cap_of", "events_of", "read_events", "read_reply", "shown"]

Endpoint = Literal["chat", "responses", "text", "embeddings"]
_CAPS: Mapping[Endpoint, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "responses": ("max_output_tokens",),
    "text": ("max_tokens",),
    "embeddings": (),
}
_SAMPLES = ("n", "best_of")
_SAID = ("messages", "instructions", "input", "prompt", "tools", "functions", "response_format", "text")
"""What of a request a node shows: what the model is told. All else stays out, and so does every key and header."""
_SECRET = frozenset({"headers", "authorization", "api_key", "token"})
"""Of tools that the provider itself calls."""
_TOKENS_PER_REQUEST = 256
_FINISH: Mapping[str, Finish] = {
    "stop": "stop",
    "completed": "stop",
    "length": "length",
    "max_output_tokens": "length",
    "content_filter": "filter",
    "tool_calls": "tools",
    "function_call": "tools",
}


@dataclass(frozen=True)
class Reply:
    """``value`` is the text, a list of tool calls, both in a mapping, or a list of these if several samples were asked for.

    ``complete`` is False for a stream whose end nobody saw.
    """

    value: Any = ""
    model: str = ""
    finish: Finish | None = None
    usage: Usage | None = None
    complete: bool = True


def get(value: Any, name: str) -> Any:
    """A key of a mapping or an attribute; None without one."""
    return cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else getattr(value, name, None)


# --- requests ----------------------------------------------------------------------------------------------------------


def shown(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that a node keeps."""
    found = {name: body[name] for name in _SAID if body.get(name) is not None}
    return found | {"tools": _without_secrets(found["tools"])} if "tools" in found else found


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _without_secrets(item) for key, item in items if str(key).lower() not in _SECRET}
    return [_without_secrets(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value


def cap_of(endpoint: Endpoint, body: Mapping[str, Any]) -> int | None:
    """The most tokens of output that a request allows; None without a cap."""
    if endpoint == "embeddings":
        return 0
    caps = [body[name] for name in _CAPS[endpoint] if isinstance(body.get(name), int)]
    samples = max(body[name] if isinstance(body.get(name), int) else 1 for name in _SAMPLES)
    return max(caps) * samples if caps else None


def bound_of(endpoint: Endpoint, body: Mapping[str, Any]) -> Bound:
    """The most that a request can take: input by its bytes, for a tokenizer makes at most one token of each; output by its cap."""
    text = json.dumps(body, ensure_ascii=False, default=str)
    return Bound(len(text.encode(errors="surrogatepass")) + _TOKENS_PER_REQUEST, cap_of(endpoint, body), None)


# --- replies -----------------------------------------------------------------------------------------------------------


def read_reply(endpoint: Endpoint, reply: Any) -> Reply:
    """A whole reply, as JSON or as an SDK's object."""
    model, usage = get(reply, "model"), _usage(get(reply, "usage"))
    named = model if isinstance(model, str) else ""
    if endpoint == "embeddings":
        return Reply(reply, named, None, usage)
    if endpoint == "responses":
        return Reply(_output(get(reply, "output") or ()), named, _status(reply), usage)
    choices: Any = get(reply, "choices") or ()
    values = [_said(choice) for choice in choices]
    finish = get(choices[0], "finish_reason") if choices else None
    return Reply(values[0] if len(values) == 1 else values or "", named, _finish(finish), usage)


def _finish(reason: Any) -> Finish | None:
    return None if reason is None else _FINISH.get(reason, "other")


def _status(reply: Any) -> Finish | None:
    return _finish(get(get(reply, "incomplete_details"), "reason") or get(reply, "status"))


def _said(choice: Any) -> Any:
    message = get(choice, "message")
    if message is None:
        return get(choice, "text") or ""
    old = get(message, "function_call")
    functions = [get(call, "function") or get(call, "custom") for call in get(message, "tool_calls") or ()]
    return _value(get(message, "content") or get(message, "refusal") or "", [*functions, *([old] if old else [])])


def _output(items: Iterable[Any]) -> Any:
    parts: list[Any] = []
    calls: list[Any] = []
    for item in items:
        if get(item, "type") in ("function_call", "custom_tool_call"):
            calls.append(item)
        elif get(item, "type") == "message":
            parts += [get(part, "text") or get(part, "refusal") or "" for part in get(item, "content") or ()]
    return _value("".join(parts), calls)


def _value(text: Any, functions: list[Any]) -> Any:
    calls = [{"name": get(call, "name"), "arguments": get(call, "arguments") or get(call, "input")} for call in functions if call]
    if not calls:
        return text
    return {"text": text, "tool_calls": calls} if text else calls


def _usage(usage: Any) -> Usage | None:
    given, made = _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens")
    if given is None:
        return None
    cached = _count(_details(usage, "prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    thought = _count(_details(usage, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    return Usage(given, made or 0, cached, thought)


def _count(usage: Any, *names: str) -> int | None:
    return next((found for name in names if isinstance(found := get(usage, name), int)), None)


def _details(usage: Any, *names: str) -> Any:
    return next((found for name in names if (found := get(usage, name)) is not None), None)


# --- streams -----------------------------------------------------------------------------------------------------------


def events_of(body: bytes) -> list[Any]:
    """The JSON of server-sent events; what is cut off at the end is left out."""
    found: list[Any] = []
    for block in body.decode(errors="replace").replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].lstrip(" ") for line in block.split("\n") if line.startswith("data:"))
        try:
            found.append(json.loads(data))
        except ValueError:
            continue
    return found


def read_events(endpoint: Endpoint, events: Iterable[Any]) -> Reply:
    """The reply that a stream's events make together; as far as it came, if the stream was left early."""
    return _of_responses(events) if endpoint == "responses" else _of_chunks(endpoint, events)


def _of_responses(events: Iterable[Any]) -> Reply:
    text: list[str] = []
    for event in events:
        kind = get(event, "type")
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            return read_reply("responses", get(event, "response"))
        if kind == "response.output_text.delta":
            text.append(get(event, "delta"))
    return Reply("".join(text), complete=False)


def _of_chunks(endpoint: Endpoint, chunks: Iterable[Any]) -> Reply:
    choices: dict[int, _Choice] = {}
    whole: dict[str, Any] = {}
    for chunk in chunks:
        whole["model"] = get(chunk, "model") or whole.get("model")
        whole["usage"] = get(chunk, "usage") or whole.get("usage")
        for choice in get(chunk, "choices") or ():
            choices.setdefault(get(choice, "index") or 0, _Choice()).add(choice)
    reply = read_reply(endpoint, whole | {"choices": [choices[index].whole for index in sorted(choices)]})
    complete = bool(choices) and all(choice.finish for choice in choices.values())
    return Reply(reply.value, reply.model, reply.finish, reply.usage, complete)


class _Choice:
    """One sample, put together from its deltas."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.finish: str | None = None

    def add(self, choice: Any) -> None:
        delta = get(choice, "delta")
        self.finish = get(choice, "finish_reason") or self.finish
        self.texts.append(get(choice, "text") or get(delta, "content") or get(delta, "refusal") or "")
        for position, call in enumerate(get(delta, "tool_calls") or ()):
            index, function = get(call, "index"), get(call, "function")
            made = self.calls.setdefault(position if index is None else index, {"name": "", "arguments": ""})
            made["name"] = get(function, "name") or made["name"]
            made["arguments"] += get(function, "arguments") or ""

    @property
    def whole(self) -> dict[str, Any]:
        calls = [{"function": call} for _, call in sorted(self.calls.items())]
        return {"message": {"content": "".join(self.texts), "tool_calls": calls}, "finish_reason": self.finish}
