"""A model server on loopback that speaks OpenAI's protocol and does, request by request, what a script says: answer, refuse, or break.

``with FakeLLM([Step(status=429), Step("hello")]) as server:`` and a client at ``server.url`` meets a rate limit, then a reply. It keeps
every request. It needs no key, runs in a thread of its own and has nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

from agentopt.core.errors import ConfigError
from agentopt.testing.forms import in_form, streamed

__all__ = ["FakeLLM", "Fault", "Received", "Script", "Step", "read_script"]

Fault = Literal["stall", "cut", "reset", "malformed"]
_LARGEST_HEAD = 1 << 20
_ENDPOINTS = ("chat/completions", "responses", "completions", "embeddings")


@dataclass(frozen=True)
class Step:
    """What the server does with a request. Raises ValueError for what it cannot do.

    A status of 400 or above sends an error body with ``error`` and ``code``, any other a completion of ``text`` (cut to the request's
    cap, one token per word), or of ``tool_calls``, each ``{"name": ..., "arguments": {...}}``; as a stream if the request wants one.
    ``usage`` is ``"counted"``, None (left out) or the very object to send. ``body`` replaces the whole body.
    ``delay`` is seconds before the first byte, ``drip`` seconds between the bytes of the body. Faults: ``stall`` sends nothing, ``cut``
    closes in the middle of the body, ``reset`` resets the connection, ``malformed`` sends half a JSON body as if it were whole.
    """

    text: str = "ok"
    finish: str | None = None
    refusal: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    choices: int = 1
    usage: Mapping[str, Any] | Literal["counted"] | None = "counted"
    status: int = 200
    error: str = ""
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str | None = None
    content_type: str = "application/json"
    delay: float = 0.0
    drip: float = 0.0
    fault: Fault | None = None
    times: int = 1
    """How many requests in a row it serves."""

    def __post_init__(self) -> None:
        if self.fault is not None and self.fault not in get_args(Fault):
            raise ValueError(f"the fault {self.fault!r} is unknown; write {', '.join(get_args(Fault))}")
        if self.times < 1 or self.choices < 0 or self.delay < 0 or self.drip < 0:
            raise ValueError("times must be at least 1, and choices, delay and drip at least 0")

    def payload(self, asked: Mapping[str, Any], endpoint: str = "chat/completions") -> bytes:
        """The body of the reply to the request ``asked``."""
        if self.body is not None:
            return self.body.encode()
        if self.status >= 400:
            return json.dumps({"error": {"message": self.error, "type": None, "param": None, "code": self.code}}).encode()
        if self._streams(asked):
            return streamed(endpoint, self._completion(asked), "include_usage" in json.dumps(asked.get("stream_options")))
        return json.dumps(in_form(endpoint, self._completion(asked))).encode()

    def type_for(self, asked: Mapping[str, Any]) -> str:
        """What the reply to ``asked`` says that it is."""
        return "text/event-stream" if self._streams(asked) else self.content_type

    def _streams(self, asked: Mapping[str, Any]) -> bool:
        return bool(asked.get("stream")) and self.body is None and self.status < 400

    def _completion(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        cap = asked.get("max_completion_tokens") or asked.get("max_tokens") or asked.get("max_output_tokens")
        words = self.text.split(" ")
        cut = cap is not None and len(words) > cap
        text = " ".join(words[:cap]) if cut else self.text
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.refusal is not None:
            message |= {"content": None, "refusal": self.refusal}
        if self.tool_calls:
            calls = [_tool_call(number, call) for number, call in enumerate(self.tool_calls, _answered(asked))]
            message |= {"content": None, "tool_calls": calls}
        finish = self.finish or ("tool_calls" if self.tool_calls else "length" if cut else "stop")
        completion: dict[str, Any] = {
            "id": "fake",
            "object": "chat.completion",
            "created": 0,
            "model": asked.get("model", "fake"),
            "choices": [{"index": index, "message": message, "finish_reason": finish} for index in range(self.choices)],
        }
        if self.usage is not None:
            completion["usage"] = _count(asked, text) if self.usage == "counted" else dict(self.usage)
        return completion


def _answered(asked: Mapping[str, Any]) -> int:
    """How many tool calls of the conversation have an answer: the ids of the next ones begin there, for clients want new ones."""
    told: Any = asked.get("messages") or ()
    return sum(1 for message in told if isinstance(message, dict) and cast("Any", message).get("role") == "tool")


def _tool_call(number: int, call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call.get("arguments", {}))
    return {"id": f"call_{number}", "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _count(asked: Mapping[str, Any], text: str) -> dict[str, int]:
    told: Any = asked.get("messages") or asked.get("input") or asked.get("prompt") or ()
    parts: list[Any] = [told] if isinstance(told, str) else [cast("Any", p).get("content", "") if isinstance(p, dict) else p for p in told]
    given = sum(len(str(part).split(" ")) for part in parts)
    made = len(text.split(" "))
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


@dataclass(frozen=True)
class Received:
    """A request as it came: its number from 1, seconds since the server began, header names in lower case."""

    number: int
    time: float
    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)  # they hold the client's key


Script = Sequence[Step] | Callable[[Received], Step]


def read_script(path: Path) -> list[Step]:
    """Steps from a JSON list of objects with Step's fields. Raises ConfigError naming the file and the step."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: the script cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(data, list) or not data:
        raise ConfigError(f'{path}: a script is a list of steps, for example [{{"status": 429}}, {{"text": "hello"}}]')
    return [_step(item, f"{path}: step {number}") for number, item in enumerate(cast("list[Any]", data), 1)]


