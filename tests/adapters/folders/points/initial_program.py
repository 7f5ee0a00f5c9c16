SCALE = 7.0


# EVOLVE-BLOCK-START
def guess(n):
    step = 0.5
    return [step * k for k in range(n)]


# EVOLVE-BLOCK-END


def run():
    return [SCALE / 7.0 * value for value in guess(3)]
