"""Each test has a temporary folder of its own, so that what is left there is seen."""

from __future__ import annotations

from tests.boxes import own_temporary_folder

__all__ = ["own_temporary_folder"]
