"""The openai SDK: every request of its clients goes through one method of their two base classes, whatever helper was called."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any

from agentopt.trace.bodies import watch_body
from agentopt.trace.calls import INSIDE, Call, held
from agentopt.trace.exchange import Endpoint, Reply, events_of, read_events, read_reply

__all__ = ["ready", "targets"]

_PATHS: Mapping[str, Endpoint] = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/responses/compact": "responses",
    "/completions": "text",
    "/embeddings": "embeddings",
}
_OWN = "api.openai.com"
_FORMS = "openai._utils._transform"


def ready(module: ModuleType) -> bool:
    """Whether ``openai._base_client`` is loaded far enough."""
    return hasattr(module, "AsyncAPIClient")


def targets(module: ModuleType) -> list[tuple[Any, str, Callable[[Any], Any]]]:
    """(owner, attribute, what makes the hook of what is there)."""
    sync, asynchronous, base = module.SyncAPIClient, module.AsyncAPIClient, module.BaseClient
    requests = [(sync, "request", _hook), (asynchronous, "request", _async_hook), (base, "_build_request", _counted)]
    forms = sys.modules[_FORMS]
    return [*requests, (forms, "transform", _formed), (forms, "async_transform", _formed)]


def _hook(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call(client, options)
        if call is None:
            return original(client, cast_to, options, *args, **kwargs)
        call.begin()
        token = INSIDE.set(call)
        try:
            result = original(client, cast_to, _with_body(options, call.body), *args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            INSIDE.reset(token)
        _finish(call, result, streams=bool(kwargs.get("stream")))
        return result

    return request


def _async_hook(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        call = _call(client, options)
        if call is None:
            return await original(client, cast_to, options, *args, **kwargs)
        await call.abegin()
        token = INSIDE.set(call)
        try:
            result = await original(client, cast_to, _with_body(options, call.body), *args, **kwargs)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            INSIDE.reset(token)
        _finish(call, result, streams=bool(kwargs.get("stream")))
        return result

    return request


def _counted(original: Callable[..., Any]) -> Callable[..., Any]:
    """One HTTP request is built per attempt."""

    @functools.wraps(original)
    def build(client: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        call = INSIDE.get()
        if call is not None:
            call.attempts = kwargs.get("retries_taken", 0) + 1
        return original(client, options, *args, **kwargs)

    return build


def _formed(original: Callable[..., Any]) -> Callable[..., Any]:
    """What brings a request into its form would take a parameter for a list of letters. It is left to the request.

    It is called with (data, type), once per request, and awaited by asynchronous clients.
    """

    @functools.wraps(original)
    def transform(data: Any, *args: Any, **kwargs: Any) -> Any:
        return original(held(data), *args, **kwargs)

    return transform


def _call(client: Any, options: Any) -> Call | None:
    """The call that a request is; None if it asks no model, or if it is part of another's call."""
    endpoint = _PATHS.get(options.url) if options.method == "post" else None
    body = options.json_data
    if endpoint is None or not isinstance(body, Mapping) or INSIDE.get() is not None:
        return None
    provider = _provider(client)
    newest = endpoint == "chat" and provider != "openai-compatible"
    cap = "max_output_tokens" if endpoint == "responses" else "max_completion_tokens" if newest else "max_tokens"
    return Call(provider, endpoint, _merged(body, options.extra_json or {}), cap)


def _merged(body: Any, extra: Any) -> dict[str, Any]:
    """``extra_body`` goes over the rest, and its ``omit`` takes things away."""
    return {key: value for key, value in {**body, **extra}.items() if type(value).__name__ != "Omit"}


def _provider(client: Any) -> str:
    """``openai`` for its own address alone: prices hold there, and nowhere else."""
    if "Azure" in type(client).__name__:
        return "azure"
    return "openai" if getattr(getattr(client, "base_url", None), "host", None) == _OWN else "openai-compatible"


def _with_body(options: Any, body: Mapping[str, Any]) -> Any:
    return options.model_copy(update={"json_data": body, "extra_json": None})


def _finish(call: Call, result: Any, streams: bool) -> None:
    """A parsed reply is read as it is; a response that nobody has read yet is watched."""
    if not call.watched:
        return
    raw = _raw(result, streams)
    if raw is None:
        call.done(read_reply(call.endpoint, result))
    elif raw.is_closed:
        call.done(_read(call.endpoint, raw.content, streams))
    else:
        endpoint = call.endpoint

        def seen(body: bytes, error: BaseException | None) -> None:
            reply = _read(endpoint, body, streams)
            call.done(reply) if error is None else call.broke(reply, error)

        watch_body(raw, seen)


def _raw(result: Any, streams: bool) -> Any:
    """The HTTP response behind a result, unless it was parsed: a stream's, a raw response's, or the result itself."""
    if hasattr(result, "iter_bytes") and hasattr(result, "aiter_bytes"):
        return result
    return getattr(result, "response" if streams and not hasattr(result, "http_response") else "http_response", None)


def _read(endpoint: Endpoint, body: bytes, streams: bool) -> Reply:
    if streams:
        return read_events(endpoint, events_of(body))
    try:
        return read_reply(endpoint, json.loads(body))
    except ValueError:
        return Reply(body.decode(errors="replace"), complete=False)
