"""Conformance groups 12, 13 and 14: Trace's optimizers, their replies, searches that go on where they were, and scores by name."""

from __future__ import annotations

import asyncio
import json
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agentopt.api import load_run
from agentopt.compat.trace import bundle, node
from agentopt.compat.trace.called import CalledModel, as_model
from agentopt.compat.trace.optimizers import OPRO, OptoPrime, OptoPrimeMulti, OptoPrimeV2
from agentopt.core.chat import ChatRequest, Message, ModelError, Usage
from agentopt.core.errors import ConfigError, RunFailed
from agentopt.core.events import canonical
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.scripted import ScriptedModel


def suggest(**values: Any) -> str:
    return json.dumps({"reasoning": "because", "suggestion": values})


def climb(x: Any, best: float = 3.0) -> Any:
    return (x - best) * (x - best)


class Says:
    """One text after another, the last one again and again."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[Any] = []

    def __call__(self, messages: list[dict[str, str]], max_tokens: int | None = None) -> Any:
        self.asked.append((messages, max_tokens))
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        message = SimpleNamespace(content=text)
        return SimpleNamespace(choices=[SimpleNamespace(message=message, finish_reason="stop")], model="says")


def test_a_training_loop():
    x = node(-1.0, name="x", trainable=True, description="where to look")
    llm = Says(suggest(x=1.0), suggest(x=2.0), suggest(x=3.0))
    optimizer = OptoPrime([x], llm=llm, memory_size=2)
    values: list[float] = []
    for _ in range(3):
        y = climb(x)
        optimizer.zero_feedback()
        optimizer.backward(y, f"{y.data} is too much")
        assert optimizer.step() == {x: x.data}
        values.append(x.data)
    optimizer.close()
    assert values == [1.0, 2.0, 3.0]
    asked = [messages[-1]["content"] for messages, _ in llm.asked]
    assert "16.0 is too much" in asked[0]
    assert "4.0 is too much" in asked[1]
    assert "4.0 is too much" in asked[2], "the memory shows what was tried"
    assert not any("wall time" in question for question in asked), "nobody bounds what the user runs"
    assert "where to look" in asked[0]


def test_feedback_that_a_node_was_given_counts_too():
    x, y = node(1.0, name="x", trainable=True), node(2.0, name="y", trainable=True)
    optimizer = OptoPrime([x, y], llm=Says(suggest(x=5.0)))
    total = x + y
    total.backward("too small")
    assert optimizer.step() == {x: 5.0}
    assert (x.data, y.data) == (5.0, 2.0)
    assert x.feedback == {}, "a step takes up what was said"
    optimizer.close()


def test_two_optimizers_over_one_graph():
    a, b = node(1.0, name="a", trainable=True), node(1.0, name="b", trainable=True)
    first, second = OptoPrime([a], llm=Says(suggest(a=2.0))), OptoPrime([b], llm=Says(suggest(b=3.0)))
    total = a * b
    first.zero_feedback()
    second.zero_feedback()
    total.backward("too small")
    first.step()
    second.step()
    assert (a.data, b.data) == (2.0, 3.0)
    first.close()
    second.close()


def test_propose_and_update():
    x = node(1.0, name="x", trainable=True)
    optimizer = OptoPrime([x], llm=Says(suggest(x=2.0), suggest(x=4.0)))
    optimizer.backward(x + 1.0, "more")
    proposed = optimizer.propose()
    assert (proposed, x.data) == ({x: 2.0}, 1.0)
    optimizer.backward(x + 1.0, "more")
    with pytest.raises(ConfigError, match="parameter 'x' has not the value that candidate"):
        optimizer.step()
    optimizer.update(proposed)
    assert x.data == 2.0
    assert optimizer.step(bypassing=True) == {x: 4.0}
    assert x.data == 2.0
    optimizer.close()


def test_parameters_have_names_of_their_own():
    first, second = node(1.0, name="x", trainable=True), node(2.0, name="x", trainable=True)
    optimizer = OptoPrime([first, second, first], llm=Says(suggest(x_1=7.0)))
    assert optimizer.parameters == [first, second]
    assert list(optimizer.parameter_dict) == ["x", "x_1"]
    assert optimizer.parameter_dict["x_1"] is second
    optimizer.backward(first + second, "more")
    assert optimizer.step() == {second: 7.0}
    optimizer.close()


@pytest.mark.parametrize(
    "reply",
    [
        '{"suggestion": {"n": 5}}',
        'First of all {"this": "is no answer"}. ```json\n{"reasoning": "r", "suggestion": {"n": "5"}}\n```',
        '{"reasoning": "r", "answer": null, "suggestion": {"n": 5, "unknown": 3}}',
        '{"n": 5}',
        "<reasoning>r</reasoning><variable><name>n</name><value>5</value></variable>",
        "<reasoning>a <value> of <name>n</name></reasoning>\n<variable>\n<name>n</name>\n<value>\n5\n</value>\n</variable>",
        "<think><variable><name>n</name><value>9</value></variable></think><variable><name>n</name><value>5</value></variable>",
    ],
)
def test_replies_in_many_forms(reply: str):
    n = node(1, name="n", trainable=True)
    optimizer = OptoPrimeV2([n], llm=Says(reply))
    optimizer.backward(n + 1, "more")
    assert optimizer.step() == {n: 5}
    assert type(n.data) is int
    optimizer.close()


@pytest.mark.parametrize(
    "reply", ["", "no idea", '{"suggestion": {"n": "many"}}', '{"suggestion": {"n": null}}', "<variable><name>n</name>"]
)
def test_a_reply_that_cannot_be_used_is_asked_for_again(reply: str):
    n = node(1, name="n", trainable=True)
    llm = Says(reply, suggest(n=5))
    optimizer = OptoPrime([n], llm=llm)
    optimizer.backward(n + 1, "more")
    assert optimizer.step() == {n: 5}
    assert len(llm.asked) == 2
    optimizer.close()


def test_a_model_that_never_has_an_answer_is_given_up():
    n = node(1, name="n", trainable=True)
    optimizer = OptoPrime([n], llm=Says("no idea"))
    optimizer.backward(n + 1, "more")
    with pytest.raises(RunFailed, match="brought nothing usable"):
        optimizer.step()
    assert n.data == 1
    optimizer.close()


def test_constraints_and_projections_of_a_parameter_hold():
    n = node(1, name="n", trainable=True, constraint="n is even")

    def even(value: Any) -> Any:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value

    n.param.projection = even
    llm = Says(suggest(n=5), suggest(n=6))
    optimizer = OptoPrime([n], llm=llm)
    optimizer.backward(n + 1, "more")
    assert optimizer.step() == {n: 6}
    assert "n is even" in llm.asked[0][0][-1]["content"]
    optimizer.close()


def test_code_of_a_function_is_changed():
    @bundle(trainable=True)
    def double(v: float) -> float:
        return v + v

    code = "def double(v: float) -> float:\n    return 3 * v\n"
    optimizer = OptoPrime(double.parameters(), llm=Says(f"<variable><name>double</name><value>\n{code}</value></variable>"))
    optimizer.backward(double(2.0), "threefold is asked for")
    (changed,) = optimizer.step().values()
    assert "return 3 * v" in changed
    optimizer.close()


def test_an_exception_is_judged_like_a_result():
    x = node(0.0, name="x", trainable=True)
    optimizer = OptoPrime([x], llm=Says(suggest(x=2.0)))
    with pytest.raises(ZeroDivisionError) as raised:
        1.0 / x
    failed: Any = raised.value
    optimizer.backward(failed.exception_node, failed.exception_node.create_feedback())
    assert optimizer.step() == {x: 2.0}
    optimizer.close()


# --- the run behind it -----------------------------------------------------------------------------------------------


def search(folder: Path | None, steps: int, **options: Any) -> list[Any]:
    """A search with a model that always adds one, and scores."""
    x = node(0.0, name="x", trainable=True)

    def llm(messages: list[dict[str, str]], **_: Any) -> str:
        _, _, after = messages[-1]["content"].partition("<name>x</name>\n<value>\n")
        return suggest(x=float(after.partition("\n")[0]) + 1.0)

    optimizer = OptoPrime([x], llm=llm, out=folder, **options)
    tried: list[Any] = []
    for _ in range(steps):
        optimizer.zero_feedback()
        tried.append(x.data)
        optimizer.backward(climb(x), "closer", score={"near": -abs(x.data - 3.0), "small": -x.data})
        if not optimizer.step():
            break
    optimizer.close()
    return [*tried, x.data]


def logged(folder: Path) -> list[Any]:
    with SqliteStore.open(folder, read_only=True) as store:
        return canonical(store.read())


def test_a_search_is_the_same_each_time_and_goes_on_where_it_was(tmp_path: Path):
    whole = search(tmp_path / "whole", 6)
    assert whole == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert search(tmp_path / "again", 6) == whole
    assert logged(tmp_path / "again") == logged(tmp_path / "whole")
    assert search(tmp_path / "parts", 2) == whole[:3]
    assert search(tmp_path / "parts", 4) == whole[2:]
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")


def test_scores_by_name_are_ranked_as_trade_offs(tmp_path: Path):
    values = search(tmp_path / "run", 9, budget="6evals")
    result = load_run(tmp_path / "run")
    assert [found.values["x"] for found in result.front] == [0.0, 1.0, 2.0, 3.0], "beyond 3 both scores are worse"
    assert values[-1] == 3.0, "at the end there are the best values"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, {"near": math.nan}])
def test_scores_are_finite(score: Any):
    x = node(0.0, name="x", trainable=True)
    optimizer = OptoPrime([x], llm=Says(suggest(x=1.0)))
    with pytest.raises(ValueError, match="say with text alone what cannot be scored"):
        optimizer.backward(climb(x), "", score=score)
    optimizer.backward(climb(x), "", score=0.5)
    assert optimizer.step() == {x: 1.0}
    optimizer.close()


def test_the_objective_may_be_set_until_the_first_step():
    x = node(0.0, name="x", trainable=True)
    llm = Says(suggest(x=1.0))
    optimizer = OptoPrime([x], llm=llm, max_tokens=77)
    optimizer.objective = f"{optimizer.default_objective} Hint: think of a parabola."
    optimizer.backward(climb(x), "closer")
    optimizer.step(verbose=True)
    optimizer.close()
    messages, limit = llm.asked[0]
    assert "Hint: think of a parabola." in messages[-1]["content"]
    assert limit == 77


def test_several_answers_to_one_question():
    x = node(0.0, name="x", trainable=True)
    llm = Says(*(suggest(x=float(number)) for number in range(1, 9)))
    optimizer = OptoPrimeMulti([x], llm=llm, num_responses=3)
    values: list[float] = []
    for _ in range(3):
        optimizer.zero_feedback()
        optimizer.backward(climb(x), "closer")
        optimizer.step()
        values.append(x.data)
    optimizer.close()
    assert sorted(values) == [1.0, 2.0, 3.0]
    assert len(llm.asked) == 3, "no further question until all were tried"


def test_opro_shows_no_graph():
    x = node(0.0, name="x", trainable=True)
    llm = Says(suggest(x=1.0))
    optimizer = OPRO([x], llm=llm)
    optimizer.backward(climb(x), "closer")
    assert optimizer.step() == {x: 1.0}
    optimizer.close()
    assert "#Code" not in llm.asked[0][0][-1]["content"]


def test_verbose_steps_are_printed(capsys: pytest.CaptureFixture[str]):
    x = node(0.0, name="x", trainable=True)
    optimizer = OptoPrime([x], llm=Says(suggest(x=1.0)), memory_size=1)
    optimizer.backward(climb(x), "closer")
    optimizer.step(verbose="output")
    optimizer.close()
    printed = capsys.readouterr().out
    assert printed.startswith("step 1: admitted; now trying ")
    assert "because" in printed
    assert printed.endswith("x = 1.0\n")


def test_arguments_that_mean_nothing_here_are_warned_of_and_others_refused():
    x = node(0.0, name="x", trainable=True)
    with pytest.warns(UserWarning, match="OptoPrime: prompt_symbols has no effect here"):
        OptoPrime([x], prompt_symbols={"variables": "#Parameters"})
    with (
        warnings.catch_warnings(),
        pytest.raises(ConfigError, match="the argument 'memory' is unknown; beside Trace's there are budget, out"),
    ):
        OptoPrime([x], memory=3)
    with pytest.raises(ConfigError, match=r"parameters holds a float; make it a parameter with node\(value, trainable=True\)"):
        OptoPrime([1.0])
    with pytest.raises(ConfigError, match="generation_technique is 'guess'; it must be one of temperature_variation"):
        OptoPrimeMulti([x], generation_technique="guess")


def test_without_a_model_it_is_said_at_the_first_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AGENTOPT_MODEL", raising=False)
    x = node(0.0, name="x", trainable=True)
    optimizer = OptoPrime([x])
    optimizer.close()
    optimizer.backward(climb(x), "closer")
    with pytest.raises(ConfigError, match="optoprime needs a model"):
        optimizer.step()
    optimizer.close()


# --- functions as models ---------------------------------------------------------------------------------------------

ASK = ChatRequest((Message("system", "s"), Message("user", "u")), temperature=0.5, max_output_tokens=9, stop=("x",), seed=3)


def test_a_function_is_given_what_it_takes():
    seen: list[Any] = []

    def everything(**given: Any) -> Any:
        seen.append(given)
        return {
            "choices": [{"message": {"content": "hi"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        }

    async def little(messages: Any) -> str:
        seen.append(messages)
        return "ho"

    reply = asyncio.run(CalledModel(everything).complete(ASK))
    assert (reply.text, reply.finish, reply.usage, reply.model) == ("hi", "length", Usage(3, 1), "everything")
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert seen[0] == {"messages": messages, "max_tokens": 9, "temperature": 0.5, "stop": ["x"], "seed": 3}
    reply = asyncio.run(CalledModel(little).complete(ASK))
    assert (reply.text, reply.usage, seen[1]) == ("ho", None, messages)


@pytest.mark.parametrize("answer", [None, 3, {"choices": []}, {"choices": [{"message": {"content": None}}]}])
def test_an_answer_without_text_is_malformed(answer: Any):
    with pytest.raises(ModelError, match="it must answer text or an OpenAI response"):
        asyncio.run(CalledModel(lambda messages: answer).complete(ASK))


def test_what_a_function_raises_ends_the_run():
    def broken(messages: Any) -> str:
        raise KeyError("no key")

    x = node(0.0, name="x", trainable=True)
    optimizer = OptoPrime([x], llm=broken)
    optimizer.backward(climb(x), "closer")
    with pytest.raises(KeyError, match="no key"):
        optimizer.step()
    optimizer.close()


def test_specs_and_models_stay_what_they_are():
    model = ScriptedModel(["x"])
    assert as_model(model) is model
    assert as_model("openai:x") == "openai:x"
    assert as_model(None) is None
