"""Signal filter: a noisy signal that changes its nature is cleaned sample by sample, without knowledge of those to come."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from agentopt import Case, Limits, Measure, Objective, Reject, Score, Task

HISTORY = 64
"""Samples that a candidate is shown at most."""
MOST_LAG = 20
SIZES = {"train": (6, 400), "validation": (8, 400), "test": (16, 400)}
"""Signals and samples per signal."""


def cases(split: str, rng: Random) -> list[Case]:
    generator = np.random.default_rng(rng.getrandbits(64))
    count, length = SIZES[split]
    return [_case(f"{split}-{k}", generator, length) for k in range(count)]


def _case(name: str, rng: np.random.Generator, length: int) -> Case:
    clean = signal(rng, length)
    return Case(name, {"signal": clean + noise(rng, length)}, expected=clean)


def signal(rng: np.random.Generator, length: int) -> np.ndarray:
    """A wave whose frequency drifts, on a line whose slope changes, with steps."""
    time = np.arange(length)
    period = np.interp(time, np.linspace(0, length, 5), rng.uniform(25.0, 150.0, 5))
    wave = rng.uniform(0.5, 1.5) * np.sin(np.cumsum(2.0 * np.pi / period) + rng.uniform(0.0, 2.0 * np.pi))
    line = np.cumsum(rng.normal(0.0, 0.02, 8)[time * 8 // length])
    steps = np.cumsum((rng.random(length) < 0.01) * rng.normal(0.0, 2.0, length))
    return wave + line + steps


def noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """Its strength changes every 50 samples; 3 % of the samples are far off."""
    strength = rng.uniform(0.1, 0.8, -(-length // 50))[np.arange(length) // 50]
    return strength * rng.normal(size=length) + (rng.random(length) < 0.03) * rng.normal(0.0, 4.0, length)


task = Task(
    name="signal_filter",
    goal=(
        "estimate(history) gives the true value of a signal now, from its noisy samples so far (an array, the newest last, at most 64 of "
        "them). The signal is a drifting wave with steps; the noise changes its strength and a few samples are far off. Small errors "
        "count: smooth too little and noise stays, too much and the estimate lags behind. You may import numpy and the standard library."
    ),
    parameters={"estimate": "seed.py"},
    objectives=[Objective("error", "min", reference=0.455, floor=0.0)],
    measures=[Measure("lag", 0.0, 10.0), Measure("roughness", 0.0, 1.0)],
    cases=cases,
    imports=("numpy",),
    limits=Limits(seconds=10),
    budget="75s",
)


@task.run
def run(program: Any, input: dict[str, Any]) -> np.ndarray:
    signal = input["signal"]
    shown = [signal[max(0, now - HISTORY) : now].copy() for now in range(1, len(signal) + 1)]
    return np.array([float(program.estimate(history)) for history in shown], dtype=np.float64)


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    """The true signal never enters the box."""
    noisy, clean = case.input["signal"], case.expected
    found = _checked(output, noisy.shape)
    error = _rms(found - clean) / _rms(noisy - clean)
    behind, roughness = lag(found, clean), _rms(np.diff(found, 2)) / _rms(np.diff(noisy, 2))
    worst = int(np.abs(found - clean).argmax())
    unlagged = _rms(_late(found, clean, round(behind))) / _rms(noisy - clean)
    feedback = (
        f"error {error:.3f} of the noise; lags {behind:.1f} samples behind; {roughness:.3f} as rough as the input; without the lag the "
        f"error would be {unlagged:.3f}; worst at sample {worst}: {found[worst]:.2f}, true {clean[worst]:.2f}, seen {noisy[worst]:.2f}"
    )
    return Score(error=error, feedback=feedback, measures={"lag": behind, "roughness": roughness})


def lag(found: np.ndarray, clean: np.ndarray) -> float:
    """By how many samples the clean signal has to be held back to fit best, between whole numbers by a parabola."""
    misfit = [_rms(_late(found, clean, shift)) ** 2 for shift in range(MOST_LAG + 1)]
    best = int(np.argmin(misfit))
    if best in (0, MOST_LAG):
        return float(best)
    left, middle, right = misfit[best - 1 : best + 2]
    bend = left - 2.0 * middle + right
    return best + (0.5 * (left - right) / bend if bend > 0.0 else 0.0)


def _late(found: np.ndarray, clean: np.ndarray, shift: int) -> np.ndarray:
    """The error against the clean signal ``shift`` samples before, over the same samples for every shift."""
    return found[MOST_LAG:] - clean[MOST_LAG - shift : len(clean) - shift]


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def _checked(output: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(output, np.ndarray) or output.dtype != np.float64:
        raise Reject("the estimates must be an array of float64")
    if output.shape != shape:
        raise Reject(f"the estimates have the shape {output.shape}; it must be {shape}")
    if not np.isfinite(output).all():
        raise Reject(f"estimate {int((~np.isfinite(output)).argmax())} is not finite")
    if (np.abs(output) > 1e6).any():
        raise Reject(f"estimate {int(np.abs(output).argmax())} is {np.abs(output).max():g} in size; no signal comes near a million")
    return output
