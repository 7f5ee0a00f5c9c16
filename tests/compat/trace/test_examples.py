"""Trace's own examples, ported by their imports, and the model that they ask: greeting, battleship, numbers."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentopt.compat.trace import node, operators
from agentopt.compat.trace.llm import LLM
from agentopt.core.errors import ConfigError
from agentopt.testing import FakeLLM
from agentopt.testing.fake_llm import Step

ROOT = Path(__file__).parents[3]


def run(name: str, tmp_path: Path) -> list[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("AGENTOPT_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY")}
    command = [sys.executable, str(ROOT / "examples" / name)]
    done = subprocess.run(command, cwd=tmp_path, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_greeting(tmp_path: Path) -> None:
    assert run("trace_greeting.py", tmp_path) == ["Hola, John!", "Hello, John!"]


def test_battleship(tmp_path: Path) -> None:
    first, *exported = run("trace_battleship.py", tmp_path)
    scores = [float(score) for score in first.partition(":")[2].split()]
    assert scores[0] < scores[1] < scores[3]
    assert scores[2] == 0.0, "the second answer fails, and its error is what the third one reads"
    names: dict = {}
    exec("\n".join(exported), names)
    assert names["Player"]()([[".", ".", "."]] * 3) == [0, 1]


def test_numbers() -> None:
    spec = importlib.util.spec_from_file_location("trace_numeric", ROOT / "examples" / "trace_numeric.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before, after = module.train()
    assert before == 20.0
    assert after < 2.0


def test_a_model_is_asked_by_an_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM([Step(text="hello")]) as server:
        for key, value in (("AGENTOPT_MODEL", "openai:some-name"), ("OPENAI_BASE_URL", server.url), ("OPENAI_API_KEY", "none")):
            monkeypatch.setenv(key, value)
        system = node("be kind", name="system", trainable=True)
        said = operators.call_llm(system, "hi", "there", temperature=0.5)
        body = server.requests[0].body
        assert said == "hello"
        assert said.parameter_dependencies == {system}
        assert [message["content"] for message in body["messages"]] == ["be kind", "hi", "there"]
        assert (body["model"], body["temperature"]) == ("some-name", 0.5)
        assert LLM("plain-name").model == "plain-name"


def test_a_model_that_is_not_named_or_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENTOPT_MODEL", raising=False)
    with pytest.raises(ConfigError, match="AGENTOPT_MODEL"):
        LLM()
    with pytest.raises(ConfigError, match="relay:folder"):
        LLM("relay:folder")
