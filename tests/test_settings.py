"""Settings: one schema, clear layers, one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentopt.core.errors import ConfigError
from agentopt.settings import RunConfig, layer, parse_assignments, read_toml, usable_cores, validate


def test_later_layers_win_and_tables_merge():
    task = {"budget": "10s"}
    file = {"budget": "20s", "optimizer": {"name": "tune", "options": {"sigma": 0.1, "bouts": 2}}}
    assigned = parse_assignments(["optimizer.options.sigma=0.3", "select=excess", "workers=2", "limits.seconds=1.5"])
    flags = {"optimizer": "mutate", "workers": 4}
    config = validate(layer(task, file, assigned, flags))
    assert config.budget == "20s"
    assert config.workers == 4
    assert config.optimizer.name == "mutate"
    assert config.optimizer.options == {"sigma": 0.3, "bouts": 2}
    assert config.select == "excess"
    assert config.limits == {"seconds": 1.5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workrs": 2}, r"key 'workrs' is unknown; the keys are: allow_weak_sandbox, archive, box, budget"),
        ({"optimizer": {"name": "tune", "sigma": 1}}, r"key 'optimizer.sigma' is unknown; the keys are: name, options"),
        ({"workers": 0}, r"workers is 0; input should be greater than or equal to 1"),
        ({"workers": "many"}, r"workers is 'many'; input should be a valid integer"),
        ({"patience": 0}, r"patience is 0"),
        ({"look_ahead": -1}, r"look_ahead is -1"),
        ({"target": "x"}, r"target is 'x'"),
        ({"repeats": 0}, r"repeats is 0"),
        ({"deterministic": 1}, r"deterministic is 1"),
        ({"limits": {"seconds": "fast"}}, r"limits.seconds is 'fast'"),
    ],
)
def test_mistakes_name_the_key_and_the_fix(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=f"run.toml: .*{message}"):
        validate(layer(settings), "run.toml")


def test_assignments():
    assert parse_assignments(['a="x=y"', "b.c=true", "b.d=[1, 2]", "e=plain text"]) == {
        "a": "x=y",
        "b": {"c": True, "d": [1, 2]},
        "e": "plain text",
    }
    wanted = {"archive": {"name": "grid", "options": {"elites": 2}}}
    assert parse_assignments(["archive=grid", "archive.options.elites=2"]) == wanted, "in either order"
    assert parse_assignments(["archive.options.elites=2", "archive=grid"]) == wanted
    assert parse_assignments(['optimizer={name="tune"}', "optimizer.options.sigma=1"]) == {
        "optimizer": {"name": "tune", "options": {"sigma": 1}}
    }
    for bad in ("workers", "=3", "a..b=1"):
        with pytest.raises(ConfigError, match="not key=value"):
            parse_assignments([bad])
    with pytest.raises(ConfigError, match="inside a plain value"):
        parse_assignments(["a=1", "a.b=2"])


def test_toml_files(tmp_path: Path):
    good = tmp_path / "run.toml"
    good.write_text('budget = "5s"\n[optimizer]\nname = "tune"\n')
    assert read_toml(good)["optimizer"] == {"name": "tune"}
    with pytest.raises(ConfigError, match=r"nothing.toml: the config file cannot be read \(No such file"):
        read_toml(tmp_path / "nothing.toml")
    good.write_text("budget = ")
    with pytest.raises(ConfigError, match=r"run.toml: not a TOML file"):
        read_toml(good)


def test_automatic_choices():
    assert RunConfig().resolved(False).workers == usable_cores()
    assert RunConfig().resolved(True).workers == 1, "outside objectives are measured one at a time"
    one = RunConfig(workers=1).resolved(False)
    assert (one.deterministic, one.look_ahead) == (True, 0)
    many = RunConfig(workers=3).resolved(False)
    assert (many.deterministic, many.look_ahead) == (False, 1)
    ordered = RunConfig(workers=3, deterministic=True).resolved(False)
    assert (ordered.deterministic, ordered.look_ahead) == (True, 2)
    assert RunConfig(look_ahead=5).resolved(False).look_ahead == 5
