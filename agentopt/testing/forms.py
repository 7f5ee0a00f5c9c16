"""A completion of ``chat/completions`` in the forms of OpenAI's other endpoints, and in parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["EMBEDDING", "in_form", "streamed"]

EMBEDDING = (0.25, -0.5)


def in_form(endpoint: str, completion: Mapping[str, Any]) -> Mapping[str, Any]:
    """``endpoint`` is the end of the path: ``chat/completions``, ``responses``, ``completions`` or ``embeddings``."""
    if endpoint == "chat/completions":
        return completion
    if endpoint == "responses":
        return _response(completion)
    if endpoint == "completions":
        choices = [
            {"index": c["index"], "text": c["message"]["content"], "finish_reason": c["finish_reason"]} for c in completion["choices"]
        ]
        return {**completion, "object": "text_completion", "choices": choices}
    data = [{"object": "embedding", "index": 0, "embedding": list(EMBEDDING)}]
    usage = {key: value for key, value in completion.get("usage", {}).items() if key != "completion_tokens"}
    return {"object": "list", "model": completion["model"], "data": data, "usage": usage}


def _response(completion: Mapping[str, Any]) -> dict[str, Any]:
    choice, usage = completion["choices"][0], completion.get("usage")
    cut = choice["finish_reason"] == "length"
    part: dict[str, Any] = {"type": "output_text", "text": choice["message"]["content"], "annotations": []}
    message: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    counted = usage and {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
    about: dict[str, Any] = {"id": "fake", "object": "response", "created_at": 0, "model": completion["model"], "output": [message]}
    state: dict[str, Any] = {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
    }
    return about | state | {"usage": counted, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}


def streamed(endpoint: str, completion: Mapping[str, Any], with_usage: bool) -> bytes:
    """As server-sent events, a word each. Usage comes last, and only if it was asked for."""
    events = _response_events(completion) if endpoint == "responses" else [*_chunks(completion, with_usage), "[DONE]"]
    return b"".join(_event(event) for event in events)


def _event(event: Any) -> bytes:
    text = event if isinstance(event, str) else json.dumps(event)
    named = "" if isinstance(event, str) or "type" not in event else f"event: {event['type']}\n"
    return f"{named}data: {text}\n\n".encode()


def _chunks(completion: Mapping[str, Any], with_usage: bool) -> list[dict[str, Any]]:
    shared = {"id": "fake", "object": "chat.completion.chunk", "created": 0, "model": completion["model"]}
    chunks: list[dict[str, Any]] = []
    for choice in completion["choices"]:
        deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant", "content": ""}, None)]
        deltas += [({"content": word}, None) for word in _words(choice["message"].get("content"))]
        deltas += [({"tool_calls": [{"index": i, **call}]}, None) for i, call in enumerate(choice["message"].get("tool_calls", ()))]
        deltas += [({}, choice["finish_reason"])]
        chunks += [shared | {"choices": [{"index": choice["index"], "delta": delta, "finish_reason": finish}]} for delta, finish in deltas]
    return [*chunks, shared | {"choices": [], "usage": completion["usage"]}] if with_usage and "usage" in completion else chunks


def _response_events(completion: Mapping[str, Any]) -> list[dict[str, Any]]:
    response = _response(completion)
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    text, message = response["output"][0]["content"][0]["text"], response["output"][0]
    open_message: dict[str, Any] = message | {"status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response | {"status": "in_progress", "output": [], "usage": None}},
        {"type": "response.output_item.added", "output_index": 0, "item": open_message},
        {"type": "response.content_part.added", **place, "part": message["content"][0] | {"text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in _words(text)),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": f"response.{response['status']}", "response": response},
    ]
    return [event | {"sequence_number": number} for number, event in enumerate(events)]


def _words(text: str | None) -> list[str]:
    """With the spaces before them."""
    first, *rest = (text or "").split(" ")
    return [first, *(f" {word}" for word in rest)]
