def network(n):
    """The comparators (i, j) of a sorting network for n inputs, in order: the smaller value goes to wire i, the larger to wire j."""
    return needed(n, start(n) + bubbles(n))


def start(n):
    """Comparators over longer distances, down to a share of n, before neighbours are sorted."""
    pairs = []
    for step in range(1, 6):
        stride = max(1, round(n * 0.5**step))
        if stride > 0.22 * n:
            pairs += [(low, low + stride) for low in range(n - stride) if low // stride % 2 == 0]
    return pairs


def bubbles(n):
    """Bubble sort: it sorts whatever came before."""
    return [(low, low + 1) for end in range(n - 1, 0, -1) for low in range(end)]


def needed(n, pairs):
    """Without comparators that exchange nothing on any of the 2^n inputs of zeros and ones; bit k of a wire is its value in input k."""
    wires = []
    for wire in range(n):
        half = 1 << wire
        column = ((1 << half) - 1) << half
        for doubling in range(wire + 1, n):
            column |= column << (1 << doubling)
        wires.append(column)
    kept = []
    for low, high in pairs:
        smaller = wires[low] & wires[high]
        if smaller != wires[low]:
            wires[low], wires[high] = smaller, wires[low] | wires[high]
            kept.append((low, high))
    return kept
