"""What models were asked and what they said, as ``agentopt why`` shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from agentopt.cli.reading import RunLog
from agentopt.cli.terminal import capped, harmless, number
from agentopt.core.chat import ChatRequest, Usage
from agentopt.core.errors import ConfigError
from agentopt.core.events import Event

__all__ = ["print_ask", "print_calls"]

_LINES = 40
_EVERYTHING = 1 << 30


def print_ask(log: RunLog, index: int, console: Console, full: bool) -> None:
    """One ask that brought nothing usable. Raises ConfigError for one that did not."""
    note = next((note for note in log.notes if note["kind"] == "refused" and note["index"] == index), None)
    if note is None:
        known = [note["index"] for note in log.notes if note["kind"] == "refused"]
        some = f"those are {', '.join(map(str, known[:10]))}" if known else "there are none"
        raise ConfigError(f"{log.folder}: ask {index} is none that was refused; {some}")
    console.print(Text(f"ask {index}: {harmless(note['text'])}", style="bold"), soft_wrap=True)
    for name, value in _told(note["memo"]).items():
        console.print(Text(f"{harmless(name)}: {capped(str(value), _LINES)}"), soft_wrap=True)
    print_calls(log, note.get("calls", ()), console, full)


def _told(memo: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an arm of a composed optimizer said itself, and its name; what the arm cost is in the replies below."""
    if "arm" not in memo or "memo" not in memo:
        return memo
    error = {"error": memo["error"]} if "error" in memo else {}
    return {"arm": memo["arm"], **memo["memo"], **error}


def print_calls(log: RunLog, keys: Sequence[str], console: Console, full: bool) -> None:
    """Each request with its prompt, all attempts at it, and the reply."""
    for number_, key in enumerate(keys, 1):
        events = log.events(key)
        requests = [event for event in events if event.kind == "llm_request"]
        if not requests:
            continue  # a request that was never made
        console.print()
        head = f"request {number_} of {len(keys)} to {requests[0].data['model']}"
        purpose = requests[0].data["purpose"]
        console.print(Text(harmless(f"{head}, {purpose}" if purpose else head), style="bold"), soft_wrap=True)
        request = ChatRequest.from_json(json.loads(log.store.get(requests[0].data["request"])))
        for message in request.messages:
            _print_text(console, message.role, message.content, full)
        for event in events:
            if event.kind == "llm_reply":
                _print_reply(log, event, console, full)


def _print_reply(log: RunLog, event: Event, console: Console, full: bool) -> None:
    data = event.data
    if "text" in data:
        what = f"reply by {data['served_by']}, {data['finish']}, {data['latency']:.3f} s{_taken(data)}"
        _print_text(console, what, log.store.get(data["text"]).decode(), full)
    elif "error" in data:
        console.print(Text(harmless(f"no reply: {data['error']['kind']}: {data['error']['message']}{_taken(data)}"), "red"), soft_wrap=True)
    else:
        what = f"no reply: the process ended first, so nobody knows what came of it{_taken(data)}"
        console.print(Text(harmless(what), "red"), soft_wrap=True)


def _taken(data: Mapping[str, Any]) -> str:
    parts: list[str] = []
    if "usage" in data:
        usage = Usage.from_json(data["usage"])
        parts.append(f"{usage.input_tokens} tokens in, {usage.output_tokens} out")
    elif data.get("tokens"):
        parts.append(f"counted as {data['tokens']} tokens")
    if data.get("usd"):
        parts.append(f"${number(data['usd'])}")
    return "".join(f", {part}" for part in parts)


def _print_text(console: Console, title: str, text: str, full: bool) -> None:
    console.print(Text(harmless(title), style="dim"), soft_wrap=True)
    lines, characters = (_EVERYTHING, _EVERYTHING) if full else (_LINES, 4000)
    console.print(Text(capped(text, lines, characters)), soft_wrap=True)
