"""The command line that starts one of our own processes without the user's environment reaching into it."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["THREADS_ONE", "boot_command"]

THREADS_ONE = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
}
"""Environment that keeps numeric libraries from starting threads when they are imported."""

# The package is loaded from its own folder, so the folder around it (a checkout with tasks and tests) need not be importable.
_CODE = """
import importlib.util, sys
def start(init, module, *arguments):
    spec = importlib.util.spec_from_file_location("agentopt", init)
    package = importlib.util.module_from_spec(spec)
    sys.modules["agentopt"] = package
    spec.loader.exec_module(package)
    importlib.import_module(module).main(*arguments)
start(*sys.argv[1:])
"""


def boot_command(module: str, *arguments: str) -> list[str]:
    """Runs ``module.main(*arguments)`` in an isolated interpreter: no PYTHON* variables, no user site, no working directory on its path."""
    package = Path(__file__).resolve().parent.parent
    return [sys.executable, "-I", "-X", "utf8", "-c", _CODE, str(package / "__init__.py"), module, *arguments]
