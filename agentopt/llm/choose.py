"""``--model SPEC[,SPEC@weight]`` -> models. Keys come from the environment only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from agentopt.core.chat import ChatModel
from agentopt.core.errors import ConfigError
from agentopt.llm.choosers import BanditChooser, Chooser, WeightedChooser
from agentopt.llm.prices import Price, known_prices
from agentopt.llm.retry import CallPolicy, RetryingModel

__all__ = [
    "SCHEMES",
    "Around",
    "Builder",
    "ModelSettings",
    "ModelSpec",
    "build_model",
    "build_models",
    "given_models",
    "make_chooser",
    "parse_models",
    "register",
]

SCHEMES = ("openai", "litellm", "relay", "command", "replay")
_EXAMPLES = "openai:gpt-4o-mini, litellm:anthropic/NAME, relay:DIR, command:CMD or replay:FILE"
_NEXT = re.compile(rf",\s*(?=(?:{'|'.join(SCHEMES)}):)")
_WEIGHT = re.compile(r"(?P<rest>.*)@(?P<weight>[\d.]+)", re.DOTALL)
_HEAVIEST = 1000.0
_OF_PROVIDERS = ("openai", "litellm")


@dataclass(frozen=True)
class ModelSpec:
    """``scheme:name`` and how often to choose it, relative to the others."""

    scheme: str
    name: str
    weight: float = 1.0

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


Around = Callable[[ChatModel, Price | None], ChatModel]


@dataclass(frozen=True)
class ModelSettings:
    """What models are built with. ``environ`` is where keys come from.

    In seconds: ``timeout`` is the deadline of one attempt over HTTP, ``relay_seconds`` how long a relay waits for its answer, and
    ``agent_seconds`` how long an agent (``command:``) may take. An agent reads what ``agent_allow`` names (``PATH``, or ``PATH:rw`` to
    write there too), gets the variables that ``agent_env`` names, and runs without a box only if it is ``unsafe_agent``.
    ``around`` is put around what makes a single attempt, inside of the retries: there attempts are reserved, logged and recorded.
    """

    base_url: str | None = None
    price: Price | None = None
    timeout: float = 300.0
    relay_seconds: float = 3600.0
    policy: CallPolicy = field(default_factory=CallPolicy)
    around: Around = lambda model, price: model
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    agent_seconds: float = 1800.0
    agent_allow: tuple[str, ...] = ()
    agent_env: tuple[str, ...] = ()
    unsafe_agent: bool = False


Builder = Callable[[ModelSpec, ModelSettings], tuple[ChatModel, Price | None]]
"""Makes what makes a single attempt, and its price. Raises ConfigError and MissingExtra."""


# --- reading


def given_models(flag: str | None, environ: Mapping[str, str] | None = None) -> tuple[ModelSpec, ...]:
    """The models of ``--model``, or else of AGENTOPT_MODEL. Raises ConfigError if neither names one."""
    if flag is not None:
        return parse_models(flag)
    text = (os.environ if environ is None else environ).get("AGENTOPT_MODEL")
    if not text:
        raise ConfigError(f"no model is given: write --model or set AGENTOPT_MODEL, for example {_EXAMPLES}")
    return parse_models(text, "AGENTOPT_MODEL")


def parse_models(text: str, where: str = "--model") -> tuple[ModelSpec, ...]:
    """One or more specs, separated by commas. A final ``@number`` is a weight. Raises ConfigError naming the spec and the fix.

    Commands and paths may hold commas and ``@``: a comma separates only before the next scheme, and only the last ``@number`` counts.
    """
    specs = tuple(_spec(part.strip(), where) for part in _NEXT.split(text.strip()))
    names = [str(spec) for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{where}: {name} is given twice; give it once, with a weight: {name}@2")
    return specs


def _spec(text: str, where: str) -> ModelSpec:
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in SCHEMES:
        guess = f"openai:{text}" if re.fullmatch(r"[\w.-]+", text) else f"litellm:{text}" if re.fullmatch(r"[\w./-]+", text) else _EXAMPLES
        raise ConfigError(f"{where} {text!r}: a model begins with {':, '.join(SCHEMES)}:; write for example {guess}")
    name, weight = _weighted(rest, text, where)
    if not name.strip():
        raise ConfigError(f"{where} {text!r}: the name is missing; write for example {_EXAMPLES}")
    if scheme in _OF_PROVIDERS and re.search(r"[,\s]", name):
        raise ConfigError(f"{where} {text!r}: a name holds no comma or space; give each model its prefix: openai:ONE,openai:TWO")
    if scheme == "litellm" and not re.fullmatch(r"[^/]+/.+", name):
        raise ConfigError(f"{where} {text!r}: litellm needs the provider too; write litellm:PROVIDER/{name}")
    return ModelSpec(scheme, name, weight)


def _weighted(rest: str, text: str, where: str) -> tuple[str, float]:
    match = _WEIGHT.fullmatch(rest)
    if match is None:
        return rest, 1.0
    try:
        weight = float(match["weight"])
    except ValueError:
        weight = 0.0
    if not 0 < weight <= _HEAVIEST:
        fix = f"if @{match['weight']} belongs to the name, write {text}@1"
        raise ConfigError(f"{where} {text!r}: a weight lies above 0 and up to {_HEAVIEST:.0f}; {fix}")
    return match["rest"], weight


# --- building


def build_model(spec: ModelSpec, settings: ModelSettings | None = None) -> RetryingModel:
    """Raises ConfigError for what is missing (a key, a folder, a way to build this scheme) and MissingExtra."""
    settings = settings or ModelSettings()
    builder = _BUILDERS.get(spec.scheme)
    if builder is None:
        raise ConfigError(f"{spec}: this version cannot build {spec.scheme}: models; use {' or '.join(sorted(_BUILDERS))}")
    model, price = builder(spec, settings)
    return RetryingModel(settings.around(model, price), settings.policy, price)


def build_models(specs: Sequence[ModelSpec], settings: ModelSettings | None = None) -> dict[str, ChatModel]:
    """By name, in the order given. Raises what ``build_model`` raises."""
    return {str(spec): build_model(spec, settings) for spec in specs}


def make_chooser(specs: Sequence[ModelSpec], kind: Literal["weighted", "bandit"] = "weighted") -> Chooser:
    """Which of several models to ask; its names are those of ``build_models``. Raises ConfigError for weights given to a bandit."""
    if kind == "weighted":
        return WeightedChooser({str(spec): spec.weight for spec in specs})
    for spec in specs:
        if spec.weight != 1.0:
            raise ConfigError(f"{spec}@{spec.weight:g}: a bandit finds out by itself how often to ask; leave out the weight, or the bandit")
    return BanditChooser([str(spec) for spec in specs])


def register(scheme: str, builder: Builder) -> None:
    """Make ``scheme:`` models buildable. Raises ConfigError for a scheme that no spec can name."""
    if scheme not in SCHEMES:
        raise ConfigError(f"the scheme {scheme!r} is none of {', '.join(SCHEMES)}")
    _BUILDERS[scheme] = builder


def _openai(spec: ModelSpec, settings: ModelSettings) -> tuple[ChatModel, Price | None]:
    from agentopt.llm.client import OPENAI_URL, OpenAITransport

    url = _checked(settings.base_url or settings.environ.get("OPENAI_BASE_URL") or OPENAI_URL)
    local = _is_local(url)
    key = _key(settings.environ) or ("none" if local else "")
    if not key:
        raise ConfigError(f"{spec}: there is no key; set OPENAI_API_KEY (a server on this machine needs none)")
    transport = OpenAITransport(spec.name, url, key, settings.timeout, settings.policy.clock, local)
    return transport, settings.price or (known_prices().get(str(spec)) if url == OPENAI_URL else None)


def _litellm(spec: ModelSpec, settings: ModelSettings) -> tuple[ChatModel, Price | None]:
    from agentopt.llm.litellm_client import LiteLLMTransport

    url = _checked(settings.base_url) if settings.base_url else None
    key = (_key(settings.environ) or "none") if url and _is_local(url) else None
    transport = LiteLLMTransport(spec.name, url, key, settings.timeout, settings.policy.clock)
    return transport, settings.price or (transport.price() if url is None else None)


def _relay(spec: ModelSpec, settings: ModelSettings) -> tuple[ChatModel, Price | None]:
    from agentopt.llm.relay import Relay

    return Relay(spec.name, settings.relay_seconds), settings.price


def _replay(spec: ModelSpec, settings: ModelSettings) -> tuple[ChatModel, Price | None]:
    from agentopt.llm.cassette import Replay

    return Replay(spec.name), settings.price


def _command(spec: ModelSpec, settings: ModelSettings) -> tuple[ChatModel, Price | None]:
    from agentopt.llm.command import CommandModel, find_agent

    agent = find_agent(spec.name, settings.agent_allow, settings.agent_env, settings.unsafe_agent, settings.environ)
    return CommandModel(spec.name, agent, settings.agent_seconds), settings.price


_BUILDERS: dict[str, Builder] = {"openai": _openai, "litellm": _litellm, "relay": _relay, "command": _command, "replay": _replay}


def _key(environ: Mapping[str, str]) -> str:
    key = environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("OPENAI_API_KEY holds characters that no HTTP header can carry; copy the key again")
    return key


def _checked(url: str) -> str:
    """``url`` without a final slash. Raises ConfigError, which shows no more of it than the host: it may hold a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ConfigError("the base URL cannot be read; write it like http://127.0.0.1:8000/v1") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError("the base URL has no http:// or https:// or no host; write it like http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"the base URL at {host} holds a user, a password or parameters; leave them out and set OPENAI_API_KEY")
    return url.rstrip("/")


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
