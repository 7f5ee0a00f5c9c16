from __future__ import annotations

from agentopt.store.memory import MemoryStore


def test_numbers_and_verify() -> None:
    store = MemoryStore()
    assert store.last_seq == store.verify() == 0
    store.append("note", {})
    store.append("note", {"candidate": "a"})
    assert store.last_seq == store.verify() == 2


def test_what_was_read_can_be_changed_without_harm() -> None:
    store = MemoryStore()
    data = {"list": [1]}
    event = store.append("note", data)
    data["list"].append(2)
    event.data["list"].append(3)
    assert next(store.read()).data == {"list": [1]}
    assert store.verify() == 1
