from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.logs import ESC, Log, finished, program, refused, shown


def test_the_story_of_the_best(tmp_path: Path) -> None:
    folder, seed, best = finished(tmp_path / "run")
    text = shown("why", folder, "best")
    assert text == shown("why", folder, best[:6])
    assert text.startswith(f"candidate {best}  the best, on the front")
    assert "made by steps/nudge, generation 2" in text
    lineage = [line.split() for line in text.split("lineage")[1].split("what it changed")[0].splitlines()[2:5]]
    assert lineage[0] == [best, "steps/nudge", "0.25", "-0.25"]
    assert lineage[2] == [seed, "seed", "1"]
    assert "-    return 2 * x\n+    return 3 * x\n" in text
    steps = [line.split()[2] for line in text.splitlines() if line.startswith("+0.")]
    assert steps == [
        "asked",
        "proposed",
        "rollout",
        "rollout",
        "evaluated",
        "rollout",
        "confirmed",
        "admitted",
        *["rollout"] * 3,
        "evaluated",
    ]
    assert "train-0: error 0.25  0.250 s" in text
    assert "test error 0.383333 (n 3)" in text


def test_the_seed_has_no_lineage_and_nothing_it_changed(tmp_path: Path) -> None:
    folder, seed, _ = finished(tmp_path / "run")
    text = shown("why", folder, "seed")
    assert text.startswith(f"candidate {seed}  the seed")
    assert "lineage" not in text
    assert "what it changed" not in text


