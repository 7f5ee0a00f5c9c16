"""A model in this process that says what a script says: for tests of what asks one, without a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentopt.core.chat import ChatReply, ChatRequest, ModelError, Usage

__all__ = ["ScriptedModel"]

Line = str | ChatReply | ModelError


class ScriptedModel:
    """``core.chat.ChatModel``; ``requests`` is what it was asked.

    The script is a sequence of lines, the last of which serves on, or a function of the request. A text is a reply whose tokens are its
    words; an error is raised.
    """

    def __init__(self, script: Sequence[Line] | Callable[[ChatRequest], Line], name: str = "scripted") -> None:
        """Raises ValueError for a script without lines."""
        if not callable(script) and not script:
            raise ValueError("a script needs at least one line")
        self.name = name
        self.requests: list[ChatRequest] = []
        self._script = script

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        line = self._script(request) if callable(self._script) else self._script[min(len(self.requests), len(self._script)) - 1]
        if isinstance(line, ModelError):
            raise line
        if isinstance(line, ChatReply):
            return line
        given = sum(len(message.content.split()) for message in request.messages)
        return ChatReply(line, self.name, "stop", Usage(given, len(line.split())))

    async def close(self) -> None:
        """Nothing to end."""
