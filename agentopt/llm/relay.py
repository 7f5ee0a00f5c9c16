"""``relay:DIR``: a model that answers through files. Whoever can read and write the folder can be it: a person, an agent, a queue.

In the folder lies, per open question, ``<id>.request.md``: a head of ``key: value`` lines between two ``---``, then the messages, each
under a line ``=== system``, ``=== user`` or ``=== assistant``. The id is the digest of the question, so a question that is asked
again is the same file. To answer, write the reply's text to another name and rename it to ``<id>.reply.md``. Whoever works on
one may say so with ``<id>.lease``, made with exclusive creation, whose first line is a name and whose second line is a number of
seconds: others leave it alone for that long from the file's time on. A reply that was used goes to ``answered/`` with its request.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from agentopt.core.chat import ChatReply, ChatRequest, Message, ModelError, Role
from agentopt.core.errors import ConfigError

__all__ = ["OpenRequest", "Relay", "answer", "claim", "open_requests"]

_REQUEST, _REPLY, _LEASE, _ANSWERED = ".request.md", ".reply.md", ".lease", "answered"
_TURN = re.compile(r"^=== (system|user|assistant)\n", re.MULTILINE)
_LIKE_A_TURN = re.compile(r"^(?=\\*=== )", re.MULTILINE)
_ESCAPED = re.compile(r"^\\(?=\\*=== )", re.MULTILINE)
_MOST_BYTES = 4 << 20


class Relay:
    """A ChatModel. ``seconds`` is how long an answer may take, ``every`` how often is looked for one."""

    def __init__(self, folder: str | Path, seconds: float = 3600.0, every: float = 0.2) -> None:
        """Raises ConfigError for a folder that cannot be used."""
        self._folder = Path(folder)
        self._seconds = seconds
        self._every = every
        if not self._folder.is_dir():
            raise ConfigError(f"relay:{folder}: there is no such folder; make it, or name another")
        try:
            (self._folder / _ANSWERED).mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"relay:{folder}: the folder cannot be written ({error.strerror}); check its permissions") from None

    @property
    def name(self) -> str:
        return f"relay:{self._folder}"

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Waits for the answer. Raises ModelError of kind ``timeout``; the question stays open then and may be answered later."""
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
    head["max_output_tokens"] = request.max_output_tokens
    lines = ["---", *(f"{name}: {value}" for name, value in head.items() if value not in ("", None)), "---"]
    for message in request.messages:
        # a line of a message that looks like the head of one is told apart by a backslash before it
        lines += [f"=== {message.role}", _LIKE_A_TURN.sub(r"\\", message.content)]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    """There whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(text.encode("utf-8", "surrogatepass"))
    os.replace(temporary, path)


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
            if not (Path(folder) / f"{key}{_REPLY}").exists() and not _leased(Path(folder) / f"{key}{_LEASE}"):
                found.append(_read(key, path))
    yield from sorted(found, key=lambda request: (request.asked, request.id))


def claim(folder: str | Path, key: str, who: str, seconds: float) -> bool:
    """Lease a question for so long; False if somebody else has it."""
    path = Path(folder) / f"{key}{_LEASE}"
    if not _leased(path):
        path.unlink(missing_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{who}\n{seconds:g}\n")
    except FileExistsError:
        return False
    return True


def answer(folder: str | Path, key: str, text: str) -> None:
    """Answer a question."""
    _write(Path(folder) / f"{key}{_REPLY}", text)


def _leased(path: Path) -> bool:
    try:
        seconds = float(path.read_text(encoding="utf-8").splitlines()[1])
        return time.time() < path.stat().st_mtime + seconds
    except FileNotFoundError:
        return False
    except (OSError, ValueError, IndexError):
        return True  # it is being written, or by somebody who does it in another way: not ours to take


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
