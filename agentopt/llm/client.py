"""One HTTP request to a model over the openai SDK, and what every library that sends such requests has in common here."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from agentopt.core.chat import ChatReply, ChatRequest, ModelError
from agentopt.llm.bodies import parse_body, read_reply
from agentopt.llm.faults import Faults
from agentopt.llm.limits import Clock

__all__ = ["OPENAI_URL", "HttpTransport", "OpenAITransport", "from_wire", "parameters", "root_cause"]

OPENAI_URL = "https://api.openai.com/v1"
_LARGEST_BODY = 64 << 20
_WIRE = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "anyio", "aiohttp"})


class HttpTransport(ABC):
    """A deadline per request, and errors that are named and hold no secret."""

    scheme: ClassVar[str]

    def __init__(self, model: str, timeout: float, clock: Clock, *secrets: str) -> None:
        self.name = f"{self.scheme}:{model}"
        self._model = model
        self._timeout = timeout
        self._clock = clock
        self._faults = Faults(self.name, clock.unix, *secrets)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """The deadline ends the request, whatever state it is in, and its connection. Raises ModelError."""
        started = self._clock.now()
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._exchange(request)
            return read_reply(body, self._model, self._clock.now() - started, self._faults)
        except TimeoutError:
            failure = self._faults.of("timeout", f"{self._timeout:g} s have passed")
        except ModelError as error:
            failure = error
        except Exception as error:
            failure = self._named(error)
        # raised out here, where the library's error, which holds the request with its headers, is no longer its context
        raise failure

    @abstractmethod
    async def close(self) -> None:
        """Ends its connections. May be called twice."""

    @abstractmethod
    async def _exchange(self, request: ChatRequest) -> Mapping[str, Any]:
        """The body of the reply to one HTTP request, as JSON."""

    def _named(self, error: Exception) -> ModelError:
        """An error of the library by its name; what is none of theirs is a fault of ours and stays as loud as it is."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return self._faults.of("timeout")
        if isinstance(error, openai.APIConnectionError):
            return self._faults.of("connection", root_cause(error))
        if isinstance(error, openai.APIStatusError):
            return self._faults.of_status(error.status_code, error.body or error.message, error.response.headers)
        if from_wire(error):
            return self._faults.of("cut", root_cause(error))  # while connecting and sending, the SDK wraps these
        raise error


class OpenAITransport(HttpTransport):
    """Chat completions over the openai SDK, majors 2 and 3, from any server that speaks this protocol.

    Nothing is sent that was not set. The cap on the output is ``max_completion_tokens`` for OpenAI itself, whose newer models take no
    other, and ``max_tokens`` elsewhere, where older servers know no other. Redirects are not followed: one attempt is one request.
    """

    scheme = "openai"

    def __init__(self, model: str, base_url: str, key: str, timeout: float, clock: Clock, local: bool = False) -> None:
        """``local``: the server is on this machine, so no proxy that the environment names is asked."""
        import openai

        super().__init__(model, timeout, clock, key)
        self._cap = "max_completion_tokens" if base_url == OPENAI_URL else "max_tokens"
        http = openai.DefaultAsyncHttpxClient(follow_redirects=False, trust_env=not local, timeout=None)
        self._client: Any = openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=None, http_client=http)
        self._calls: Any = self._client.chat.completions.with_streaming_response  # loads what the SDK loads late, outside of any deadline

    async def close(self) -> None:
        await self._client.close()

    async def _exchange(self, request: ChatRequest) -> Mapping[str, Any]:
        async with self._calls.create(**parameters(self._model, request, self._cap)) as response:
            parts: list[bytes] = []
            size = 0
            async for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > _LARGEST_BODY:
                    raise self._faults.of("malformed", f"more than {_LARGEST_BODY} bytes")
            return parse_body(b"".join(parts), response.headers.get("content-type", ""), self._faults)


def parameters(model: str, request: ChatRequest, cap: str) -> dict[str, Any]:
    """Only what is set; the sample index is ours and is not sent."""
    parameters: dict[str, Any] = {"model": model, "messages": [message.to_json() for message in request.messages]}
    if request.temperature is not None:
        parameters["temperature"] = request.temperature
    if request.max_output_tokens is not None:
        parameters[cap] = request.max_output_tokens
    if request.stop:
        parameters["stop"] = list(request.stop)
    if request.seed is not None:
        parameters["seed"] = request.seed
    return parameters


def from_wire(error: BaseException) -> bool:
    """Whether it comes from the HTTP library, whose types are not imported because they differ between the SDK's majors."""
    return not _WIRE.isdisjoint(kind.__module__.partition(".")[0] for kind in type(error).__mro__)


def root_cause(error: BaseException) -> str:
    """The innermost cause, which says what happened, without the layers that passed it on."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__} {error}".strip()
