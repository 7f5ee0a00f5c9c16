"""Children for what cannot be undone: a test gives up rights in a fork, and hears over a pipe what was left of them."""

from __future__ import annotations

import os
import pickle
import posix
import select
import traceback
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

try:
    import coverage
except ImportError:  # not everybody who runs a test measures it
    coverage = None

__all__ = ["ChildError", "closes", "in_child", "start"]


class ChildError(AssertionError):
    """The child raised; the message is its traceback."""


def in_child(action: Callable[[], Any], walled: bool = True) -> Any:
    """What ``action`` returns in a forked child, whichever process of that child returns it. Raises ChildError.

    A ``walled`` child can write no file: what coverage saw of it comes over the pipe. Processes that it forks are seen only without.
    """
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hear)
        _work(action, say, walled)
    os.close(say)
    with open(hear, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert told, "the child said nothing"
    error, value, seen = pickle.loads(told)
    if seen:
        _keep(seen)
    if error:
        raise ChildError(error)
    return value


def start(action: Callable[[], Any]) -> int:
    """The pid of a forked child that does ``action`` and ends with status 9 if it comes to an end; a signal can end it before."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            traceback.print_exc()
        finally:
            posix._exit(9)
    return pid


def closes(pipe: int, seconds: float = 10.0) -> bool:
    """Whether everybody who holds the other end lets go of it by then."""
    return bool(select.select([pipe], [], [], seconds)[0]) and os.read(pipe, 1) == b""


def _work(action: Callable[[], Any], say: int, walled: bool) -> None:
    error, value, measure = "", None, _Measure()
    try:
        with measure if walled else nullcontext():
            value = action()
    except BaseException:
        error = traceback.format_exc()
    with open(say, "wb") as pipe:
        pipe.write(pickle.dumps((error, value, measure.seen)))
    # where coverage is measured, os._exit writes a file
    (posix if walled else os)._exit(0)


class _Measure(AbstractContextManager[Any]):
    """Coverage that is kept in memory."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}
        self._inner: Any = None

    def __enter__(self) -> None:
        outer = coverage.Coverage.current() if coverage else None
        if outer is not None:
            self._inner = coverage.Coverage(data_file=None, config_file=outer.config.config_file or False)
            self._inner.start()

    def __exit__(self, *error: Any) -> None:
        if self._inner is not None:
            self._inner.stop()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that modules were imported before is as it should be
                data = self._inner.get_data()
            self.seen = {file: data.arcs(file) for file in data.measured_files() if data.has_arcs()}


def _keep(seen: dict[str, Any]) -> None:
    data = coverage.CoverageData(basename=coverage.Coverage.current().get_data().base_filename(), suffix=True)
    data.add_arcs(seen)
    data.write()
