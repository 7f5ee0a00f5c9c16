"""The project speaks of itself alone, and in its own words."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.house.source import ROOT, modules, name_of

# Spelt so that this file does not find itself.
FOREIGN = {
    "a path of some machine": r"(?<![\w.])/(work|root|home|Users)/[\w.]|(?<![\w.])/tmp/(wt|venv)\b",
    "the host of a package registry": r"p[y]pi\.org|pythonh[o]sted|npmj[s]|registry\.\w+\.\w+",
    "how the text came about": r"sub[-]?a[g]ent|as an A[I]\b|Co-A[u]thored|Generated w[i]th",
    "work that is not done": r"\bTO[D]O\b|\bFIX[M]E\b|\bXX[X]\b",
}
OLD_WORDS = r"\bfitness\b|\bprogram_id\b|\bproposer\b|\bindividuals\b|\bphenotype\b"


def texts() -> list[Path]:
    """The project's text files, as git knows them, or as they lie there without git."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.splitlines() if listed.returncode == 0 else [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.*")]
    kinds = {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".json", ".jsonl", ".txt", ""}
    hidden = {".git", ".venv", "runs", "dist", "build"}
    files = [ROOT / name for name in names if Path(name).suffix in kinds and not hidden & set(Path(name).parts)]
    return [path for path in files if path.is_file() and path.name != "LICENSE"]


@pytest.mark.parametrize("what", FOREIGN)
def test_no_text_holds(what: str) -> None:
    pattern = re.compile(FOREIGN[what], re.IGNORECASE)
    found = []
    for path in texts():
        if what == "work that is not done" and path.parent.name == "recordings":
            continue  # programs that models wrote, with variables of that name
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert not found, found


@pytest.mark.parametrize(("what", "text"), [(next(iter(FOREIGN)), "see /" + "work/notes"), ("work that is not done", "# TO" + "DO: later")])
def test_the_search_finds_what_it_is_for(what: str, text: str) -> None:
    assert re.search(FOREIGN[what], text)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_one_thing_has_one_name(path: Path) -> None:
    found = re.findall(OLD_WORDS, path.read_text(), re.IGNORECASE)
    assert not found, f"{name_of(path)}: {found}; docs/architecture.md lists the words"
