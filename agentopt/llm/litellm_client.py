"""One HTTP request to a model over litellm, an extra: it knows many providers, takes seconds to import, and needs openai below 3."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from json import JSONDecodeError
from typing import Any, ClassVar

from agentopt.core.chat import ChatRequest, ModelError
from agentopt.core.errors import MissingExtra
from agentopt.llm.client import HttpTransport, from_wire, parameters, root_cause
from agentopt.llm.limits import Clock
from agentopt.llm.prices import Price

__all__ = ["LiteLLMTransport"]


class LiteLLMTransport(HttpTransport):
    """Any provider that litellm knows, as ``PROVIDER/NAME``. Keys and addresses come from the environment, as litellm reads them there.

    Outside of its OpenAI path litellm sends a request a second time when the connection breaks before a reply; it has no switch for that.
    """

    scheme = "litellm"
    _open: ClassVar[int] = 0

    def __init__(self, model: str, base_url: str | None, key: str | None, timeout: float, clock: Clock) -> None:
        """Raises MissingExtra."""
        super().__init__(model, timeout, clock, *([key] if key else []))
        self._litellm = _load()
        fixed = {name: value for name, value in (("api_base", base_url), ("api_key", key)) if value}
        self._fixed = lambda: fixed  # a function, because nobody prints what is inside one
        self._closed = False
        LiteLLMTransport._open += 1

    async def close(self) -> None:
        """litellm's clients are shared by all who use it here, so the last one to leave closes them."""
        if self._closed:
            return
        self._closed = True
        LiteLLMTransport._open -= 1
        if LiteLLMTransport._open == 0:
            await self._litellm.close_litellm_async_clients()
            self._litellm.in_memory_llm_clients_cache.flush_cache()

    def price(self) -> Price | None:
        """From litellm's own table; None for what it does not know, gives away or sells in tiers."""
        try:
            told: dict[str, Any] = self._litellm.get_model_info(self._model)
        except Exception:  # what it raises for an unknown name differs from version to version, and either way there is no price
            return None
        tiers = [value for key, value in told.items() if "_cost_per_token_above_" in key and value]
        given, made = told.get("input_cost_per_token"), told.get("output_cost_per_token")
        cached = told.get("cache_read_input_token_cost")
        if not given or not made or tiers:
            return None
        return Price(1e6 * given, 1e6 * made, 1e6 * cached if cached else None, source=f"litellm {version('litellm')}")

    async def _exchange(self, request: ChatRequest) -> Mapping[str, Any]:
        # its timeout is a second after ours, which closes the connection whatever state it is in
        given = parameters(self._model, request, "max_tokens") | self._fixed() | {"timeout": self._timeout + 1.0}
        reply = await self._litellm.acompletion(**given, num_retries=0, max_retries=0)
        return reply.model_dump()

    def _named(self, error: Exception) -> ModelError:
        """litellm wraps errors in errors of its own, and calls a broken connection a status 500: what happened is further inside."""
        import openai

        links = list(_chain(error))
        for link in links:
            if type(link).__module__ == "openai" and isinstance(link, openai.APIStatusError):
                return super()._named(link)
        if any(isinstance(link, JSONDecodeError) for link in links) or "invalid response from LLM endpoint" in str(error):
            return self._faults.of("malformed", str(error))
        if any(type(link) is openai.OpenAIError for link in links) or "Missing credentials" in str(error):
            return self._faults.of("auth", "there is none for this provider")
        if any(isinstance(link, openai.APITimeoutError) for link in links):
            return self._faults.of("timeout")
        status: Any = getattr(error, "status_code", None)
        headers: Any = getattr(error, "litellm_response_headers", None)
        if headers is not None:  # then there was a reply
            return self._faults.of_status(status, str(error), headers)
        for link in links:
            if from_wire(link):
                return self._faults.of("connection" if "Connect" in type(link).__name__ else "cut", root_cause(link))
        if isinstance(error, openai.OpenAIError) and isinstance(status, int):
            return self._faults.of_status(status, str(error), {})
        raise error


def _load() -> Any:
    # without these it asks the network for prices and headers as soon as it is imported
    for name in ("LITELLM_LOCAL_MODEL_COST_MAP", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"):
        os.environ.setdefault(name, "True")
    try:
        litellm: Any = import_module("litellm")
    except ImportError as error:
        raise MissingExtra(
            f"litellm: models need the litellm package ({error}); install it with: pip install 'agentopt[litellm]'"
        ) from None
    litellm.suppress_debug_info = True  # it prints advice to stdout
    return litellm


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
