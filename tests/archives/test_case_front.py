from __future__ import annotations

import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentopt.archives.case_front import CaseFront
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Admission
from agentopt.testing import make_entry
from tests.archives.making import context, ids, scored
from tests.untraced import untraced


def filled(rows, direction="max", **options):
    archive = CaseFront(context([direction], **options))
    for k, row in enumerate(rows):
        archive.add(scored(k, *row))
    return archive


def leaders(rows):
    """Per column the rows that are best there, by comparing all."""
    return [{k for k, row in enumerate(rows) if row[c] == max(r[c] for r in rows)} for c in range(len(rows[0]))]


def thinned(rows):
    """GEPA's removal as it is described: drop, worst first, whoever leads nothing alone, until nobody can go."""
    fronts = leaders(rows)
    order = sorted({k for front in fronts for k in front}, key=lambda k: (sum(rows[k]) / len(rows[k]), -k))
    gone = set()
    again = True
    while again:
        again = False
        for k in order:
            if k not in gone and all(front - gone - {k} for front in fronts if k in front):
                gone.add(k)
                again = True
                break
    return {k: sum(k in front for front in fronts) for k in order if k not in gone}


def test_a_specialist_is_drawn_as_often_as_it_leads():
    archive = filled([(5.0, 5.0, 5.0, 0.0), (0.0, 0.0, 0.0, 1.0), (4.0, 4.0, 4.0, 0.5)])
    assert ids(archive.front()) == ["0"]
    assert archive.get("1") is not None
    assert archive.get("2") is None
    drawn = Counter(archive.sample(1, Random(k))[0].id for k in range(1000))
    assert 700 < drawn["0"] < 800
    assert set(drawn) == {"0", "1"}


def test_who_leads_nothing_any_more_goes():
    archive = filled([(1.0, 1.0), (0.0, 2.0)])
    assert archive.add(scored("new", 0.0, 3.0)).status == "admitted"
    assert archive.get("1") is None
    assert archive.get("0") is not None, "it still leads the first case"
    assert archive.add(scored("new", 9.0, 9.0)) == Admission("duplicate")
    assert not archive.admits(scored("new", 9.0, 9.0))
    assert archive.add(scored("tied", 1.0, 0.0)).status == "dominated"
    assert archive.get("tied") is not None, "ties are kept"


@pytest.mark.thorough
@settings(deadline=None)
@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[st.integers(0, 3).map(float)] * width), min_size=1, max_size=9)))
def test_one_pass_thins_as_repeated_passes_do(rows):
    archive = filled(rows)
    drawn = archive.sample(len(thinned(rows)), Random(0))
    assert {int(entry.id) for entry in drawn} == set(thinned(rows))
    held = {k for k in range(len(rows)) if str(k) in archive._members}
    assert held == set().union(*leaders(rows))
    assert {int(m.entry.id): m.leads.bit_count() for m in archive._survivors} == thinned(rows)


def test_a_case_that_failed_or_is_missing_leads_nothing():
    archive = filled([(1.0, None), (2.0, None)], "min")
    assert archive.get("1") is None
    archive.add(scored("more cases", 5.0, 5.0, 5.0))
    archive.add(scored("fewer", 0.5))
    drawn = Counter(archive.sample(1, Random(k))[0].id for k in range(300))
    assert set(drawn) == {"fewer", "more cases"}
    assert 160 < drawn["more cases"] < 240


def test_every_objective_has_its_leaders():
    archive = CaseFront(context(["min", "max"]))
    archive.add(scored("cheap", (1.0, 1.0), (1.0, 1.0)))
    archive.add(scored("good", (9.0, 9.0), (9.0, 9.0)))
    archive.add(scored("between", (5.0, 4.0), (5.0, 4.0)))
    assert set(archive._members) == {"cheap", "good"}
    assert ids(archive.front()) == ["cheap", "good", "between"]
    assert archive.get("between") is not None


def test_repeats_of_a_case_are_averaged():
    archive = CaseFront(context(["min"]))
    steady, noisy = scored("steady", 2.0, 2.0), scored("noisy", 1.0, 4.0)
    for entry in (steady, noisy):
        for repeat, rollout in enumerate(entry.evaluation.rollouts[:2]):
            object.__setattr__(rollout, "case", "same")
            object.__setattr__(rollout, "repeat", repeat)
        archive.add(entry)
    assert set(archive._members) == {"steady"}


def test_without_rollouts_the_search_scores_are_the_case():
    archive = CaseFront(context(["max"]))
    archive.add(make_entry("a", {"o0": 1.0}))
    archive.add(make_entry("b", {"o0": 2.0}))
    archive.add(make_entry("c", {"o0": 2.0}))
    assert set(archive._members) == {"b", "c"}


def test_ties_do_not_let_it_grow():
    archive = filled([(1.0, 1.0, 0.5 + k / 1000) for k in range(300)], members=10)
    assert len(archive._members) == 10
    assert "299" in archive._members
    narrow = filled([tuple(float(j == k) for j in range(6)) for k in range(6)], members=2)
    assert len(narrow._members) == 6, "who leads a case alone stays"


def test_sample_repeats_only_when_it_must():
    archive = filled([tuple(float(j == k) for j in range(6)) for k in range(6)])
    for k in range(20):
        assert len(set(ids(archive.sample(6, Random(k))))) == 6
        assert len(archive.sample(8, Random(k))) == 8


def test_bad_options_are_one_sentence():
    with pytest.raises(ConfigError, match=r"archive.members is 0; it must be 1 or more"):
        CaseFront(context(members=0))
    with pytest.raises(ConfigError, match=r"archive.bench is unknown; the options are: members"):
        CaseFront(context(bench=0))


SPEED = """
import time
from random import Random
from agentopt.archives.case_front import _superfluous
rng = Random(0)
members = [[0] * 1000 for _ in range(500)]
for case in range(1000):
    for k in rng.sample(range(500), 1 + int(rng.expovariate(0.3))):
        members[k][case] = 1
sets = [int.from_bytes(bytes(row), "little") for row in members]
taken = []
for _ in range(30):
    begin = time.thread_time()
    gone = _superfluous(sets)
    taken.append(time.thread_time() - begin)
print(len(gone), min(taken))
"""


def test_a_thousand_cases_are_thinned_in_a_millisecond():
    done = subprocess.run([sys.executable, "-c", SPEED], capture_output=True, text=True, check=True, env=untraced())
    gone, seconds = done.stdout.split()
    assert 100 < int(gone) < 500
    assert float(seconds) < 1e-3
