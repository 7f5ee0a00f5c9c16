import json
import sys
from pathlib import Path

from lib.truth import TRUTH

text = Path(sys.argv[1]).read_text()
space = {}
exec(text, space)
value = space["VALUE"]
print("judging")
if value < 0:
    print(json.dumps({"error": "VALUE is below zero"}))
elif value == 13:
    sys.exit(3)
elif value == 17:
    print("no JSON")
else:
    print(json.dumps({"distance": abs(value - TRUTH), "size": len(text), "value": value, "hint": "go on"}))
