"""OptoPrime on workflows, with replies that a language model gave: every decision again, from traces made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.recorded import RECORDINGS
from tests.e2e.workflows import WORKFLOWS, run, story


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_recorded_run_is_made_again_reply_by_reply(name: str, tmp_path: Path) -> None:
    found = run(name, f"replay:{RECORDINGS / f'optoprime_{name}.jsonl'}", tmp_path / "run")
    kept = [json.loads(line) for line in (RECORDINGS / f"optoprime_{name}.run.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(story(tmp_path / "run")) == kept
    assert found.result.comparisons[0].proven
