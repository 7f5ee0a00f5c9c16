"""Names what went wrong: HTTP statuses, error bodies and broken connections become a ModelError of one kind each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, cast

from agentopt.core.chat import ModelError, ModelErrorKind
from agentopt.llm.secrets import safe_text

__all__ = ["Faults", "kind_of", "retry_after"]

_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum context|prompt is too long|too many (?:input )?tokens|exceed_context_size"
    r"|input is too long|input token count.*exceeds"
)
_FILTERED = re.compile(r"content.?(?:filter|policy|management)|responsibleai|flagged|data_inspection_failed")
# by code alone: the message "you exceeded your current quota" also ends limits that are over in a minute
_NO_MONEY = re.compile(r"insufficient_quota|billing_hard_limit|insufficient_balance")
_BY_STATUS: Mapping[int, ModelErrorKind] = {
    401: "auth",
    402: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "server",
    425: "server",
    429: "rate_limit",
}
_WORDS: Mapping[str, str] = {
    "rate_limit": "the rate limit is reached",
    "server": "the server failed",
    "timeout": "no reply in time",
    "cut": "the reply broke off",
    "bad_request": "the request was refused",
    "auth": "no access; check the key in the environment",
    "context_length": "the prompt is longer than the model takes",
    "content_filter": "a content filter refused the request",
    "not_found": "there is no such model or address",
    "malformed": "the reply is not what the protocol asks for",
    "connection": "no connection",
    "no_choices": "the reply holds no choice",
}


def kind_of(status: int, said: str) -> ModelErrorKind:
    """The kind of an error by its HTTP status and, for refused requests, by what the body says (code, type and message)."""
    said = said.lower()
    if 400 <= status < 500 and status not in (401, 402, 408, 429):
        if _TOO_LONG.search(said):
            return "context_length"
        if _FILTERED.search(said):
            return "content_filter"
        if "model_not_found" in said:
            return "not_found"
    return _BY_STATUS.get(status, "server" if status >= 500 else "bad_request")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds the server asks to wait (``retry-after-ms``, ``retry-after`` as seconds or HTTP date); None if it does not say.

    ``headers`` have lower-case names or look them up without regard to case; ``now`` is Unix time.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            seconds = _until(text, now)
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _until(date: str, now: float) -> float:
    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now


class Faults:
    """Makes the errors of one model; its secrets are in none of them."""

    def __init__(self, model: str, unix_time: Callable[[], float], *secrets: str) -> None:
        self._model = model
        self._unix_time = unix_time
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"Faults({self._model!r})"

    def of(self, kind: ModelErrorKind, detail: str = "", **more: Any) -> ModelError:
        """``more`` are ModelError's keywords. ``detail`` may hold what others wrote."""
        status = f" (HTTP {more['status']})" if more.get("status") else ""
        said = safe_text(detail, *self._secrets)
        return ModelError(kind, f"{self._model}: {_WORDS[kind]}{status}{': ' if said else ''}{said}", **more)

    def of_status(self, status: int, body: Any, headers: Mapping[str, str]) -> ModelError:
        """``body`` is the error body: parsed JSON, or text."""
        code, message = _told(body)
        kind = kind_of(status, f"{code} {message}")
        futile = kind == "rate_limit" and _NO_MONEY.search(code) is not None
        if 300 <= status < 400:
            message = "it redirects to somewhere else; check the base URL"
        wait = retry_after(headers, self._unix_time())
        return self.of(kind, message or code, status=status, retryable=False if futile else None, retry_after=wait)

    def of_body(self, error: Any) -> ModelError:
        """An error that came inside a reply with status 200, as some gateways send it."""
        code = cast("dict[str, Any]", error).get("code") if isinstance(error, dict) else None
        return self.of_status(code if isinstance(code, int) and 400 <= code < 600 else 500, {"error": error}, {})


def _told(body: Any) -> tuple[str, str]:
    """(code and type, message) of an error body in any of the common forms."""
    if isinstance(body, dict):
        members = cast("dict[str, Any]", body)
        inner: Any = members.get("error", members)
        if isinstance(inner, dict):
            error = cast("dict[str, Any]", inner)
            code = " ".join(str(error[key]) for key in ("code", "type") if error.get(key))
            return code, str(error.get("message") or error.get("detail") or "")
        return "", str(inner)
    return "", "" if body is None else str(body)
