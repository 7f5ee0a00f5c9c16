"""A function that answers messages, as a model of a run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, cast

from agentopt.core.chat import ChatReply, ChatRequest, Finish, ModelError, Usage

__all__ = ["CalledModel", "as_model"]

_FINISHES: Mapping[str, Finish] = {"length": "length", "content_filter": "filter"}


def as_model(llm: Any) -> Any:
    """What ``Stepper`` takes as its model: specs and chat models as they are; a function ``llm(messages=[...])`` becomes one.

    Its reply is text, or like that of an OpenAI client.
    """
    return llm if not callable(llm) or hasattr(llm, "complete") else CalledModel(llm)


class CalledModel:
    """``core.chat.ChatModel`` over a function, sync or async. Sync ones are called in a thread. Their exceptions pass through.

    ``max_tokens``, ``temperature``, ``stop`` and ``seed`` are given to it where they are set and it takes them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name: str = getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._parameters = inspect.signature(function).parameters

    def _takes(self, name: str) -> bool:
        return name in self._parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in self._parameters.values())

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ModelError for an answer that holds no text."""
        given = {
            "max_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "stop": list(request.stop) or None,
            "seed": request.seed,
        }
        options = {name: value for name, value in given.items() if value is not None and self._takes(name)}
        messages = [message.to_json() for message in request.messages]
        began = perf_counter()
        if inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(getattr(self._function, "__call__", None)):  # noqa: B004
            response = await self._function(messages=messages, **options)
        else:
            response = await asyncio.to_thread(self._function, messages=messages, **options)
        text, finish = _said(response)
        if text is None:
            raise ModelError("malformed", f"{self.name} answered a {type(response).__name__}; it must answer text or an OpenAI response")
        model = _get(response, "model")
        return ChatReply(text, model if isinstance(model, str) else self.name, finish, _usage(response), latency=perf_counter() - began)

    async def close(self) -> None:
        """Nothing to end: the function is the user's."""


def _said(response: Any) -> tuple[str | None, Finish]:
    if isinstance(response, str):
        return response, "stop"
    choices: Any = _get(response, "choices")
    first = cast("Sequence[Any]", choices)[0] if isinstance(choices, Sequence) and choices else None
    text = _get(_get(first, "message"), "content")
    return text if isinstance(text, str) else None, _FINISHES.get(str(_get(first, "finish_reason")), "stop")


def _usage(response: Any) -> Usage | None:
    usage = _get(response, "usage")
    counts = [_get(usage, name) for name in ("prompt_tokens", "completion_tokens")]
    return Usage(*counts) if all(isinstance(count, int) for count in counts) else None


def _get(holder: Any, name: str) -> Any:
    """An attribute or an item; None where there is neither."""
    if isinstance(holder, Mapping):
        return cast("Mapping[str, Any]", holder).get(name)
    return getattr(holder, name, None)
