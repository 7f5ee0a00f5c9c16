"""What a thread or task knows of the trace, the call and the candidate that it works for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

__all__ = ["CURRENT", "OVERLAY", "SPAN", "tick"]

tick = itertools.count().__next__
"""The clock of all traces and proxies of this process: what has the smaller tick was first. It says nothing of how long."""

CURRENT: ContextVar[Any] = ContextVar("agentopt_trace", default=None)
"""The ``Trace`` that records here, or None."""
SPAN: ContextVar[int] = ContextVar("agentopt_span", default=-1)
"""The number of the row inside of which we are."""
OVERLAY: ContextVar[Mapping[str, Any] | None] = ContextVar("agentopt_overlay", default=None)
"""Values of the candidate that is being tried, by the names of parameters."""
