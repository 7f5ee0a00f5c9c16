"""What each arm of a run took and brought, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from agentopt.cli.terminal import harmless, number

__all__ = ["arms_table"]


def arms_table(arms: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """None where there is nothing to tell apart. ``gain`` is in the unit of the first objective."""
    if len(arms) < 2:
        return None
    asked = any(arm["calls"] for arm in arms.values())
    titles = ["arm", "asks", "evals", *(["calls", "tokens", "USD"] if asked else []), "seconds", "bests", "gain"]
    titles += ["gain/USD", "gain/s"] if asked else ["gain/s"]
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="dim")
    for place, title in enumerate(titles):
        # a narrow terminal folds the names of arms, which may hold those of models, and no figure
        table.add_column(title, justify="right" if place else "left", no_wrap=place > 0, overflow="fold")
    for name, arm in arms.items():
        models = [f"{arm['calls']}", f"{arm['tokens']:.0f}", _amount(arm["usd"])] if asked else []
        cells = [harmless(name or "-"), f"{arm['asks']}", f"{arm['evaluations']}", *models, f"{arm['seconds']:.1f}", f"{arm['bests']}"]
        rates = [_amount(arm["gain_per_usd"])] if asked else []
        table.add_row(*cells, number(arm["gain"]), *rates, _amount(arm["gain_per_second"]))
    return table


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
