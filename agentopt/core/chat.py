"""Asking a language model: requests, replies, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from agentopt.core.errors import AgentoptError

__all__ = [
    "MODEL_ERROR_KINDS",
    "Attempt",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "Finish",
    "Message",
    "ModelError",
    "ModelErrorKind",
    "OnAttempt",
    "Prompt",
    "Role",
    "Usage",
]

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length", "filter", "refusal", "tools", "other"]
ModelErrorKind = Literal[
    "rate_limit",
    "server",
    "timeout",
    "cut",
    "bad_request",
    "auth",
    "context_length",
    "content_filter",
    "not_found",
    "malformed",
    "connection",
    "no_choices",
]
MODEL_ERROR_KINDS: tuple[str, ...] = get_args(ModelErrorKind)
_RETRYABLE = frozenset({"rate_limit", "server", "timeout", "cut", "malformed", "connection", "no_choices"})
_NEVER_BILLED = frozenset({"rate_limit", "bad_request", "auth", "context_length", "not_found"})


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. Raises ValueError for an unknown role."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ValueError(f"a message has the role {self.role!r}; write {', '.join(get_args(Role))}")

    def to_json(self) -> dict[str, Any]:
        return {"role": self.role, "content": self.content}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Message:
        return cls(data["role"], data["content"])


@dataclass(frozen=True)
class ChatRequest:
    """What a model is asked. None and () mean that the provider's own default holds.

    ``max_output_tokens`` counts reasoning too. ``sample`` tells apart requests that are otherwise equal: each is an answer of its own.
    ``purpose`` is a label for people (``"reflect"``) and reaches no model. Raises ValueError for an impossible value.
    """

    messages: tuple[Message, ...]
    temperature: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    sample: int = 0
    purpose: str = ""

    def __post_init__(self) -> None:
        if not self.messages:
            raise ValueError("a request needs at least one message")
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise ValueError(f"a temperature of {self.temperature} is impossible; give a number from 0 up")
        if self.max_output_tokens is not None and self.max_output_tokens < 1:
            raise ValueError(f"max_output_tokens is {self.max_output_tokens}; give at least 1")

    @property
    def digest(self) -> str:
        """32 hex digits over content and sample index: the same for every transport, model, machine and version."""
        content = {key: value for key, value in self.to_json().items() if key != "purpose"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the default, so that fields to come leave the digest as it is."""
        data: dict[str, Any] = {"messages": [message.to_json() for message in self.messages]}
        if self.temperature is not None:
            data["temperature"] = float(self.temperature)
        if self.stop:
            data["stop"] = list(self.stop)
        for name in ("max_output_tokens", "seed"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        for name in ("sample", "purpose"):
            if value := getattr(self, name):
                data[name] = value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChatRequest:
        return cls(
            tuple(Message.from_json(message) for message in data["messages"]),
            data.get("temperature"),
            data.get("max_output_tokens"),
            tuple(data.get("stop", ())),
            data.get("seed"),
            data.get("sample", 0),
            data.get("purpose", ""),
        )


@dataclass(frozen=True)
class Prompt:
    """A filled template, ready to be asked.

    ``template`` is its name and the beginning of the digest of its text: ``"reevo/crossover@1a2b3c4d"``. ``cut`` names the slots that
    did not fit whole; the messages themselves say where something is missing.
    """

    messages: tuple[Message, ...]
    template: str
    cut: tuple[str, ...] = ()

    def request(self, sample: int, temperature: float | None = None, max_output_tokens: int | None = None) -> ChatRequest:
        """The request whose purpose is the template's name. ``sample`` tells it apart from others that read the same."""
        return ChatRequest(self.messages, temperature, max_output_tokens, sample=sample, purpose=self.template)


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them. ``cached_tokens`` are among the input, ``reasoning_tokens`` among the output; None: not told."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def to_json(self) -> list[int | None]:
        return [self.input_tokens, self.output_tokens, self.cached_tokens, self.reasoning_tokens]

    @classmethod
    def from_json(cls, data: list[Any]) -> Usage:
        return cls(*data)


@dataclass(frozen=True)
class ChatReply:
    """What a model answered.

    ``model`` is the name the provider gives itself. ``usage`` and ``cost_usd`` are None when unknown, never 0 for that reason; they are
    those of the attempt that succeeded. ``latency`` is seconds from sending it to the last byte. ``attempts`` counts HTTP requests.
    """

    text: str
    model: str
    finish: Finish
    usage: Usage | None = None
    cost_usd: float | None = None
    latency: float = 0.0
    attempts: int = 1

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"text": self.text, "model": self.model, "finish": self.finish}
        if self.usage is not None:
            data["usage"] = self.usage.to_json()
        if self.cost_usd is not None:
            data["cost_usd"] = self.cost_usd
        return data | {"latency": round(self.latency, 6), "attempts": self.attempts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ChatReply:
        usage = data.get("usage")
        return cls(
            data["text"],
            data["model"],
            data["finish"],
            None if usage is None else Usage.from_json(usage),
            data.get("cost_usd"),
            data["latency"],
            data["attempts"],
        )


class ModelError(AgentoptError):
    """A model gave no reply. ``retryable``: asking again may help; ``attempts``: HTTP requests made for it.

    ``status`` is the HTTP status if there was one, ``retry_after`` the seconds the server asked to wait. The message holds no secret.
    """

    def __init__(
        self,
        kind: ModelErrorKind,
        message: str,
        *,
        retryable: bool | None = None,
        attempts: int = 1,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message)
        self.kind: ModelErrorKind = kind
        self.message = message
        self.retryable = kind in _RETRYABLE if retryable is None else retryable
        self.attempts = attempts
        self.status = status
        self.retry_after = retry_after
        self.memo: Mapping[str, Any] = {}
        """What an optimizer that lets it pass wants to be told with it, as in Refused."""

    def __str__(self) -> str:
        return f"{self.message} (after {self.attempts} attempts)" if self.attempts > 1 else self.message

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may charge for it: a reply that got lost was still computed, a refused request was not."""
        return self.attempts > 0 and self.kind not in _NEVER_BILLED

    def after(self, attempts: int) -> ModelError:
        """The same error as the end of ``attempts`` attempts."""
        return ModelError.from_json(self.to_json() | {"attempts": attempts})

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"kind": self.kind, "message": self.message, "retryable": self.retryable, "attempts": self.attempts}
        for name in ("status", "retry_after"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelError:
        return cls(
            data["kind"],
            data["message"],
            retryable=data["retryable"],
            attempts=data["attempts"],
            status=data.get("status"),
            retry_after=data.get("retry_after"),
        )


@dataclass(frozen=True)
class Attempt:
    """One HTTP request for a reply: its number from 1, seconds waited before it, seconds it took, and how it ended.

    ``kind`` is None when it gave a reply; ``usage`` is that reply's.
    """

    model: str
    number: int
    waited: float
    latency: float
    kind: ModelErrorKind | None = None
    status: int | None = None
    usage: Usage | None = None


OnAttempt = Callable[[Attempt], None]


@runtime_checkable
class ChatModel(Protocol):
    """A language model, by whatever means it is reached. Used from one event loop."""

    @property
    def name(self) -> str:
        """As it was given: ``openai:gpt-4o-mini``."""
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """One reply. Raises ModelError; may be cancelled at any point."""
        ...

    async def close(self) -> None:
        """Ends its connections. May be called twice."""
        ...