def _step(item: Any, where: str) -> Step:
    known = {each.name for each in fields(Step)}
    if not isinstance(item, dict) or not cast("dict[str, Any]", item).keys() <= known:
        raise ConfigError(f"{where}: give an object with keys among {', '.join(sorted(known))}")
    try:
        return Step(**cast("dict[str, Any]", item))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


class FakeLLM:
    """The server, as a context manager. When the script is at its end, the last step serves on.

    ``url`` is the base URL for a client, ``requests`` what came to ``/chat/completions``, ``/responses``, ``/completions`` and
    ``/embeddings``, ``disconnects`` how often a client went away before its reply was complete.
    """

    def __init__(self, script: Script = (Step(),), port: int = 0) -> None:
        """Binds the port at once; 0 takes any free one. Raises ConfigError if it is taken."""
        self._script = script
        self._steps = [] if callable(script) else [step for step in script for _ in range(step.times)]
        try:
            self._socket = socket.create_server(("127.0.0.1", port))
            # asyncio does this only for sockets that name their protocol; without it a reply waits 40 ms for the client's system
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror}; choose another or leave it out") from None
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        self.requests: list[Received] = []
        self.disconnects = 0
        self._began = time.monotonic()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-llm", daemon=True)
        self._stop = asyncio.Event()

    def __enter__(self) -> FakeLLM:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def wait_for_disconnects(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Whether ``count`` clients have gone away within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.disconnects >= count, timeout)

    def wait_for_requests(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Whether ``count`` requests have come within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    # --- in the server's thread

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connection, sock=self._socket, limit=_LARGEST_HEAD)
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for path, headers, data in _requests(reader):
                step, asked = self._step_for(path, headers, data)
                if not await _send(step, (asked, _endpoint(path) or ""), reader, writer):
                    break
        except ConnectionError:
            with self._changed:
                self.disconnects += 1
                self._changed.notify_all()
        except asyncio.CancelledError:
            pass  # the server is closing
        finally:
            writer.close()

    def _step_for(self, path: str, headers: Mapping[str, str], data: bytes) -> tuple[Step, Mapping[str, Any]]:
        """What to do, and the request's body; only what is well-formed and at the right address takes a step of the script."""
        try:
            body: Any = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return Step(status=400, error="the body is not a JSON object"), {}
        if _endpoint(path) is None:
            return Step(status=404, error=f"there is nothing at {path}"), {}
        with self._changed:
            received = Received(len(self.requests) + 1, time.monotonic() - self._began, path, cast("dict[str, Any]", body), headers)
            self.requests.append(received)
            self._changed.notify_all()
        step = self._script(received) if callable(self._script) else self._steps[min(received.number, len(self._steps)) - 1]
        return step, received.body


async def _requests(reader: asyncio.StreamReader) -> AsyncIterator[tuple[str, dict[str, str], bytes]]:
    """(path, headers, body) of each request on a connection, until the client closes it between two of them."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (EOFError, ConnectionError):
            return
        first, *lines = head.split("\r\n")
        pairs = [line.partition(":") for line in lines if line]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        try:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except EOFError:
            return
        yield [*first.split(" "), ""][1], headers, body


def _endpoint(path: str) -> str | None:
    return next((endpoint for endpoint in _ENDPOINTS if path.partition("?")[0].endswith(f"/{endpoint}")), None)


async def _send(step: Step, asked: tuple[Mapping[str, Any], str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Do what the step says; whether the connection stays open. Raises ConnectionError when the client has gone away."""
    if step.delay:
        await _unless_gone(asyncio.sleep(step.delay), reader)
    if step.fault == "stall":
        await _unless_gone(asyncio.Event().wait(), reader)
    if step.fault == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False
    payload = step.payload(*asked)
    if step.fault == "malformed":
        payload = payload[: len(payload) // 2]
    writer.write(_head(step, step.type_for(asked[0]), len(payload)))
    if step.fault == "cut":
        payload = payload[: len(payload) // 2]
    for part in [payload] if not step.drip else [payload[at : at + 1] for at in range(len(payload))]:
        writer.write(part)
        await writer.drain()
        if step.drip:
            await _unless_gone(asyncio.sleep(step.drip), reader)
    return step.fault != "cut"


def _head(step: Step, content_type: str, length: int) -> bytes:
    headers = {"Content-Type": content_type, "Content-Length": str(length), **step.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {step.status} Scripted\r\n{lines}\r\n".encode("latin-1")


async def _unless_gone(waiting: Coroutine[Any, Any, object], reader: asyncio.StreamReader) -> None:
    """Wait for it, or raise ConnectionError as soon as the client closes its side."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(waiting), asyncio.ensure_future(reader.read(1))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[1].done():
            raise ConnectionResetError("the client has gone away")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
