"""Reads the body of a chat completion; what a server left out or got wrong is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from agentopt.core.chat import ChatReply, Finish, Usage
from agentopt.llm.faults import Faults

__all__ = ["parse_body", "read_reply"]

_FINISH: Mapping[Any, Finish] = {
    None: "stop",
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "filter",
    "refusal": "refusal",
    "tool_calls": "tools",
    "function_call": "tools",
}


def parse_body(data: bytes, content_type: str, faults: Faults) -> dict[str, Any]:
    """The JSON object in ``data``. Raises ModelError: a page instead of JSON will not become JSON by asking again."""
    if "json" not in content_type.lower():
        kind = content_type.partition(";")[0].strip() or "no content type"
        raise faults.of("malformed", f"it is {kind} and not JSON; check the base URL", retryable=False)
    try:
        body: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        problem = f"{len(data)} bytes that are not JSON ({type(error).__name__})"
    else:
        if isinstance(body, dict):
            return cast("dict[str, Any]", body)
        problem = "JSON, but not an object"
    raise faults.of("malformed", problem)


def read_reply(body: Mapping[str, Any], asked: str, latency: float, faults: Faults) -> ChatReply:
    """The first choice as a reply; ``asked`` names the model where the body does not. Raises ModelError."""
    choices = body.get("choices")
    if not choices and body.get("error"):
        raise faults.of_body(body["error"])
    if choices is None or choices == []:
        raise faults.of("no_choices")
    choice = _mapping(cast("list[Any]", choices)[0]) if isinstance(choices, list) else None
    message = _mapping(choice.get("message")) if choice else None
    if choice and choice.get("error"):
        raise faults.of_body(choice["error"])
    if choice is None or message is None:
        raise faults.of("malformed", "its first choice holds no message")
    text, finish = _text(message.get("content")), _FINISH.get(_hashable(choice.get("finish_reason")), "other")
    if text is None:
        raise faults.of("malformed", "the content of its message is not text")
    refusal = message.get("refusal") or (_mapping(message.get("provider_specific_fields")) or {}).get("refusal")  # the latter by litellm
    if isinstance(refusal, str) and refusal:
        text, finish = text or refusal, "refusal"
    name = body.get("model")
    return ChatReply(text, name if isinstance(name, str) and name else asked, finish, _usage(body.get("usage")), None, latency)


def _mapping(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _hashable(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else "other"


def _text(content: Any) -> str | None:
    """Plain text, or the text parts of a list of parts; nothing is empty text; None for anything else."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        return None
    parts = [_mapping(part) or {} for part in cast("list[Any]", content)]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _usage(told: Any) -> Usage | None:
    """None unless both counts are there; no input at all is how some say that they did not count.

    Output is never less than total minus input, because some servers leave reasoning out of it.
    """
    usage = _mapping(told) or {}
    given, made, total = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if not given or made is None:
        return None
    cached = _count((_mapping(usage.get("prompt_tokens_details")) or {}).get("cached_tokens"))
    reasoning = _count((_mapping(usage.get("completion_tokens_details")) or {}).get("reasoning_tokens"))
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    return Usage(given, max(made, (total or 0) - given), cached, reasoning)


def _count(value: Any) -> int | None:
    """What no server can have counted is not told: it would not fit into a float either."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None
