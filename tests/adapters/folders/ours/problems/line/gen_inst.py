import os


def generate_datasets():
    base = os.path.join(os.path.dirname(__file__), "dataset")
    os.makedirs(base, exist_ok=True)
    with open(os.path.join(base, "train.txt"), "w") as file:
        file.write("1\n2\n3\n4\n")
