"""A C++ program made faster: for each query, the nearest words of a dictionary by edit distance."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

from agentopt import Case, Limits, Objective, Parameter, Reject, Score, Task

COUNTS = {"train": 3, "validation": 3, "test": 5}
WORDS, QUERIES = (7500, 8500), (140, 160)
ANSWERS: dict[str, tuple[str, ...]] = {}
ONSETS = (*"bcdfghjklmnprstvwz", "br", "ch", "dr", "fl", "fr", "gr", "pl", "qu", "sh", "st", "tr")
VOWELS = (*"aeiou", "ai", "ea", "io", "ou")
CODAS = ("", "", "", *"lnrst", "nd", "st", "ck")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def cases(split: str, rng: Random) -> list[Case]:
    return [Case(f"{split}-{k}", instance(rng, rng.randrange(*WORDS), rng.randrange(*QUERIES))) for k in range(COUNTS[split])]


def instance(rng: Random, words: int, queries: int) -> str:
    """The text on stdin: two numbers, then distinct words made of syllables, then queries: words with up to four slips."""
    syllables = [rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(150)]
    dictionary = dict[str, None]()
    while len(dictionary) < words:
        dictionary["".join(rng.choice(syllables) for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 5))))] = None
    found = list(dictionary)
    return "\n".join([f"{words} {queries}", *found, *(slip(rng, rng.choice(found)) for _ in range(queries))]) + "\n"


def slip(rng: Random, word: str) -> str:
    letters = list(word)
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
        at, kind = rng.randrange(len(letters) + 1), rng.randrange(3)
        if kind == 0 or at == len(letters):
            letters.insert(at, rng.choice(LETTERS))
        elif kind == 1 or len(letters) == 1:
            letters[at] = rng.choice(LETTERS)
        else:
            del letters[at]
    return "".join(letters)


def answers(text: str) -> tuple[str, ...]:
    """The lines that are right, worked out once per case."""
    if text not in ANSWERS:
        ANSWERS[text] = tuple(_answers(text))
    return ANSWERS[text]


def _answers(text: str) -> Iterator[str]:
    """The table of distances is filled for all words of the dictionary at once."""
    count, _, *rest = text.split()
    words, queries = rest[: int(count)], rest[int(count) :]
    lengths = np.array([len(word) for word in words])
    letters = np.zeros((lengths.max(), len(words)), dtype=np.uint8)
    for column, word in enumerate(words):
        letters[: len(word), column] = np.frombuffer(word.encode(), dtype=np.uint8)
    for query in queries:
        distances = _distances(query.encode(), letters)[lengths, np.arange(len(words))]
        nearest = np.flatnonzero(distances == distances.min())
        yield f"{distances.min()} {len(nearest)} {nearest[0]}"


def _distances(query: bytes, letters: np.ndarray) -> np.ndarray:
    """Entry (j, w) is the edit distance between ``query`` and the first j letters of word w; ``letters`` is (longest, words)."""
    row = np.repeat(np.arange(len(letters) + 1, dtype=np.uint8)[:, None], letters.shape[1], axis=1)
    for number, letter in enumerate(query, start=1):
        changed = row[:-1] + (letters != letter)
        above = row[1:] + 1
        row = np.empty_like(row)
        row[0] = number
        for j in range(len(letters)):
            row[j + 1] = np.minimum(np.minimum(changed[j], above[j]), row[j] + 1)
    return row


task = Task(
    name="code_speed",
    goal=(
        "Make the C++ program faster without changing what it prints. It reads a dictionary and queries, lowercase words of at most 40 "
        "letters, and prints for each query the smallest edit distance to a word (insert, delete or replace a letter), how many words "
        "have it, and the lowest index among them. It is built with g++ -O2 and runs in one thread."
    ),
    parameters={"solve": Parameter("solve", "code", "solve.cpp", language="cpp")},
    objectives=[Objective("seconds", "min", source="outside", quantity="cpu", reference=0.006)],
    cases=cases,
    build=["g++", "-O2", "-std=c++17", "-o", "solve", "solve.cpp"],
    command=["./solve"],
    needs=("no_processes",),  # what a child uses is not always counted
    limits=Limits(seconds=10, memory_mb=256),
    budget="10m",
)


@task.score
def score(case: Case, output: Any, measured: Any) -> Score:
    right = answers(case.input)
    lines = output.split("\n") if isinstance(output, str) else []
    given = [" ".join(line.split()) for line in lines if line.strip()]
    if len(given) != len(right):
        raise Reject(f"there are {len(given)} lines; it must be {len(right)}, one per query")
    if wrong := [k for k, line in enumerate(given) if line != right[k]]:
        raise Reject(f"{len(wrong)} of {len(right)} lines are wrong, the first of them line {wrong[0] + 1}: {given[wrong[0]]!r:.60}")
    pairs = int(case.input.split(maxsplit=1)[0]) * len(right)
    return Score(
        feedback=f"right; {measured.cpu / pairs * 1e9:.1f} ns of CPU and {measured.peak_bytes / 2**20:.1f} MB for {pairs} pairs of words"
    )
