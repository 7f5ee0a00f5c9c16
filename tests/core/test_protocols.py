"""The protocols are checked by name at run time, so that a part that lacks a method is refused before a run begins."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from agentopt.core.protocols import Archive, ArchiveContext, Executor, ExecutorContext, Optimizer, Session, Store, View, Wish
from agentopt.core.task import Objective, Task

METHODS = {
    Archive: {"admits", "add", "sample", "front", "get"},
    Executor: {"capacity", "sandbox", "open", "close"},
    Optimizer: {"propose", "observe"},
    Session: {"rollout", "close"},
    Store: {"append", "read", "put", "get", "close"},
    View: {"task", "pending", "budget_left", "sample", "front", "entry", "texts", "traces"},
}


@pytest.mark.parametrize("protocol", METHODS, ids=lambda protocol: protocol.__name__)
def test_what_has_the_methods_is_one(protocol: type) -> None:
    names = METHODS[protocol]
    assert isinstance(SimpleNamespace(**dict.fromkeys(names, print)), protocol)
    for missing in names:
        assert not isinstance(SimpleNamespace(**dict.fromkeys(names - {missing}, print)), protocol), missing


def test_contexts_have_sensible_defaults() -> None:
    archive = ArchiveContext((Objective("cost", "min"),))
    assert (archive.measures, archive.options) == ((), {})
    executor = ExecutorContext(Task("t"), {})
    assert executor.capacity == 1
    assert executor.put(b"printed") == "", "without a store nothing is kept"
    assert executor.wish == Wish() == Wish("auto", unsafe=False, allow_weak=False, strangers=False)
