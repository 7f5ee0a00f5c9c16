"""``relay:DIR``: a model that answers through files. Whoever can read and write the folder can be it: a person, an agent, a queue.

docs/relay.md is the format: ``<id>.request.md``, answered by ``<id>.reply.md``, taken by ``<id>.lease``, put away in ``answered/``.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from agentopt.core.chat import ChatReply, ChatRequest, Message, ModelError, Role
from agentopt.core.errors import ConfigError

__all__ = ["OpenRequest", "Relay", "answer", "claim", "find", "open_requests", "question", "readable"]

_REQUEST, _REPLY, _LEASE, _ANSWERED = ".request.md", ".reply.md", ".lease", "answered"
_LOCK = ".leases"
_TURN = re.compile(r"^=== (system|user|assistant)\n", re.MULTILINE)
_LIKE_A_TURN = re.compile(r"^(?=\\*=== )", re.MULTILINE)
_BACKSLASH = r"\\"
_ESCAPED = re.compile(r"^\\(?=\\*=== )", re.MULTILINE)
_MOST_BYTES = 4 << 20
_UNCLEAR_LEASE = 3600.0
"""Seconds that a lease holds which does not say for how long."""


class Relay:
    """A ChatModel. ``seconds`` is how long an answer may take, ``every`` how often is looked for one."""

    def __init__(self, folder: str | Path, seconds: float = 3600.0, every: float = 0.2) -> None:
        """Raises ConfigError for a folder that cannot be used."""
        self.name = f"relay:{folder}"
        self._folder = Path(folder)
        self._seconds = seconds
        self._every = every
        if not self._folder.is_dir():
            raise ConfigError(f"relay:{folder}: there is no such folder; make it, or name another")
        try:
            (self._folder / _ANSWERED).mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"relay:{folder}: the folder cannot be written ({error.strerror}); check its permissions") from None

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Waits for the answer. Raises ModelError: ``timeout``, after which the question stays open and may be answered later, or
        ``malformed`` or ``connection`` for an answer or a folder that cannot be used.
        """
        try:
            return await self._complete(request)
        except OSError as error:
            raise ModelError("connection", f"{self.name}: {error.filename}: {error.strerror}", retryable=False) from None

    async def _complete(self, request: ChatRequest) -> ChatReply:
        begun = time.monotonic()
        key = request.digest
        text = self._answer(key)
        if text is None:
            self._ask(key, request)
        while text is None:
            if time.monotonic() - begun > self._seconds:
                raise ModelError("timeout", f"{self.name}: nobody answered {key}{_REQUEST} within {self._seconds:g} s", retryable=False)
            await asyncio.sleep(self._every)
            text = self._answer(key)
        self._put_away(key)
        return ChatReply(text, self.name, "stop", latency=time.monotonic() - begun)

    async def close(self) -> None:
        """Open questions stay."""

    def _ask(self, key: str, request: ChatRequest) -> None:
        path = self._folder / f"{key}{_REQUEST}"
        if not path.exists():
            _write(path, _spell(key, request))

    def _answer(self, key: str) -> str | None:
        """Also one that was used before: a run that was killed in between asks again."""
        for path in (self._folder / f"{key}{_REPLY}", self._folder / _ANSWERED / f"{key}{_REPLY}"):
            with suppress(FileNotFoundError):
                with path.open("rb") as file:
                    data = file.read(_MOST_BYTES + 1)
                if len(data) > _MOST_BYTES:
                    raise ModelError("malformed", f"{path}: the answer has more than {_MOST_BYTES} bytes", retryable=False)
                return data.decode("utf-8", "replace")
        return None

    def _put_away(self, key: str) -> None:
        for suffix in (_REQUEST, _REPLY):
            with suppress(FileNotFoundError):
                os.replace(self._folder / f"{key}{suffix}", self._folder / _ANSWERED / f"{key}{suffix}")
        (self._folder / f"{key}{_LEASE}").unlink(missing_ok=True)


def _spell(key: str, request: ChatRequest) -> str:
    head = {"id": key, "purpose": " ".join(request.purpose.split()), "sample": request.sample, "temperature": request.temperature}
    head |= {
        "max_output_tokens": request.max_output_tokens,
        "seed": request.seed,
        "stop": json.dumps(request.stop) if request.stop else None,
    }
    lines = ["---", *(f"{name}: {value}" for name, value in head.items() if value not in ("", None)), "---"]
    return "\n".join(lines) + "\n" + readable(request.messages)


