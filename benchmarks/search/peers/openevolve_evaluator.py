"""The evaluator that OpenEvolve loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client import ask


def evaluate(program_path: str) -> dict[str, Any]:
    rated = ask(source=Path(program_path).read_text())
    return {"combined_score": rated["fitness"]}
