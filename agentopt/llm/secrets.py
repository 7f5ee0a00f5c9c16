"""Keeps keys out of whatever people or logs get to see."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from agentopt.core.text import clean_text

__all__ = ["safe_text", "without_secrets", "without_values"]

_MARK = "[secret]"
_SHORTEST = 8
_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|HEADERS", re.IGNORECASE)
_LOOKS_LIKE_ONE = re.compile(
    r"\b(?:sk|gsk|xai|hf)[-_][\w-]{12,}"  # the forms that providers give their keys
    r"|\bAIza[\w-]{20,}"
    r"|(?<=bearer\s)\S{4,}"
    r"|(?<=basic\s)[\w+/=]{8,}"
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)",
    re.IGNORECASE,
)


def without_secrets(text: str, *known: str, environ: Mapping[str, str] | None = None) -> str:
    """``text`` without the ``known`` secrets, without those the environment holds, and without what looks like one."""
    held = {*known, *_held(os.environ if environ is None else environ)}
    return _LOOKS_LIKE_ONE.sub(_MARK, without_values(text, held))


def without_values(text: str, values: Iterable[str]) -> str:
    """``text`` without the very ``values``, for text that must not change otherwise; short ones stay, for they stand in anything."""
    for value in sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(value, _MARK)
    return text


def safe_text(text: str, *known: str, limit: int = 300) -> str:
    """What a server or a library said, fit for an error message: no secrets, one line, at most ``limit`` characters."""
    return clean_text(" ".join(without_secrets(text, *known).split()), limit).replace("\n", " ")


def _held(environ: Mapping[str, str]) -> Iterator[str]:
    """Values that are secrets by their name; of headers, written ``name: value`` line by line, the values."""
    for name, value in environ.items():
        if _NAMES.search(name):
            yield value.strip()
            for line in value.splitlines():
                yield line.partition(":")[2].strip()
