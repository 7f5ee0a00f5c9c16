import os
import sys

sys.path.insert(0, "../../../")

import gpt
from tools.names import function_of

slope = function_of(gpt, ["slope", "slope_v2"])

if __name__ == "__main__":
    size, root, mood = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    base = os.path.join(os.path.dirname(__file__), "dataset")
    if not os.path.isfile(os.path.join(base, "train.txt")):
        from gen_inst import generate_datasets

        generate_datasets()
    with open(os.path.join(root, "problems", "line", "dataset", "train.txt")) as file:
        numbers = [float(line) for line in file][:size]
    print("[*] Running ...")
    print(sum((slope(x) - 3 * x) ** 2 for x in numbers))
