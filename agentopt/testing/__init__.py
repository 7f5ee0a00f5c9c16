"""Conformance tests that any optimizer, archive, executor or store can inherit, and small stand-ins for what surrounds them,
a language model among them.

pytest runs the classes; nothing here imports it.
"""

from __future__ import annotations

from agentopt.testing.archive import ArchiveContract
from agentopt.testing.executor import ExecutorContract
from agentopt.testing.fake_llm import FakeLLM, Step
from agentopt.testing.fakes import FakeView, make_entry, make_task, task_card
from agentopt.testing.optimizer import OptimizerContract
from agentopt.testing.scripted import ScriptedModel
from agentopt.testing.store import StoreContract

__all__ = [
    "ArchiveContract",
    "ExecutorContract",
    "FakeLLM",
    "FakeView",
    "OptimizerContract",
    "ScriptedModel",
    "Step",
    "StoreContract",
    "make_entry",
    "make_task",
    "task_card",
]
