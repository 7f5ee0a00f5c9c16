"""What a search asks of its cell: ratings of programs, over a socket; and replies of the stand-in model. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import urllib.request
from pathlib import Path
from typing import Any

__all__ = ["Job", "ask", "chat"]

SOCKET = "SEARCH_SOCKET"


class Job:
    """What the cell tells a search, from the file named on its command line."""

    def __init__(self, file: str) -> None:
        told = json.loads(Path(file).read_text())
        self.folder = Path(told["folder"])
        self.name: str = told["name"]
        self.goal: str = told["goal"]
        self.seed: str = told["seed"]
        self.url: str = told["url"]
        self.rng_seed: int = told["rng_seed"]
        self.evaluations: int = told["evaluations"]
        self.cases: int = told["cases"]
        self.options: dict[str, Any] = told["options"]


def ask(**request: Any) -> dict[str, Any]:
    """``ask(source=...)`` rates a program on all train cases, ``ask(source=..., case=2)`` on one: fitness and failure.

    Where the budget is spent there is no answer: the cell ends its search.
    """
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[SOCKET])
        with line.makefile("rw") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            return json.loads(stream.readline())


def chat(url: str, messages: list[dict[str, Any]]) -> str:
    """The text of the model's reply."""
    body = json.dumps({"model": "stand-in", "messages": messages}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]