def test_why_a_candidate_failed(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    message = 'Traceback (most recent call last):\n  File "guess.py", line 2\nNameError: \x1b]0;oops'
    key = log.fail(program("oops"), "crash", message, [seed])
    text = shown("why", log.stop(), key)
    assert "failed (crash)" in text.splitlines()[0]
    assert "train train-0: crash: NameError: \\x1b]0;oops" in text
    assert 'why it failed (crash)\nTraceback (most recent call last):\n  File "guess.py", line 2' in text
    lineage = text.split("lineage")[1].splitlines()[2]
    assert lineage.split()[0] == key
    assert "crash" in lineage


def test_hostile_text_is_harmless_wherever_it_comes_from(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    evil = f"{ESC}[2J{ESC}]52;c;aGk=\x07\r\u202e[/red]\x9b31m"
    more = {"printed": evil.encode() + b"\xff\x00", "feedback": evil + "\nsecond line"}
    source = {"guess": f"def guess(x):\n    return '{evil}'\n"}
    how = {"rationale": evil, "optimizer": evil, "operator": evil}
    key = log.add(source, {"error": 0.5}, [seed], displaced=[seed], more=more, **how)
    text = shown("why", log.stop(), key)
    assert not set(text) & set("\x1b\x07\r\u202e\x9b\x00")
    assert text.count("\\x1b[2J") >= 5
    assert "second line" not in text
    assert "\\xff\\x00" in text.split("printed on train-0, train-1")[1]


def test_what_was_printed_is_capped(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", cases={"train": 8})
    key = log.propose(log.seed)
    for case in range(8):
        log.rollout(key, f"train-{case}", "train", scores={"error": 1.0}, printed=b"line\n" * (100 + case) if case else b"\xe6\x97\xa5\n")
    text = shown("why", log.kill(), "seed")
    assert "still being evaluated" in text
    assert "printed on train-0\n日\n" in text
    assert "... 305 more characters" in text
    assert text.rstrip().endswith("... and 3 more outputs")


def test_one_output_on_many_cases_is_shown_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", cases={"train": 5})
    log.add_seed(more={"printed": b"same"})
    assert shown("why", log.stop(), "seed").count("same") == 1


def test_duplicates_and_repeats_and_merges_are_part_of_the_story(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    other = log.add(program(2), {"error": 0.5}, [seed])
    key = log.propose(program(3), [other, seed], rationale="both\nare good", optimizer="steps", operator="cross")
    log.rollout(key, "train-0", "train", scores={"error": 0.1}, repeat=1)
    log.propose(program(3), [other], duplicate=True, optimizer="steps")
    log.admit(key, "duplicate")
    text = shown("why", log.kill(), key)
    assert "train train-0 repeat 1: error 0.1" in text
    assert "once more, a duplicate that cost nothing: by steps" in text
    assert f"by steps/cross from {other[:8]}, {seed[:8]}: both" in text
    assert "both\nare good" in text
    assert text.split("lineage")[1].splitlines()[2].split()[-1] == seed[:8]


def test_gains_and_losses_and_kinds_without_words(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    key = log.propose(program(2), [seed])
    log.store.append("note", {"candidate": key, "kind": "remark", "text": "..."})
    log.rollout(key, "train-0", "train")
    log.store.append("evaluated", {"candidate": key, "splits": {}, "sandbox": "L1", "stage": "train"})
    failure = {"kind": "wrong", "message": "no answer\nat all"}
    log.store.append("confirmed", {"candidate": key, "splits": {}, "sandbox": "L1", "failure": failure})
    log.admit(key, "failed", displaced=[seed], gain=0.125)
    text = shown("why", log.stop(), key)
    assert "note" in text
    assert "train-0: no score" in text
    assert re.search(r"evaluated\s+no scores", text)
    assert "failed: wrong: no answer" in text
    assert f"failed, hypervolume +0.125, displaced {seed[:8]}" in text


def test_a_long_lineage_is_shortened(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", cases={"train": 1})
    last = seed = log.add_seed()
    for step in range(40):
        last = log.add(program(step), {"error": 1.0 - step / 50}, [last], displaced=[last])
    text = shown("why", log.stop(), "best")
    assert "... 10 more" in text
    assert seed in text.split("... 10 more")[1].splitlines()[1]


def test_a_parent_that_the_log_does_not_hold_ends_the_lineage(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    key = log.add(program(2), {"error": 0.5}, ["feedfeedfeed"])
    text = shown("why", log.stop(), key)
    assert "lineage" not in text
    assert "what it changed" not in text


def test_a_lineage_that_bites_its_tail_ends(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    log.add(program(2), {"error": 0.6}, ["bbbb"], key="aaaa")
    log.add(program(3), {"error": 0.5}, ["aaaa"], key="bbbb")
    assert shown("why", log.stop(), "bbbb").count("aaaa") >= 1


def test_prefixes(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed(key="abc0" + "0" * 60)
    for end in range(8):
        log.add(program(end), {"error": 0.5}, key=f"abd{end}{'7' * 60}")
    folder = log.stop()
    assert shown("why", folder, "ABC").startswith("candidate abc0000")
    assert shown("why", folder, f"abd3{'7' * 60}").startswith("candidate abd3")
    assert "is the beginning of 9 candidates" in (sentence := refused("why", folder, "ab"))
    assert "and 4 more" in sentence
    assert "is the beginning of 8 candidates" in refused("why", folder, "abd")
    assert f"agentopt show {folder}" in refused("why", folder, "fff")
    assert "there is no candidate ''" in refused("why", folder, "")
    assert len(refused("why", folder, "z" * 10_000)) < 400


def test_an_id_that_begins_another_is_itself(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed(key="abc")
    log.add(program(2), {"error": 0.5}, key="abcdef")
    assert shown("why", log.stop(), "abc").startswith("candidate abc  ")


@pytest.mark.parametrize("word", ["best", "seed"])
def test_words_that_stand_for_nobody_yet(tmp_path: Path, word: str) -> None:
    log = Log(tmp_path / "run")
    assert f"the run has no {word} yet" in refused("why", log.kill(), word)


def test_an_ask_that_an_arm_of_several_refused(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.add_seed()
    memo = {"arm": "reevo", "spent": {"calls": 1}, "left": {"calls": 4}, "memo": {"kind": "initial", "message": "no code"}}
    for index, more in ((0, {}), (1, {"error": "it is down"})):
        log.store.append("note", {"kind": "refused", "index": index, "text": "malformed", "memo": memo | more})
    assert shown("why", log.folder, "ask:0").splitlines() == ["ask 0: malformed", "arm: reevo", "kind: initial", "message: no code"]
    assert shown("why", log.folder, "ask:1").splitlines()[-1] == "error: it is down"
    log.close()
