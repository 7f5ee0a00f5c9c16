"""What the models of the table were shown: parameters with the parent's values, and some programs that they answer with."""

from __future__ import annotations

from agentopt import Parameter

PRIORITY = '''\
import math


def priority(item, bins):
    """Best fit: the fuller the better."""
    scores = []
    for free in bins:
        left = free - item
        scores.append(-left if left >= 0 else -math.inf)
    return scores
'''
STEEP = PRIORITY.replace("-left if", "-(left**2) if")
WORST = PRIORITY.replace("-left if", "left if").replace("Best fit: the fuller the better.", "Worst fit.")
SHORT = """\
def priority(item, bins):
    return [-(free - item) ** 3 if free >= item else -1e9 for free in bins]
"""

EVOLVE = """\
import random

LIMIT = 100


# EVOLVE-BLOCK-START
def weight(x):
    return x


def priority(item, bins):
    return [-weight(free - item) for free in bins]
# EVOLVE-BLOCK-END


def run(items):
    bins = [LIMIT]
    for item in items:
        scores = priority(item, bins)
        bins[scores.index(max(scores))] -= item
    return bins
"""
EVOLVE_SQUARE = EVOLVE.replace("    return x\n", "    return x * x\n")
TWO_BLOCKS = """\
// EVOLVE-BLOCK-START
int first() { return 1; }
// EVOLVE-BLOCK-END
int between() { return 0; }
// EVOLVE-BLOCK-START
int second() { return 2; }
// EVOLVE-BLOCK-END
"""

FEATURES = """\
def features(item, free):
    left = free - item
    return [left, left * left]
"""
RANK = """\
from pack.features import features


def rank(item, bins, weights=(1.0, 0.0)):
    total = []
    for free in bins:
        total.append(sum(w * f for w, f in zip(weights, features(item, free))))
    return total
"""
COMMON = "LIMIT = 100\n"

KERNEL = """\
#include <cmath>

__global__ void scale(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        x[i] = x[i] * 2.0f;
    }
}
"""
KERNEL_FAST = KERNEL.replace("x[i] = x[i] * 2.0f;", "x[i] *= 2.0f;")

INSTRUCTION = "Answer the question. Give only the number."
STEPWISE = "Work through the question step by step, check units, and end with the number alone on the last line."
PAGE = """\
Summary
=======

Write the report in Markdown:

```
# Title
text
```

Example
=======

Keep it short.
"""
TABS = "def total(items):\n\tresult = 0\n\tfor item in items:\n\t\tif item > 0:\n\t\t\tresult += item\n\treturn result\n"
MODULE = '''\
"""Two helpers that a harness calls."""

SCALE = 2


def encode(x):
    return x * SCALE


def decode(y):
    return y / SCALE
'''


def _all(*parameters: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in parameters}


def _one_line(text: str) -> str:
    if "\n" in text.strip():
        raise ValueError("it has to be one line.")
    return text.strip()


TASKS: dict[str, dict[str, Parameter]] = {
    "priority": _all(Parameter("priority", "code", PRIORITY)),
    "windows": _all(Parameter("priority", "code", PRIORITY.replace("\n", "\r\n"))),
    "evolve": _all(Parameter("priority", "code", EVOLVE)),
    "two_blocks": _all(Parameter("kernel", "code", TWO_BLOCKS, language="c")),
    "pack": _all(
        Parameter("features", "code", FEATURES, path="pack/features.py"),
        Parameter("rank", "code", RANK, path="pack/rank.py"),
        Parameter("common", "code", COMMON, entry=None, path="pack/common.py", trainable=False),
    ),
    "kernel": _all(Parameter("scale", "code", KERNEL, language="cuda")),
    "instruction": _all(Parameter("instruction", "prompt", INSTRUCTION)),
    "page": _all(Parameter("page", "prompt", PAGE)),
    "ruled": _all(Parameter("style", "prompt", "Notes on style and tone\n=======\nBe brief.\n")),
    "agents": _all(
        Parameter("planner", "prompt", "Be brief.\nPlan the steps."),
        Parameter("writer", "prompt", "Be brief.\nWrite the answer."),
    ),
    "start": _all(Parameter("start", "config", {"x": 1.5, "y": -0.5})),
    "rate": _all(Parameter("rate", "value", 0.5)),
    "bounded": _all(
        Parameter("rate", "value", 0.5, space={"": (0.0, 1.0)}),
        Parameter("mode", "value", "greedy", space={"": ["greedy", "lazy"]}),
        Parameter("style", "prompt", "Be brief.", project=_one_line),
    ),
    "verbose": _all(Parameter("verbose", "value", True)),
    "mode": _all(Parameter("mode", "value", "greedy")),
    "mixed": _all(
        Parameter("priority", "code", PRIORITY),
        Parameter("instruction", "prompt", INSTRUCTION),
        Parameter("start", "config", {"x": 1.5, "y": -0.5}),
        Parameter("rate", "value", 0.5),
    ),
    "tabs": _all(Parameter("total", "code", TABS)),
    "module": _all(Parameter("codec", "code", MODULE, entry=None)),
    "keyword": _all(Parameter("solve", "code", "async def solve(points, *, limit=10, **options):\n    return points[:limit]\n")),
    "model": _all(Parameter("Model", "code", "class Model:\n    def predict(self, x):\n        return 0\n")),
}
TEXTS = {
    "priority": PRIORITY,
    "steep": STEEP,
    "worst": WORST,
    "short": SHORT,
    "evolve": EVOLVE,
    "evolve_square": EVOLVE_SQUARE,
    "features": FEATURES,
    "rank": RANK,
    "kernel": KERNEL,
    "kernel_fast": KERNEL_FAST,
    "instruction": INSTRUCTION,
    "stepwise": STEPWISE,
}
"""What ``{{name}}`` in a reply and ``= name`` behind an expected value stand for."""
