# EVOLVE-BLOCK-START
def guess(seed):
    return seed


# EVOLVE-BLOCK-END
