"""Asking a model for new values or for a text: one request, and one more where the first reply is of no use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from agentopt.core.chat import ChatRequest, Message
from agentopt.core.protocols import Chat
from agentopt.core.task import Parameter, Values
from agentopt.core.text import clean_text
from agentopt.llm.outline import prepare
from agentopt.llm.replies import Unusable, Usable, read_reply, repair_request

__all__ = ["ask_for_text", "ask_for_values"]

_LONGEST_SHOWN = 20_000
"""So much of an unusable reply is shown to the model again."""
_OPENING = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.I)
_ENDING = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.I)


async def ask_for_values(
    chat: Chat, request: ChatRequest, parameters: Mapping[str, Parameter], parent: Values, rng: Random
) -> Usable | Unusable:
    """What the reply makes of the ``parent`` that the model was shown; an unusable reply is asked to be mended, once.

    Raises ModelError and BudgetSpent.
    """
    reply = await chat.complete(request, rng)
    found = read_reply(reply.text, parameters, parent, finish=reply.finish)
    if isinstance(found, Usable):
        return found
    said = clean_text(reply.text, _LONGEST_SHOWN).strip() or "(no text)"
    again = (*request.messages, Message("assistant", said), Message("user", repair_request(found, parameters)))
    mended = replace(request, messages=again, sample=rng.getrandbits(31), purpose=f"{request.purpose} (repair)".strip())
    reply = await chat.complete(mended, rng)
    return read_reply(reply.text, parameters, parent, finish=reply.finish)


async def ask_for_text(chat: Chat, request: ChatRequest, rng: Random, limit: int) -> str:
    """What the model says, without its reasoning and at most ``limit`` characters; empty if it declines or has nothing to say.

    Raises ModelError and BudgetSpent.
    """
    reply = await chat.complete(request, rng)
    if reply.finish in ("filter", "refusal"):
        return ""
    text = prepare(reply.text)
    if ending := _ENDING.search(text):
        text = text[ending.end() :]
    elif _OPENING.match(text):
        return ""
    return clean_text(text.strip(), limit)
