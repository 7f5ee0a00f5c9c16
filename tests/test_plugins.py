"""Names -> parts."""

from __future__ import annotations

import pytest

from agentopt.core.errors import ConfigError
from agentopt.plugins import names, resolve


def test_a_part_is_found_by_its_file_name():
    assert resolve("archives", "pareto").__name__ == "Pareto"
    assert {"mutate", "tune", "memetic"} <= set(names("optimizers"))
    assert all(names("optimizers").values()), "each file says in its first line what it is"


def test_anyone_can_bring_a_part():
    assert resolve("optimizers", "collections:Counter").__name__ == "Counter"
    with pytest.raises(ConfigError, match=r"optimizer: 'nowhere:X' cannot be imported"):
        resolve("optimizers", "nowhere:X")
    with pytest.raises(ConfigError, match=r"optimizer: 'collections:Nope' cannot be imported"):
        resolve("optimizers", "collections:Nope")


def test_a_wrong_name_lists_what_there_is():
    known = "case_front, grid, islands, pareto"
    with pytest.raises(ConfigError, match=rf"archive: there is no 'pareton'; there is {known}, or give package.module:Name"):
        resolve("archives", "pareton")


def test_an_installed_package_can_bring_a_part_by_name(monkeypatch: pytest.MonkeyPatch):
    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> str:
            return f"the part {self.name}"

    asked: list[str] = []

    def entry_points(group: str) -> list[Point]:
        asked.append(group)
        return [Point("theirs"), Point("others")]

    monkeypatch.setattr("agentopt.plugins.entry_points", entry_points)
    assert resolve("executors", "others") == "the part others"
    assert asked == ["agentopt.executors"]
