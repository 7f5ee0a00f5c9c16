"""Networks of fewest comparators for n up to 10, as listed by B. Dobbelaere (bertdobbelaere.github.io); Batcher's for other n.

Of the same networks, those for n up to 9 have the fewest layers too.
"""

# fmt: off
OPTIMAL = {
    4: "02 13 01 23 12",
    5: "03 14 02 13 01 24 12 34 23",
    6: "05 13 24 12 34 03 25 01 23 45 12 34",
    7: "06 23 45 02 14 36 01 25 34 12 46 23 45 12 34 56",
    8: "02 13 46 57 04 15 26 37 01 23 45 67 24 35 14 36 12 34 56",
    9: "03 17 25 48 07 24 38 56 02 13 45 78 14 36 57 01 24 35 68 23 45 67 12 34 56",
    10: "08 19 27 35 46 02 14 58 79 03 24 57 69 01 36 89 15 23 48 67 12 35 46 78 23 45 67 34 56",
}
# fmt: on


def network(n: int) -> list[tuple[int, int]]:
    return [(int(pair[0]), int(pair[1])) for pair in OPTIMAL[n].split()] if n in OPTIMAL else merge_exchange(n)


def merge_exchange(n: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    top = 1 << (n - 1).bit_length() - 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return pairs
