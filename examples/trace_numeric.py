"""Trace's way with numbers, without a model: two inputs of a function are moved until what comes out is small.

Change ``opto.trace`` to ``agentopt.compat.trace`` in a program of yours, and it goes on to run; so does this one.
"""

from agentopt.compat.trace import bundle, node
from agentopt.pipeline.stepper import Stepper

TARGET = 2.0


@bundle()
def distance(position):
    """How far from where it should be."""
    return abs(position - TARGET)


def train(steps=60):
    """The distance of the seed, and the best one that was found."""
    x, y = node(5.0, name="x", trainable=True), node(-3.0, name="y", trainable=True)
    first = None
    with Stepper([x.param, y.param], optimizer="tune", objectives=["score"], budget=f"{steps}evals", out=None) as stepper:
        while not stepper.done:
            far = distance(x * x + y)
            first = far.data if first is None else first
            far.backward(f"it is off by {far.data:.3f}", score=-far.data)
            stepper.step()
        return first, distance(x * x + y).data


if __name__ == "__main__":
    print("off by {:.3f} before, {:.3f} after".format(*train()))
