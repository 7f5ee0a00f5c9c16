"""Which calls are pure arithmetic: the only ones that edits insert, and the ones they exchange."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

__all__ = ["BUILTIN", "MODULES", "function_name", "imported_modules", "is_pure_call", "peers"]

_GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "numpy": (
        ("sqrt", "abs", "square", "log1p", "exp", "tanh", "log", "sin", "cos", "sign", "floor", "ceil", "cbrt", "arctan", "expm1", "rint"),
        ("maximum", "minimum", "add", "subtract", "multiply", "divide", "hypot", "power", "fmod", "arctan2"),
        ("sum", "mean", "max", "min", "median", "std", "var", "prod", "ptp"),
        ("argmax", "argmin"),
        ("cumsum", "cumprod", "sort"),
        ("less", "less_equal", "greater", "greater_equal"),
        ("any", "all"),
        ("zeros_like", "ones_like"),
        ("where",),
        ("clip",),
        ("isfinite", "isnan", "nan_to_num"),
        ("dot", "inner", "outer", "full_like", "asarray", "array", "float64"),
    ),
    "math": (
        ("sqrt", "fabs", "log1p", "exp", "tanh", "log", "sin", "cos", "atan", "floor", "ceil", "expm1"),
        ("hypot", "pow", "fmod", "atan2", "copysign"),
        ("isfinite", "isnan", "fsum", "gcd", "comb", "dist"),
    ),
}
MODULES = tuple(_GROUPS)
BUILTIN: tuple[tuple[str, ...], ...] = (
    ("max", "min"),
    ("abs",),
    ("sum",),
    ("float",),
    ("int", "round"),
    ("len",),
    ("pow",),
    ("bool",),
    ("any", "all"),
)
_PURE = {module: frozenset(name for group in groups for name in group) for module, groups in (*_GROUPS.items(), ("builtins", BUILTIN))}
_GROUP_OF = {(module, name): group for module, groups in (*_GROUPS.items(), ("builtins", BUILTIN)) for group in groups for name in group}
# Groups whose members are only kept, not exchanged: their arguments differ.
_MIXED = frozenset(("isfinite", "dot", "int", "isnan", "fsum"))


def imported_modules(imports: Iterable[ast.Import]) -> dict[str, str]:
    """Names bound to a module of pure functions: ``{"np": "numpy"}``."""
    return {alias.asname or alias.name: alias.name for node in imports for alias in node.names if alias.name in _GROUPS}


def function_name(call: ast.Call, modules: Mapping[str, str]) -> tuple[str, str] | None:
    """``("numpy", "sqrt")`` for ``np.sqrt(...)``, ``("builtins", "max")`` for ``max(...)``; None for other calls."""
    match call.func:
        case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
            return modules[module], name
        case ast.Name(id=name):
            return "builtins", name
        case _:
            return None


def is_pure_call(call: ast.Call, modules: Mapping[str, str]) -> bool:
    name = function_name(call, modules)
    return name is not None and name[1] in _PURE[name[0]]


def peers(call: ast.Call, modules: Mapping[str, str]) -> tuple[str, ...]:
    """Functions that take the same arguments as the one called, itself left out."""
    name = function_name(call, modules)
    group = _GROUP_OF.get(name, ()) if name else ()
    return () if not group or group[0] in _MIXED else tuple(other for other in group if name and other != name[1])
