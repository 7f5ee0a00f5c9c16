"""A chat whose replies follow from the requests, for tests of optimizers that ask models."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from random import Random

from agentopt.core.chat import ChatReply, ChatRequest
from agentopt.core.task import Parameter

__all__ = ["ScriptedChat", "improving"]

Script = Callable[[ChatRequest], str | ChatReply]


class ScriptedChat:
    """``core.protocols.Chat`` over two models, one of which is drawn for each call: what the same one was paid for is not asked again.

    ``paid`` are the requests in order; ``asked`` counts all calls. Each call lets others go first, as a call of a model would.
    """

    models: Sequence[str] = ("fake:one", "fake:two")

    def __init__(self, script: Script) -> None:
        self._script = script
        self._replies: dict[tuple[str, str], ChatReply] = {}
        self.paid: list[ChatRequest] = []
        self.asked = 0

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        self.asked += 1
        key = rng.choice(self.models), request.digest
        if key not in self._replies:
            self.paid.append(request)
            await asyncio.sleep(0)
            reply = self._script(request)
            self._replies[key] = reply if isinstance(reply, ChatReply) else ChatReply(reply, "fake-model", "stop")
        return self._replies[key]

    def only(self, model: str) -> ScriptedChat:
        alone = copy(self)  # what was paid for is shared
        alone.models = (model,)
        return alone

    @property
    def steps(self) -> list[str]:
        """The steps of the requests that were paid: ``crossover``, ``crossover (repair)``."""
        return [re.sub(r"^\w+/|@[0-9a-f]{8}", "", request.purpose) for request in self.paid]


def improving(parameters: Mapping[str, Parameter]) -> Script:
    """Advice for what asks for advice, and for the rest new values in the form that is asked for; all of it follows from the request."""

    def reply(request: ChatRequest) -> str:
        number = int(request.digest[:8], 16)
        if re.search(r"_term|directions|paradigms", request.purpose):
            return f"advice {number}"
        trainable = [parameter for parameter in parameters.values() if parameter.trainable]
        return "\n\n".join(f"### file: {parameter.path or parameter.name}\n{_block(parameter, number)}" for parameter in trainable)

    return reply


def _block(parameter: Parameter, number: int) -> str:
    if parameter.kind == "code":
        return f"```{parameter.language}\n{parameter.initial}\nMARK = {number}\n```"
    if parameter.kind == "prompt":
        return f"````text\n{parameter.initial} ({number})\n````"
    value = {key: number / 2**32 for key in parameter.initial} if parameter.kind == "config" else number
    return f"```json\n{json.dumps(value)}\n```"
