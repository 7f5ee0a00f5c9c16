"""What every benchmark writes: rows of JSON that say what was measured, where, and how often."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["ROOT", "append", "machine", "summary"]

ROOT = Path(__file__).resolve().parents[1]


def machine() -> dict[str, Any]:
    """The processor, its cores that we may use, and the interpreter."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def commit() -> str:
    """The commit the code is at, with ``+`` when files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and range of repeated measurements, to four significant digits."""
    short = [float(f"{value:.4g}") for value in values]
    return {"n": len(short), "median": float(f"{median(values):.4g}"), "low": min(short), "high": max(short), "values": short}


def append(benchmark: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Add the rows, each with commit and machine, to ``results/`` of the benchmark, and show them."""
    target = ROOT / "benchmarks" / benchmark / "results" / f"{benchmark}.jsonl"
    target.parent.mkdir(exist_ok=True)
    stamp = {"commit": commit(), "machine": machine()}
    with target.open("a") as file:
        for row in rows:
            file.write(json.dumps(row | stamp) + "\n")
            print(json.dumps({key: value for key, value in row.items() if key != "values"}))
    return target
