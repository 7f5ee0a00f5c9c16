"""The whole way: a traced workflow, optoprime, and a model behind a real client; code that was learnt, behind its walls."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentopt.core.candidate import Proposal
from agentopt.core.running import CodeFailed
from agentopt.pipeline.stepper import Stepper
from agentopt.testing import FakeLLM
from agentopt.testing import Step as Reply
from agentopt.trace.params import Param
from agentopt.trace.recorder import record
from agentopt.trace.traced import traced
from agentopt.trainables import trainable
from tests.pipeline.worlds import Counting


@traced
def ask(prompt: Any, question: str) -> str:
    return f"{prompt} {question}?".upper()


@traced
def cut(text: str, limit: Any) -> str:
    return text[: limit + 0]


def test_a_model_reads_the_traces_of_a_minibatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    prompt = Param("Answer:", "prompt", constraint="at most two words")
    limit = Param(5, "limit", bounds=(1, 100), description="characters kept")
    replies = [
        "<reasoning>it is cut</reasoning><variable><name>limit</name><value>40</value></variable>",
        "<reasoning>be polite</reasoning><variable><name>prompt</name><value>Please answer:</value></variable>",
    ]
    with FakeLLM([Reply(text) for text in replies]) as server:
        options: dict[str, Any] = {
            "optimizer": "optoprime",
            "model": "openai:fake",
            "llm": {"base_url": server.url},
            "out": tmp_path / "run",
        }
        with Stepper([prompt, limit], goal="polite and whole answers", budget="2calls", **options) as opt:
            steps: list[Any] = []
            for score in (0.1, 0.5, 0.9):
                opt.zero_feedback()
                for question in ("who", "when"):
                    with record() as trace:
                        y = cut(ask(prompt, question), limit)
                    trace.backward(y, f"on {question}: {y!r} is not whole", score=score)
                steps.append(opt.step())
        first, second, last = steps
        assert (first.changed, first.rationale) == ({"limit": (5, 40)}, "it is cut")
        assert second.changed == {"prompt": ("Answer:", "Please answer:")}
        assert last.done == "the budget is spent"
        assert (prompt.value, limit.value, last.spent["calls"]) == ("Please answer:", 40, 2)
        question = server.requests[0].body["messages"][-1]["content"]
    for words in ("polite and whole answers", "cut(", "ask(", "on who: 'ANSWE' is not whole", "at most two words", "characters kept"):
        assert words in question, words
    assert "# runs 1, 2" in question, "runs of one structure have one listing"


@trainable
def weigh(x):
    return x


class Recoding(Counting):
    """Proposes code that doubles, then code that fails."""

    async def propose(self, view: Any, n: int, rng: Random) -> Any:
        body = "return 2 * x" if "return x" in self.last.candidate.values["weigh"] else "return x / 0"
        return [Proposal({"weigh": f"def weigh(x):\n    {body}\n"}, (self.last.id,), "recoding", "write")]


def test_learnt_code_is_called_behind_walls(tmp_path: Path):
    own = weigh.param.parameter().initial
    with Stepper([weigh], optimizer=Recoding, budget="3evals", out=tmp_path / "run") as opt:
        assert weigh(3) == 3
        opt.backward(None, "more", 3.0)
        opt.step()
        assert weigh(3) == 6
        opt.backward(None, "better", 6.0)
        opt.step()
        with pytest.raises(CodeFailed, match="ZeroDivisionError"), record() as trace:
            weigh(3)
        trace.backward(trace.failure, "it failed")
        assert opt.step().status == "failed"
        assert weigh(3) == 6, "at the end the best is there"
        weigh.param.set(own)
