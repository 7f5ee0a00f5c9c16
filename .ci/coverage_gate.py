"""Branch coverage by room: 100 % where a wrong line loses data or forges a score, 90 % elsewhere."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FULL = ("core", "engine", "store", "archives", "scoring")
ELSEWHERE = 90.0

# What no tracer can follow, each with its reason. A file that reaches its limit without help must leave this list.
UNMEASURED: dict[str, str] = {}


def room_of(path: str) -> str:
    """``agentopt/core/task.py`` -> ``core``; ``agentopt/api.py`` -> ``api``."""
    return Path(path).parts[1].removesuffix(".py")


def percent(files: list[dict[str, Any]]) -> float:
    """Covered lines and branches of all lines and branches, in percent."""
    total = sum(f["summary"]["num_statements"] + f["summary"]["num_branches"] for f in files)
    covered = sum(f["summary"]["covered_lines"] + f["summary"]["covered_branches"] for f in files)
    return 100.0 * covered / total if total else 100.0


def limit_of(room: str) -> float:
    return 100.0 if room in FULL else ELSEWHERE


def judge(files: dict[str, dict[str, Any]], unmeasured: dict[str, str]) -> list[str]:
    """What falls short, one sentence each; prints a line per room."""
    faults = [f"{path} is excused but does not exist" for path in unmeasured if path not in files]
    faults += [
        f"{path} is excused but reaches its limit; take it off the list"
        for path in unmeasured
        if path in files and percent([files[path]]) >= limit_of(room_of(path))
    ]
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in sorted(files):
        if path not in unmeasured:
            rooms[room_of(path)].append(path)
    for room, paths in rooms.items():
        reached = percent([files[path] for path in paths])
        print(f"{room:14} {reached:6.1f} %  of {limit_of(room):.0f} %")
        if reached < limit_of(room):
            faults += [f"{room}: {path} misses {gaps(files[path])}" for path in paths if percent([files[path]]) < limit_of(room)]
    return faults


def gaps(file: dict[str, Any]) -> str:
    lines = ", ".join(map(str, file["missing_lines"][:20]))
    branches = ", ".join(f"{a}->{b}" for a, b in file["missing_branches"][:20])
    return f"lines [{lines}] branches [{branches}]"


def main() -> int:
    files = json.loads(Path(sys.argv[1]).read_text())["files"]
    faults = judge(files, UNMEASURED)
    for path, reason in UNMEASURED.items():
        print(f"excused: {path}: {reason}")
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
