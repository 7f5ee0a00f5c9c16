"""Cassettes: what a model was asked and what it said, one JSON line each, to be played again without the model.

A line is ``{"key": digest, "request": {...}, "reply": {...}}``. Nothing else is in it: no headers, no keys, no addresses.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, ModelError
from agentopt.core.errors import ConfigError, RunFailed

__all__ = ["Recorder", "Replay"]


class Replay:
    """``replay:FILE``: answers from a cassette, and from nothing else."""

    def __init__(self, file: str | Path) -> None:
        """Raises ConfigError, naming file and line, for what is no cassette."""
        self.name = f"replay:{file}"
        self._replies = _load(Path(file))
        if not self._replies:
            raise ConfigError(f"replay:{file}: the cassette is empty; record one with --record {file}")

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises ModelError of kind ``not_found``, with the beginning of the request, for one that was not recorded."""
        reply = self._replies.get(request.digest)
        if reply is None:
            words = " ".join(request.messages[-1].content.split())[:120]
            purpose = f", purpose {request.purpose!r}" if request.purpose else ""
            raise ModelError(
                "not_found", f"{self.name}: the cassette lacks the request {request.digest} (sample {request.sample}{purpose}): {words}"
            )
        return reply

    async def close(self) -> None: ...


class Recorder:
    """A model whose replies are added to a cassette as they come. One that is there already is not asked for again."""

    def __init__(self, model: ChatModel, file: str | Path) -> None:
        """Raises ConfigError for a file that is no cassette or cannot be written."""
        self._model = model
        self._file = Path(file)
        self._replies = _load(self._file) if self._file.exists() else {}
        self._tape = -1
        self._broken = ""
        if not os.access(self._file if self._file.exists() else self._file.parent, os.W_OK):
            raise ConfigError(f"--record {file}: the cassette cannot be written; check path and permissions")

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises RunFailed if the reply before could not be written: that one was paid for, so it was given out first."""
        if self._broken:
            raise RunFailed(self._broken)
        key = request.digest
        if key not in self._replies:
            self._replies[key] = reply = await self._model.complete(request)
            try:
                self._write({"key": key, "request": request.to_json(), "reply": reply.to_json()})
            except OSError as error:
                self._broken = f"--record {self._file}: the cassette cannot be written ({error.strerror}); check the disk"
        return self._replies[key]

    def _write(self, row: Mapping[str, Any]) -> None:
        """The file is there from the first reply on."""
        if self._tape < 0:
            self._tape = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._tape, _whole_lines(self._file))
        os.write(self._tape, json.dumps(row).encode() + b"\n")
        os.fsync(self._tape)

    async def close(self) -> None:
        if self._tape >= 0:
            os.close(self._tape)
            self._tape = -1
        await self._model.close()


def _whole_lines(file: Path) -> int:
    """Bytes up to the end of the last line that has one."""
    return file.read_bytes().rfind(b"\n") + 1


def _load(file: Path) -> dict[str, ChatReply]:
    """A last line that was cut off when its writer died is left out."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"{file}: the cassette cannot be read ({error.strerror}); check the path") from None
    replies: dict[str, ChatReply] = {}
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = cast("Mapping[str, Any]", json.loads(line))
            replies[row["key"]] = ChatReply.from_json(row["reply"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}, line {number}: this is no line of a cassette ({error!r:.100})") from None
    return replies
