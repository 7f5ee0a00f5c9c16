from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agentopt.cli.changes import patch, print_patch
from tests.cli.logs import Log, finished, invoke, program, refused, shown

TEXTS = st.text(st.sampled_from("ab\n\t\u2028\x0c"), max_size=30)


def test_seed_against_best_is_what_it_shows_without_words(tmp_path: Path) -> None:
    folder, seed, best = finished(tmp_path / "run")
    text = shown("diff", folder)
    assert text == shown("diff", folder, seed[:5], "best")
    assert text.startswith(f"--- {seed}/guess.py\n+++ {best}/guess.py\n@@")
    assert "-    return x\n+    return 3 * x\n" in text
    rows = [line.split() for line in text.split("objective")[1].splitlines()[1:]]
    assert rows == [
        ["error", "(min)", "train", "1", "0.25", "-0.75"],
        ["error", "(min)", "validation", "2", "0.5", "-1.5"],
        ["error", "(min)", "test", "1.1", "0.383333", "-0.716667"],
    ]


def test_several_parameters_and_the_other_direction(tmp_path: Path) -> None:
    log = Log(tmp_path / "run", seed={"guess": "a = 1\n", "knobs": {"rate": 0.1, "word": "é"}})
    log.add_seed()
    key = log.add({"guess": "a = 1\n", "knobs": {"rate": 0.2, "word": "é"}}, {"error": 0.5})
    text = shown("diff", log.stop(), key, "seed")
    assert "guess.py" not in text
    assert '-  "rate": 0.2,\n+  "rate": 0.1,\n' in text


def test_a_failed_candidate_has_no_scores_to_compare(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    seed = log.add_seed()
    key = log.fail(program("oops"), "syntax", "line 1", [seed])
    rows = [line.split() for line in shown("diff", log.stop(), "seed", key).splitlines()]
    assert ["failed", "syntax"] in rows
    assert ["error", "(min)", "train", "1", "-", "-"] in rows


def test_a_candidate_against_itself(tmp_path: Path) -> None:
    folder, _, best = finished(tmp_path / "run")
    result = invoke("diff", folder, best[:4], "best")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "the same candidate" in result.stderr


def test_who_is_not_there(tmp_path: Path) -> None:
    folder, *_ = finished(tmp_path / "run")
    assert "there is no candidate 'nobody'" in refused("diff", folder, "seed", "nobody")


def test_colours_in_a_terminal() -> None:
    import io

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", markup=False, width=20)
    print_patch(console, patch({"a.py": "old\x1b[2J\nsame\n"}, {"a.py": "new" * 20 + "\nsame\n"}, "x", "y"))
    text = out.getvalue()
    assert "\x1b[31m-old\\x1b[2J\x1b[0m\n" in text
    assert f"\x1b[32m+{'new' * 20}\x1b[0m\n" in text


@given(TEXTS, TEXTS)
def test_a_patch_says_whether_texts_differ(before: str, after: str) -> None:
    assert bool(patch({"f": before}, {"f": after}, "a", "b")) == (before != after)


@pytest.mark.parametrize(("before", "after"), [("a\n\tb\n", "a\n\tc"), ("", "new\n"), ("x", "x\n"), ("a\nb\nc\nd\n", "a\nc\nd\ne\n")])
def test_the_patch_program_understands_it(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "f").write_text(before)
    text = "".join(f"{line}\n" for line in patch({"f": before}, {"f": after}, "a", "b"))
    try:
        subprocess.run(["patch", "-p1", "--quiet"], input=text, text=True, cwd=tmp_path, check=True)
    except FileNotFoundError:
        pytest.skip("there is no patch program here")
    assert (tmp_path / "f").read_text() == after
