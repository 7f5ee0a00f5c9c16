"""Asking a model for new values or for a text: one request, and one more where the first reply is of no use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from agentopt.core.chat import ChatReply, ChatRequest, Message
from agentopt.core.protocols import Chat
from agentopt.core.task import Parameter, Values
from agentopt.core.text import clean_text
from agentopt.llm.outline import prepare
from agentopt.llm.replies import Unusable, Usable, read_reply, repair_request

__all__ = ["Said", "ask_for_change", "ask_for_text", "ask_for_values", "ask_in_form", "follow_up", "idea_of"]

_LONGEST_IDEA = 300
_IDEA = re.compile(r"^[ \t>#*_-]*(?:\d[.)][ \t*_]*)?IDEA[ \t*_]*:[ \t*_]*(\S.*)$", re.M)
_LONGEST_SHOWN = 20_000
"""So much of an unusable reply is shown to the model again."""
_OPENING = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.I)
_ENDING = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.I)


@dataclass(frozen=True)
class Said:
    """A reply that was read: the ``request`` and the ``text`` that answers it, and what became ``found`` of it."""

    request: ChatRequest
    text: str
    found: Usable | Unusable


async def ask_for_values(
    chat: Chat, request: ChatRequest, parameters: Mapping[str, Parameter], parent: Values, rng: Random
) -> Usable | Unusable:
    """What the reply makes of the ``parent`` that the model was shown; an unusable reply is asked to be mended, once.

    Raises ModelError and BudgetSpent.
    """
    return (await ask_for_change(chat, request, parameters, parent, rng)).found


async def ask_for_change(chat: Chat, request: ChatRequest, parameters: Mapping[str, Parameter], parent: Values, rng: Random) -> Said:
    """As ``ask_for_values``, with the reply itself: for what stands beside the values, and to ask on with ``follow_up``."""

    def read(reply: ChatReply) -> Usable | Unusable:
        return read_reply(reply.text, parameters, parent, finish=reply.finish)

    return await ask_in_form(chat, request, read, lambda problem: repair_request(problem, parameters), rng)


async def ask_in_form(
    chat: Chat, request: ChatRequest, read: Callable[[ChatReply], Usable | Unusable], mend: Callable[[Unusable], str], rng: Random
) -> Said:
    """As ``ask_for_change``, with a reader of the caller's and what it says to have an unusable reply mended.

    A reply that says that nothing needs to change is taken at its word. Raises ModelError and BudgetSpent.
    """
    said = await _ask(chat, request, read, rng)
    if isinstance(said.found, Usable) or said.found.verdict == "no_change":
        return said
    return await _ask(chat, follow_up(said, mend(said.found), "repair", rng), read, rng)


def follow_up(said: Said, text: str, purpose: str, rng: Random) -> ChatRequest:
    """The conversation so far and one more turn of the user's; what the model said is cut to its first and last part if it is long."""
    before = clean_text(said.text, _LONGEST_SHOWN).strip() or "(no text)"
    messages = (*said.request.messages, Message("assistant", before), Message("user", text))
    purpose = f"{said.request.purpose} ({purpose})".strip()
    return replace(said.request, messages=messages, sample=rng.getrandbits(31), purpose=purpose)


async def _ask(chat: Chat, request: ChatRequest, read: Callable[[ChatReply], Usable | Unusable], rng: Random) -> Said:
    reply = await chat.complete(request, rng)
    return Said(request, reply.text, read(reply))


async def ask_for_text(chat: Chat, request: ChatRequest, rng: Random, limit: int) -> str:
    """What the model says, without its reasoning and at most ``limit`` characters; empty if it declines or has nothing to say.

    Raises ModelError and BudgetSpent.
    """
    reply = await chat.complete(request, rng)
    if reply.finish in ("filter", "refusal"):
        return ""
    return clean_text(_without_reasoning(reply.text).strip(), limit)


def idea_of(text: str) -> str:
    """What a reply says in its first line ``IDEA: ...`` outside of its reasoning; empty without one."""
    found = _IDEA.search(_without_reasoning(text))
    return " ".join(clean_text(found[1].strip(" *_"), _LONGEST_IDEA).split()) if found else ""


def _without_reasoning(text: str) -> str:
    text = prepare(text)
    if ending := _ENDING.search(text):
        return text[ending.end() :]
    return "" if _OPENING.match(text) else text
