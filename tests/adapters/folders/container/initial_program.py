def similarity(a, b):
    return float(a == b)
