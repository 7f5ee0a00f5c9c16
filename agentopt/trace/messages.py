"""Messages of chats: as the SDKs of models have them, and as OpenTelemetry's GenAI conventions write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast

from agentopt.trace.export import plain

__all__ = ["from_parts", "texts_in", "to_parts"]


def to_parts(messages: Any, role: str) -> list[dict[str, Any]]:
    """``[{"role": ..., "parts": [{"type": "text", "content": ...}]}]``; ``role`` is that of a message that names none."""
    if not isinstance(messages, list | tuple):
        messages = [messages]
    return [_to_parts(message, role) for message in cast("Iterable[Any]", messages)]


def _to_parts(message: Any, role: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or "content" not in message:
        text = message if isinstance(message, str) else json.dumps(plain(message))
        return {"role": role, "parts": [{"type": "text", "content": text}]}
    held = cast("Mapping[str, Any]", message)
    said = str(held.get("role", role))
    content = held["content"]
    if said == "tool":
        return {"role": said, "parts": [{"type": "tool_call_response", "id": held.get("tool_call_id"), "response": plain(content)}]}
    pieces = cast("list[Any]", content if isinstance(content, list) else [content] if content is not None else [])
    parts = [_part(piece) for piece in pieces]
    for call in cast("list[Any]", plain(held.get("tool_calls")) or []):
        about: dict[str, Any] = call.get("function") or {}
        parts.append({"type": "tool_call", "id": call.get("id"), "name": about.get("name"), "arguments": about.get("arguments")})
    return {"role": said, "parts": parts}


def _part(piece: Any) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"type": "text", "content": piece}
    if isinstance(piece, Mapping):
        held = cast("Mapping[str, Any]", piece)
        return {"type": "text", "content": str(held["text"])} if "text" in held else cast("dict[str, Any]", plain(dict(held)))
    return {"type": "text", "content": str(plain(piece))}


def from_parts(messages: Any) -> Any:
    """``[{"role": ..., "content": ...}]``; a content that is all text is one text. What has another form stays as it is."""
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError):
            return messages
    if not isinstance(messages, list):
        return messages
    return [_from_parts(message) for message in cast("list[Any]", messages)]


def _from_parts(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("parts"), list):  # pyright: ignore[reportUnknownMemberType]
        return cast("Any", message)
    held = cast("dict[str, Any]", message)
    parts = cast("list[Any]", held["parts"])
    texts = [_text_of(part) for part in parts]
    content: Any = "\n".join(text for text in texts if text is not None) if None not in texts else parts
    return {"role": held.get("role", ""), "content": content}


def _text_of(part: Any) -> str | None:
    content: Any = cast("dict[str, Any]", part).get("content") if isinstance(part, dict) else None
    return content if isinstance(content, str) else None


def texts_in(value: Any, depth: int = 8) -> Iterable[str]:
    """All texts in plain data."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from texts_in(item, depth - 1)
    elif depth and isinstance(value, list | tuple):
        for item in cast("Iterable[Any]", value):
            yield from texts_in(item, depth - 1)
