import importlib.util
import json
import sys

with open("/benchmark/pairs.json") as file:
    PAIRS = json.load(file)
spec = importlib.util.spec_from_file_location("candidate", sys.argv[1])
module = importlib.util.module_from_spec(spec)
try:
    spec.loader.exec_module(module)
    right = sum(module.similarity(a, b) == value for a, b, value in PAIRS)
    print(json.dumps({"status": "success", "combined_score": right / len(PAIRS), "artifacts": {"mode": sys.argv[2]}}))
except Exception as error:
    print(json.dumps({"status": "error", "combined_score": 0.0, "artifacts": {"error": repr(error)}}))