def readable(messages: Sequence[Message]) -> str:
    """Each message under a line ``=== role``. Such a line within a message gets a backslash before it."""
    return "".join(f"=== {message.role}\n{_LIKE_A_TURN.sub(_BACKSLASH, message.content)}\n" for message in messages)


def _write(path: Path, text: str) -> None:
    """There whole or not at all."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(text.encode("utf-8", "surrogatepass"))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


# --- the other side ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OpenRequest:
    """A question that waits for its answer."""

    id: str
    purpose: str
    messages: tuple[Message, ...]
    asked: float
    """Seconds since the epoch."""


def open_requests(folder: str | Path) -> Iterator[OpenRequest]:
    """The questions in a relay's folder that are neither answered nor leased, oldest first."""
    found: list[OpenRequest] = []
    for path in Path(folder).glob(f"*{_REQUEST}"):
        key = path.name.removesuffix(_REQUEST)
        with suppress(FileNotFoundError):
            if _is_open(Path(folder), key) and not _leased(Path(folder) / f"{key}{_LEASE}"):
                found.append(_read(key, path))
    yield from sorted(found, key=lambda request: (request.asked, request.id))


def find(folder: str | Path, beginning: str) -> str:
    """The id of the one unanswered question that begins so. Raises ConfigError."""
    found = [path.name.removesuffix(_REQUEST) for path in Path(folder).glob(f"*{_REQUEST}")]
    found = [key for key in found if key.startswith(beginning) and _is_open(Path(folder), key)]
    if len(found) != 1:
        problem = "no open question begins with" if not found else f"{len(found)} open questions begin with"
        raise ConfigError(f"{folder}: {problem} {beginning!r}; agentopt relay {folder} lists them")
    return found[0]


def question(folder: str | Path, key: str) -> bytes:
    """The file of a question. Raises ConfigError if it was answered meanwhile."""
    try:
        return (Path(folder) / f"{key}{_REQUEST}").read_bytes()
    except OSError as error:
        raise ConfigError(f"{folder}: {key}{_REQUEST} cannot be read ({error.strerror}); it may have been answered") from None


def claim(folder: str | Path, key: str, who: str, seconds: float) -> bool:
    """Lease a question for so long; False if somebody else has it or nobody waits for its answer."""
    folder = Path(folder)
    lease, own = folder / f"{key}{_LEASE}", folder / f".{key}.{secrets.token_hex(8)}.tmp"
    with (folder / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # or two who see the same lease run out would remove each other's new one
        if _leased(lease) or not _is_open(folder, key):
            return False
        lease.unlink(missing_ok=True)
        try:
            own.write_text(f"{' '.join(who.split())}\n{seconds:g}\n", encoding="utf-8")
            os.link(own, lease)
        except FileExistsError:
            return False  # by somebody who knows nothing of our lock
        finally:
            own.unlink(missing_ok=True)
    return True


def answer(folder: str | Path, key: str, text: str) -> None:
    """Answer a question."""
    _write(Path(folder) / f"{key}{_REPLY}", text)


def _is_open(folder: Path, key: str) -> bool:
    return (folder / f"{key}{_REQUEST}").exists() and not (folder / f"{key}{_REPLY}").exists()


def _leased(path: Path) -> bool:
    try:
        since = path.stat().st_mtime
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    try:
        seconds = float(lines[1])
    except (ValueError, IndexError):
        seconds = _UNCLEAR_LEASE  # it is being written, or by somebody who does it in another way
    return time.time() < since + seconds


def _read(key: str, path: Path) -> OpenRequest:
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    head, _, rest = text.removeprefix("---\n").partition("---\n")
    fields: dict[str, str] = {}
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        fields[name] = value
    _, *parts = _TURN.split(rest)
    turns = zip(cast("list[Role]", parts[::2]), parts[1::2], strict=True)
    messages = tuple(Message(role, _ESCAPED.sub("", content.removesuffix("\n"))) for role, content in turns)
    return OpenRequest(key, fields.get("purpose", ""), messages, path.stat().st_mtime)
