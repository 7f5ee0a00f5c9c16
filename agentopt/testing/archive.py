"""What every archive keeps to. Inherit from the class and give ``make``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from agentopt import plugins
from agentopt.core.evaluation import Admission, Entry
from agentopt.core.protocols import Archive, ArchiveContext
from agentopt.core.task import Objective
from agentopt.testing.fakes import make_entry

__all__ = ["ArchiveContract"]

_COST = (Objective("cost", "min"),)
_TWO = (Objective("quality", "max"), Objective("seconds", "min"))


class ArchiveContract:
    """Inherit, name the class ``Test...`` and return your archive from ``make``::

    class TestMine(ArchiveContract):
        def make(self, context):
            return Mine(context)
    """

    def make(self, context: ArchiveContext) -> Archive:
        raise NotImplementedError("return your archive built from the context")

    def context(self, objectives: tuple[Objective, ...]) -> ArchiveContext:
        """Without measures or options; ``child`` builds agentopt's own archives."""

        def child(name: str, options: Mapping[str, Any]) -> Archive:
            return plugins.resolve("archives", name)(ArchiveContext(objectives, (), options, child))

        return ArchiveContext(objectives, child=child)

    def test_empty(self) -> None:
        archive = self._single()
        assert not archive.front(), "an empty archive has an empty front"
        assert not archive.sample(3, Random(0)), "an empty archive has nothing to sample"
        assert archive.get("nobody") is None, "get answers None for an unknown id"

    def test_first_scored_entry_is_the_front(self) -> None:
        archive, entry = self._single(), make_entry("first", {"cost": 3.0})
        assert archive.admits(entry), "an empty archive admits any scored entry"
        assert archive.add(entry).status == "admitted"
        assert _ids(archive.front()) == ["first"]
        assert archive.get("first") == entry

    def test_better_displaces(self) -> None:
        archive = self._single()
        archive.add(make_entry("old", {"cost": 3.0}))
        admission = archive.add(make_entry("new", {"cost": 2.0}))
        assert (admission.status, tuple(admission.displaced)) == ("admitted", ("old",)), f"a better entry was answered {admission}"
        assert admission.gain > 0, "an improvement of the only objective is a gain"
        assert _ids(archive.front()) == ["new"]

    def test_worse_stays_off_the_front(self) -> None:
        archive = self._single()
        archive.add(make_entry("old", {"cost": 2.0}))
        entry = make_entry("new", {"cost": 3.0})
        assert not archive.admits(entry), "a worse entry would not reach the front"
        assert archive.add(entry) == Admission("dominated")
        assert _ids(archive.front()) == ["old"]

    def test_failed_is_answered_failed(self) -> None:
        archive, entry = self._single(), make_entry("broken", failure="crash")
        assert not archive.admits(entry), "a failed entry is not admitted"
        assert archive.add(entry) == Admission("failed")
        assert not archive.front()
        assert not archive.sample(1, Random(0)), "a failed entry is nothing to breed from"

    def test_missing_score_is_infeasible(self) -> None:
        archive = self.make(self.context(_TWO))
        for scores in ({}, {"quality": 1.0}, {"quality": 1.0, "seconds": float("nan")}):
            entry = make_entry("half", scores)
            assert not archive.admits(entry), f"an entry with the scores {scores} is not comparable"
            assert archive.add(entry) == Admission("infeasible")
        assert not archive.front()

    def test_duplicate_changes_nothing(self) -> None:
        archive = self._single()
        archive.add(make_entry("one", {"cost": 3.0}))
        assert archive.add(make_entry("one", {"cost": 3.0})).status == "duplicate"
        assert archive.add(make_entry("other", None)).status == "duplicate", "an entry without an evaluation is a duplicate"
        assert not archive.admits(make_entry("one", {"cost": 3.0}))
        assert _ids(archive.front()) == ["one"]

    def test_validation_decides(self) -> None:
        archive = self._single()
        archive.add(make_entry("solid", {"cost": 2.0}, validation={"cost": 2.0}))
        lucky = make_entry("lucky", {"cost": 1.0}, validation={"cost": 4.0})
        assert archive.admits(lucky), "by its search scores it is better"
        assert archive.add(lucky).status == "dominated", "validation scores decide about the front"
        assert _ids(archive.front()) == ["solid"]

    def test_unconfirmed_cannot_displace_confirmed(self) -> None:
        archive = self._single()
        archive.add(make_entry("solid", {"cost": 2.0}, validation={"cost": 3.0}))
        assert archive.add(make_entry("unproven", {"cost": 2.5})).status == "dominated", "search scores do not beat validation scores"

    def test_admits_foretells_add(self) -> None:
        archive = self.make(self.context(_TWO))
        for entry in _entries(60):
            foretold = archive.admits(entry)
            assert archive.admits(entry) == foretold, "admits changes nothing"
            assert (archive.add(entry).status == "admitted") == foretold, "without validation, admits and add agree"

    def test_front_follows_admissions(self) -> None:
        archive = self.make(self.context(_TWO))
        front: list[str] = []
        for entry in _entries(80):
            admission = archive.add(entry)
            assert set(admission.displaced) <= set(front), "only front members can be displaced"
            assert admission.status == "admitted" or (not admission.displaced and admission.gain == 0), f"{admission} is contradictory"
            assert admission.gain >= 0, "a gain is never negative"
            if admission.status == "admitted":
                front = [member for member in front if member not in admission.displaced] + [entry.id]
            assert _ids(archive.front()) == front, "the front is what was admitted and not displaced, oldest first"
            assert all(archive.get(member) is not None for member in front), "front members can be fetched"

    def test_front_members_do_not_dominate_each_other(self) -> None:
        archive = self.make(self.context(_TWO))
        for entry in _entries(80):
            archive.add(entry)
        members = archive.front()
        for a in members:
            for b in members:
                assert a.id == b.id or not _covers(a.confirmed, b.confirmed), f"{dict(a.confirmed)} makes {dict(b.confirmed)} superfluous"

    def test_sample_is_drawn_from_rng_alone(self) -> None:
        archive = self.make(self.context(_TWO))
        for entry in _entries(40):
            archive.add(entry)
        for n in (0, 1, 7, 200):
            first, second = archive.sample(n, Random(5)), archive.sample(n, Random(5))
            assert len(first) == n, f"asked for {n} entries it gave {len(first)}"
            assert _ids(first) == _ids(second), "equal generators draw equal entries"
            assert all(entry.scores and archive.get(entry.id) is not None for entry in first), "samples are held and scored"
        drawn = {entry.id for k in range(50) for entry in archive.sample(1, Random(k))}
        assert len(drawn) > 1, "the generator's numbers matter"

    def test_replay_gives_the_same(self) -> None:
        first, second = self.make(self.context(_TWO)), self.make(self.context(_TWO))
        entries = _entries(50)
        assert [first.add(entry) for entry in entries] == [second.add(entry) for entry in entries], "equal calls, equal admissions"
        assert _ids(first.sample(9, Random(1))) == _ids(second.sample(9, Random(1))), "equal calls, equal samples"

    def _single(self) -> Archive:
        return self.make(self.context(_COST))


def _ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def _entries(count: int) -> list[Entry]:
    """A trade-off that moves forward; coarse, so that ties occur."""
    rng = Random(11)
    scored: list[Entry] = []
    for number in range(count):
        share, level = rng.random(), 1.0 + number / count
        scores = {"quality": round(8 * level * share), "seconds": float(round(8 * (2.5 - level * (1 - share))))}
        scored.append(make_entry(f"n{number}", scores))
    return scored


def _covers(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
    return all(not objective.better(b[objective.name], a[objective.name]) for objective in _TWO)
