import math
import os

import numpy as np


def evaluate(path):
    with open(path) as file:
        words = file.read().split()
    if not words:
        return {"error": "there are no words"}
    if words[0] == "stop":
        os._exit(0)
    if words[0] == "package":
        return {"error": "No module named 'nowhere'"}
    if words[0] == "late":
        return {"timeout": True, "a": 0.0}
    if words[0] == "wrong":
        return "no dict"
    if words[0] == "endless":
        return {"combined_score": math.inf}
    return {"a": np.float64(len(words)), "b": 5, "letters": 0.25, "good": True, "name": "mean", "none": math.nan}
