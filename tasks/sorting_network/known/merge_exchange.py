"""Batcher's merge exchange for any n (Knuth, TAOCP 3, algorithm 5.2.2M)."""


def network(n: int) -> list[tuple[int, int]]:
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
