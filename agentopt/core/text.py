"""Text that somebody else wrote, made safe to log, print and put into a prompt."""

from __future__ import annotations

import re

__all__ = ["clean_text", "gist"]

# C0 and C1 control characters but tab and newline, the marks that turn the direction of writing, and lone surrogates
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_NAMES = re.compile(r"[\w.]*(?:Error|Exception|Exit|Interrupt|Iteration|Warning|Group)\b")


def clean_text(text: str, limit: int = 4000) -> str:
    """``text`` without control characters, at most ``limit`` characters; a cut is marked by an ellipsis in its middle."""
    if len(text) > limit:
        half = (limit - 5) // 2
        text = f"{text[:half]}\n...\n{text[-half:]}"
    return _UNSAFE.sub("", text)


def gist(message: str) -> str:
    """Of a traceback the last line that names an exception, of any other text the first line."""
    lines = [line.strip() for line in message.strip().splitlines()]
    return next((line for line in reversed(lines) if _NAMES.match(line)), lines[0] if lines else "")
