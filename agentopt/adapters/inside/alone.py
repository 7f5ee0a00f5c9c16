"""The same judging in a box of level L2: in the box's own process, which starts no other."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from agentopt.adapters.inside.driver import judge
from agentopt.adapters.inside.evaluation import plain

__all__ = ["run"]


def run(program: Any, orders: str) -> str:
    """``program`` holds the candidate's texts, and the box's folder is a copy of the evaluator's."""
    given = json.loads(orders)
    box = Path(tempfile.mkdtemp(prefix="box-"))
    for name, file in given["parameters"].items():
        path = box / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(getattr(program, name), encoding="utf-8")
    return json.dumps(plain(judge(given, box, None)))
