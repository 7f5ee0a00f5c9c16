def function_of(module, names):
    return next(getattr(module, name) for name in names if hasattr(module, name))
