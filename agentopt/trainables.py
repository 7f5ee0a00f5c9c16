"""``trainable`` with a sandbox behind it: what was learnt and applied is called there, in the user's own program."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Unpack, overload

from agentopt.core.protocols import Wish
from agentopt.trace import trainable as traced_code
from agentopt.trace.trainable import Trainable, TrainableOptions

if TYPE_CHECKING:
    from agentopt.sandbox.code_runner import BoxedCode

__all__ = ["shared_runner", "trainable"]

_ONE_AT_A_TIME = threading.Lock()


@overload
def trainable(function: Callable[..., Any], /, **options: Unpack[TrainableOptions]) -> Trainable: ...
@overload
def trainable(**options: Unpack[TrainableOptions]) -> Callable[[Callable[..., Any]], Trainable]: ...
def trainable(
    function: Callable[..., Any] | None = None, /, **options: Unpack[TrainableOptions]
) -> Trainable | Callable[[Callable[..., Any]], Trainable]:
    """Make the code of a function a parameter: ``@trainable``, or ``@trainable(uses=["LIMIT", "np"])``.

    What the code takes from its surroundings is named in ``uses``, or imported inside. ``trust=True`` runs learnt code in this process.
    Raises TaskError for a function without a source, one that uses what is not named, or what cannot be sent.
    """
    options.setdefault("runner", shared_runner)
    return traced_code.trainable(**options) if function is None else traced_code.trainable(function, **options)


def shared_runner() -> BoxedCode:
    """The process's own: opened with the first call, closed when the process ends. Raises what ``open_runner`` raises."""
    with _ONE_AT_A_TIME:
        return _opened(os.getpid())


@cache
def _opened(pid: int) -> BoxedCode:
    """For each process its own: a forked one has none of its parent's threads."""
    from agentopt.sandbox.code_runner import open_runner

    runner = open_runner(Wish(strangers=True))
    atexit.register(runner.close)
    return runner
