"""``command:CMD``: a program of the user's as a model, mostly a coding agent. The prompt is its stdin, its stdout the reply.

docs/agents.md tells what it gets and sees. It makes no other model calls of ours: whatever it asks, it asks by itself.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentopt.core.boot import boot_command
from agentopt.core.chat import ChatReply, ChatRequest, ModelError, ModelErrorKind
from agentopt.core.errors import ConfigError
from agentopt.llm import agent_box
from agentopt.llm.agent_box import Allowed
from agentopt.llm.relay import readable
from agentopt.llm.secrets import safe_text, without_secrets, without_values

__all__ = ["Agent", "CommandModel", "find_agent"]

_MOST_BYTES = 4 << 20
_SHOWN = 300
_PATIENCE = 10.0
"""Seconds to wait for the end of what was killed. It ends without us too."""
_INSTALL = "apt-get install bubblewrap (dnf, pacman and apk have it under the same name)"


@dataclass(frozen=True)
class Agent:
    """A command line that can be run. ``bwrap`` is None for one without a box. ``given`` are the variables it gets of ours."""

    words: tuple[str, ...]
    bwrap: str | None
    allowed: tuple[Allowed, ...]
    given: Mapping[str, str] = field(repr=False)


def find_agent(text: str, allow: Sequence[str], names: Sequence[str], unsafe: bool, environ: Mapping[str, str]) -> Agent:
    """The agent that ``command:text`` names. Raises ConfigError for one that cannot be run, or not in a box."""
    spec = f"command:{text}"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"{spec}: the command cannot be split into words ({error}); check its quotes") from None
    tool = shutil.which(words[0], path=environ.get("PATH")) if words else None
    if tool is None:
        raise ConfigError(f"{spec}: there is no program {''.join(words[:1])!r} to start; install it, or write its whole path")
    words[0] = os.path.abspath(tool)
    allowed = agent_box.read_allowed(allow)
    if missing := [name for name in names if name not in environ]:
        raise ConfigError(f"--agent-env {missing[0]}: the variable is not set; set it, or leave it out")
    bwrap = None if unsafe else _boxed(spec, words[0], allowed)
    return Agent(tuple(words), bwrap, allowed, {name: environ[name] for name in names})


def _boxed(spec: str, tool: str, allowed: Sequence[Allowed]) -> str:
    bwrap = agent_box.find_bwrap()
    if bwrap is None:
        raise ConfigError(f"{spec}: agents run in a box of bubblewrap, which is not installed: {_INSTALL}; or give --unsafe-agent")
    if not agent_box.is_visible(tool, allowed):
        where = os.path.dirname(os.path.realpath(tool))
        raise ConfigError(f"{spec}: its box does not show {os.path.realpath(tool)}; give --agent-allow {where}, or the folder it lies in")
    if why := agent_box.why_not(bwrap, allowed):
        raise ConfigError(f"{spec}: its box cannot be made here ({why}); user namespaces have to be allowed; or give --unsafe-agent")
    return bwrap


class CommandModel:
    """A ChatModel. A call is a run of the agent in a fresh folder, which may take ``seconds``."""

    def __init__(self, text: str, agent: Agent, seconds: float) -> None:
        self._agent = agent
        self._seconds = seconds
        self.name = f"command:{text}"
        self.answers_as = self.name if agent.bwrap else f"{self.name} (without a box)"
        """The name in its replies, so that whatever logs them is stamped with it."""

    def __repr__(self) -> str:
        return f"CommandModel({self.name!r})"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ModelError, none of which is retryable, because a run may be dear and agents repeat their own requests: ``timeout``,
        ``malformed`` for too much text, ``server`` for any other end but exit status 0.
        """
        begun = time.monotonic()
        prompt, out, err = (os.memfd_create(name) for name in ("prompt", "reply", "said"))
        try:
            _fill(prompt, readable(request.messages).encode("utf-8", "surrogatepass"))
            async with asyncio.timeout(self._seconds):
                status = await self._run(prompt, out, err)
            text, said = _contents(out), _contents(err).decode(errors="replace")
        except TimeoutError:
            raise self._error("timeout", f"no end within {self._seconds:g} s") from None
        finally:
            for descriptor in (prompt, out, err):
                os.close(descriptor)
        if len(text) > _MOST_BYTES:
            raise self._error("malformed", f"it wrote more than {_MOST_BYTES} bytes")
        if status != 0:
            end = safe_text(without_secrets(said, *self._agent.given.values())[-_SHOWN:])
            raise self._error("server", f"exit status {status}: {end or 'it wrote nothing to stderr'}")
        # what it prints may hold what it was given, and a reply goes into the log
        shown = without_values(text.decode(errors="replace"), self._agent.given.values())
        return ChatReply(shown, self.answers_as, "stop", latency=time.monotonic() - begun)

    async def close(self) -> None:
        """Nothing of it lives between two calls."""

    def _error(self, kind: ModelErrorKind, message: str) -> ModelError:
        return ModelError(kind, f"{self.name}: {message}", retryable=False)

    async def _run(self, prompt: int, out: int, err: int) -> int:
        """The exit status. However this is left, the agent ends with all that came of it, and its folder is removed."""
        folder = agent_box.furnish()
        listen, control = os.pipe()
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *boot_command("agentopt.llm.keeper", folder, str(listen), str(_MOST_BYTES), *self._command(folder)),
                stdin=prompt,
                stdout=out,
                stderr=err,
                env=self._environment(folder),
                cwd=f"{folder}/work",
                pass_fds=(listen,),
                start_new_session=True,  # Ctrl-C at a terminal is ours to hear, and to hand on
            )
            os.write(control, b"\0")
            return await process.wait()
        finally:
            os.close(listen)
            os.close(control)
            if process is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=_PATIENCE)

    def _command(self, folder: str) -> list[str]:
        if self._agent.bwrap is None:
            return list(self._agent.words)
        return [self._agent.bwrap, *agent_box.arguments(folder, self._agent.allowed, self._agent.words)]

    def _environment(self, folder: str) -> dict[str, str]:
        """All that an agent finds in its environment. It goes to the keeper too, and never onto a command line, which everybody sees."""
        home = agent_box.BOX if self._agent.bwrap else f"{folder}/work"
        path = f"{os.path.dirname(self._agent.words[0])}:{agent_box.PATH}"
        fixed = {"PATH": path, "HOME": home, "TMPDIR": "/tmp" if self._agent.bwrap else home, "LANG": "C.UTF-8", "USER": "agent"}
        return {**fixed, **self._agent.given}


def _fill(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)


def _contents(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
