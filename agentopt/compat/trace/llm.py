"""A chat model as a function: through the openai library, whose calls traces and budgets know."""

from __future__ import annotations

import os
from typing import Any

from agentopt.core.errors import ConfigError

__all__ = ["LLM", "answer"]

_VARIABLE = "AGENTOPT_MODEL"


class LLM:
    """``llm(messages=[...])`` gives the library's own reply: ``reply.choices[0].message.content``.

    ``model`` is a name, or ``openai:NAME``; by default what AGENTOPT_MODEL says. Key and address come from OPENAI_API_KEY and
    OPENAI_BASE_URL.
    """

    def __init__(self, model: str | None = None) -> None:
        """Raises ConfigError where no model is named."""
        named = model or os.environ.get(_VARIABLE, "")
        if not named:
            raise ConfigError(f"no model is named; set {_VARIABLE}, for example to openai:gpt-4o-mini")
        scheme, colon, rest = named.partition(":")
        if colon and scheme != "openai":
            raise ConfigError(f"{named!r} cannot be asked from here; name one that speaks OpenAI's protocol, as openai:NAME")
        self.model = rest or scheme

    def __call__(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        import openai

        with openai.OpenAI() as client:
            chat: Any = client.chat
            return chat.completions.create(model=self.model, messages=messages, **options)


def answer(system_prompt: str, *user_prompts: str, **kwargs: Any) -> str:
    """What the model says to these messages; other arguments are options of the request."""
    messages = [{"role": "system", "content": system_prompt}, *({"role": "user", "content": prompt} for prompt in user_prompts)]
    return LLM()(messages, **kwargs).choices[0].message.content or ""
