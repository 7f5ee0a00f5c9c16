"""The evaluation that Shinka starts per program: the least its contract takes, without importing Shinka, which costs seconds of CPU."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from client import ask

parser = argparse.ArgumentParser()
parser.add_argument("--program_path", type=Path)
parser.add_argument("--results_dir", type=Path)
given = parser.parse_args()
given.results_dir.mkdir(parents=True, exist_ok=True)
rated = ask(source=given.program_path.read_text())
(given.results_dir / "metrics.json").write_text(json.dumps({"combined_score": rated["fitness"], "public": {}, "private": {}}))
(given.results_dir / "correct.json").write_text(json.dumps({"correct": not rated["failure"], "error": rated["failure"] or None}))
