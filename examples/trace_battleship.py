"""Trace's way with code: two functions of a player who sinks ships learn from what the game says.

``python trace_battleship.py`` asks the model that AGENTOPT_MODEL names, for example openai:gpt-4o-mini; without one it plays with three
answers that are written down here. What a model writes is called in a sandbox.
"""

import os
import random

from agentopt.compat.trace import ExecutionError, bundle, model, node
from agentopt.compat.trace.optimizers import OptoPrime

SIZE = 6
SHIPS = (4, 3, 2)


class Board:
    """Ships lie in rows. ``seen`` is what the player knows: ``.`` nothing, ``O`` water, ``X`` a hit."""

    def __init__(self, seed):
        rng = random.Random(seed)
        self.ships = set()
        for row, size in zip(rng.sample(range(SIZE), len(SHIPS)), SHIPS, strict=True):
            start = rng.randint(0, SIZE - size)
            self.ships |= {(row, start + k) for k in range(size)}
        self.seen = [["."] * SIZE for _ in range(SIZE)]

    def fire(self, row, column):
        if self.seen[row][column] != ".":
            return "you fired there before; the shot is wasted", 0.0
        hit = (row, column) in self.ships
        self.seen[row][column] = "X" if hit else "O"
        return ("a hit", 1.0) if hit else ("water", 0.0)


@model
class Player:
    """Looks at the map, makes a plan, fires."""

    def __call__(self, seen):
        return self.act(seen, self.plan(seen))

    @bundle(trainable=True)
    def plan(self, seen):
        """Name a cell of the map, a list of rows, beside which ships may lie: [row, column], or None."""
        return

    @bundle(trainable=True)
    def act(self, seen, plan):
        """Choose the cell to fire at: [row, column]. "." was not fired at yet, "X" was a hit, "O" water."""
        return [0, 0]


def play(player, seed, shots=16):
    """The node of the last shot, what to say of it, and the share of shots that hit."""
    board, shot, feedback, score = Board(seed), None, "", 0.0
    try:
        for _ in range(shots):
            shot = player(node([list(row) for row in board.seen], "seen"))
            feedback, hit = board.fire(*shot.data)
            score += hit / shots
        return shot, f"{feedback}; {score:.0%} of {shots} shots hit; the map is now {board.seen}", score
    except ExecutionError as error:
        return error.exception_node, error.exception_node.create_feedback("full"), 0.0
    except (TypeError, ValueError, IndexError) as error:
        return shot, f"{shot.data!r} is no cell of the map: {error}", 0.0


def train(llm, steps=3, games=2):
    """The trained player, and its scores on the way."""
    player, scores = Player(), []
    optimizer = OptoPrime(player.parameters(), llm=llm, memory_size=3)
    for step in range(steps + 1):
        optimizer.zero_feedback()
        outcomes = [play(player, seed) for seed in range(games)]
        for shot, feedback, score in outcomes:
            optimizer.backward(shot, feedback, score=score)
        scores.append(sum(score for _, _, score in outcomes) / games)
        if step < steps:
            optimizer.step()
    optimizer.close()
    return player, scores


FIRST = """
<reasoning>Every shot goes to the same cell. Fire at the first one that is free.</reasoning>
<variable><name>act</name><value>
def act(self, seen, plan):
    return next([r, c] for r, row in enumerate(seen) for c, cell in enumerate(row) if cell == ".")
</value></variable>"""
SECOND = """
<reasoning>Ships lie in rows, so a hit tells where to go on.</reasoning>
<variable><name>plan</name><value>
def plan(self, seen):
    size = len(seen)
    for r in range(size):
        for c in range(size):
            if seen[r][c] == "X":
                for d in (1, -1):
                    if 0 <= c + d < size and seen[r][c + d] == ".":
                        return [r, c + d]
    return None
</value></variable>
<variable><name>act</name><value>
def act(self, seen, plan):
    return plan or free[0]
</value></variable>"""
THIRD = """
<reasoning>free is not defined. While nothing is hit, every second cell is enough.</reasoning>
<variable><name>act</name><value>
def act(self, seen, plan):
    free = [[r, c] for r, row in enumerate(seen) for c, cell in enumerate(row) if cell == "."]
    return plan or next((cell for cell in free if sum(cell) % 2), free[0])
</value></variable>"""


def written_down():
    """A model that gives the three answers above, one after another."""
    answers = iter((FIRST, SECOND, THIRD))
    return lambda messages: next(answers)


if __name__ == "__main__":
    trained, hits = train(os.environ.get("AGENTOPT_MODEL") or written_down())
    print("share of shots that hit:", " ".join(f"{score:.2f}" for score in hits))
    print(trained.export())
