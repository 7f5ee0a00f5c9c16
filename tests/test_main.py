"""``python -m agentopt``"""

from __future__ import annotations

import importlib


def test_importing_the_entry_module_runs_nothing():
    assert importlib.import_module("agentopt.__main__").main.__module__ == "agentopt.cli"
