"""What every store keeps to. Inherit from the class and give ``make`` (and ``reopen``, where the log outlives the process)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from agentopt.core.errors import StoreError
from agentopt.core.events import EVENT_KINDS, GENESIS, Event, chain_digest, encode_data
from agentopt.core.protocols import Store

__all__ = ["StoreContract"]


class StoreContract:
    """Inherit, name the class ``Test...`` and return your empty store from ``make``::

    class TestMine(StoreContract):
        def make(self, folder):
            return Mine(folder / "log")
    """

    def make(self, folder: Path) -> Store:
        raise NotImplementedError("return an empty store; folder is empty and yours")

    def reopen(self, folder: Path) -> Store | None:
        """The store that ``make`` put into ``folder`` and that was closed; None when it lives in memory only."""
        return None

    def test_append_answers_the_event(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        event = store.append("asked", {"index": 0, "seen": (1, 2)})
        assert (event.seq, event.kind, event.data) == (1, "asked", {"index": 0, "seen": [1, 2]}), "data comes back as JSON gives it"
        assert store.append("asked", {"index": 1}).seq == 2, "events are numbered from 1"
        assert [e.seq for e in store.read()] == [1, 2]
        assert next(iter(store.read())) == event, "what append answers is what read gives"
        store.close()

    def test_every_kind(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        for kind in EVENT_KINDS:
            store.append(kind, {"text": "a\0b\n\u2028 \ud800", "numbers": [0.1, -1e300, 2**60]})
        events = list(store.read())
        assert [event.kind for event in events] == list(EVENT_KINDS)
        assert events[0].data == {"text": "a\0b\n\u2028 \ud800", "numbers": [0.1, -1e300, 2**60]}, "JSON survives unchanged"
        store.close()

    def test_chain(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        for index in range(5):
            store.append("note", {"index": index})
        digest = GENESIS
        for event in store.read():
            digest = chain_digest(digest, event.seq, event.time, event.kind, encode_data(event.data))
            assert event.digest == digest, f"event {event.seq} does not continue the chain"
        store.close()

    def test_read_after(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        assert not list(store.read()), "an empty log has no events"
        _append(store, 7)
        assert [event.seq for event in store.read(after=4)] == [5, 6, 7]
        assert not list(store.read(after=7))
        assert not list(store.read(after=70))
        _append(store, 2)
        assert [event.seq for event in store.read(after=7)] == [8, 9], "reading goes on where it stopped"
        store.close()

    def test_appending_while_reading(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        _append(store, 3)
        seen: list[int] = []
        for event in store.read():
            seen.append(event.seq)
            store.append("note", {})
        assert seen == [1, 2, 3], "a reading ends with the events that were there when it began"
        assert len(list(store.read())) == 6
        store.close()

    def test_read_subject(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        for index in range(9):
            store.append("rollout", {"candidate": "abc"[index % 3], "index": index})
        store.append("note", {})
        found = list(store.read(subject="b"))
        assert [event.seq for event in found] == [2, 5, 8]
        assert all(event.subject == "b" for event in found)
        assert [event.seq for event in store.read(after=2, subject="b")] == [5, 8]
        assert not list(store.read(subject="nobody"))
        store.close()

    def test_refuses_what_it_could_not_read(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        _raises(ValueError, lambda: store.append("gossip", {}), "an unknown kind")
        _raises(ValueError, lambda: store.append("note", {"value": float("nan")}), "a number that JSON does not have")
        _raises(TypeError, lambda: store.append("note", {"value": object()}), "an object that JSON does not have")
        assert store.append("note", {}).seq == 1, "what was refused left no trace"
        assert len(list(store.read())) == 1
        store.close()

    def test_blobs(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        blobs = [b"", b"x", bytes(range(256)) * 8, b"a" * 100_000, hashlib.sha256(b"noise").digest() * 2]
        digests = [store.put(data) for data in blobs]
        assert len(set(digests)) == len(blobs), "different bytes, different digests"
        assert [store.get(digest) for digest in digests] == blobs, "bytes come back unchanged"
        assert [store.put(data) for data in blobs] == digests, "equal bytes have one digest"
        _raises(StoreError, lambda: store.get("0" * 64), "a digest of nothing kept")
        store.close()

    def test_reopening(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        before = [store.append("proposed", {"candidate": "x", "index": index}) for index in range(3)]
        digest = store.put(b"kept")
        store.close()
        again = self.reopen(tmp_path)
        if again is None:
            return
        assert list(again.read()) == before, "the log is as it was"
        assert again.get(digest) == b"kept"
        last: Event = again.append("note", {})
        assert last.seq == 4, "numbers go on"
        assert list(again.read()) == [*before, last], "and so does the chain"
        again.close()

    def test_close_twice(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        store.close()
        store.close()


def _append(store: Store, count: int) -> None:
    for index in range(count):
        store.append("note", {"index": index})


def _raises(kind: type[Exception], act: Callable[[], object], what: str) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"{what} was accepted")
