import importlib.util
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
ABOVE = os.path.dirname(HERE)


def evaluate(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    with open("weights.json") as file:
        weights = json.load(file)
    with open(os.path.join(ABOVE, "shared.json")) as file:
        target = json.load(file)["target"]
    found = program.run()
    error = sum(w * abs(a - b) for w, a, b in zip(weights, found, target, strict=True))
    with open(os.path.join(HERE, "trace.txt"), "w") as file:
        file.write("written beside the evaluator")
    print("printed, and no result")
    return {"combined_score": 1.0 / (1.0 + error), "error_sum": error, "first": found[0]}
