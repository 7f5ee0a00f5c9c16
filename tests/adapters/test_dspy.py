"""DSPy programs: their texts are parameters, and the program stays as it is."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # DSPy would ask the network for prices
dspy: Any = pytest.importorskip("dspy", reason="DSPy is not installed")

import agentopt as ao  # noqa: E402
from agentopt.adapters.dspy import wrap  # noqa: E402
from agentopt.core.errors import BudgetSpent, ConfigError, TaskError  # noqa: E402
from agentopt.core.metering import METER  # noqa: E402
from agentopt.testing import FakeLLM, ScriptedModel, Step  # noqa: E402
from agentopt.trace.params import applied  # noqa: E402
from agentopt.trace.recorder import record  # noqa: E402

# what DSPy's own packages say of themselves
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Item .* is using the `ReadOnly` qualifier:UserWarning"),  # pydantic, of litellm's types
]

CITIES = {"Rome": "2.8", "Oslo": "0.7", "Lima": "10.1"}


def population(city: str) -> str:
    """Knows how many live there."""
    return CITIES[city]


class Polish(dspy.Signature):
    """Write the answer."""

    question: str = dspy.InputField(desc="what somebody asked")
    draft: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Cities(dspy.Module):
    """Looks a city up, and words what it found."""

    def __init__(self) -> None:
        super().__init__()
        self.agent = dspy.ReAct("question -> answer", tools=[population], max_iters=3)
        self.polish = dspy.Predict(Polish)

    def forward(self, question):
        return self.polish(question=question, draft=self.agent(question=question).answer)

    async def aforward(self, question):
        draft = await self.agent.acall(question=question)
        return await self.polish.acall(question=question, draft=draft.answer)


def fields(**texts: str) -> Step:
    return Step("\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()) + "\n\n[[ ## completed ## ]]")


def serve(received) -> Step:
    """A model that says the unit only if its instructions ask for it, and looks up what is asked."""
    system, user = (received.body["messages"][at]["content"] for at in (0, -1))
    city = next((name for name in [*CITIES, "Atlantis"] if name in user.split("[[ ## trajectory")[0]), "Rome")
    if "next_tool_name" in system:
        if "observation_0" in user:
            return fields(next_thought="known", next_tool_name="finish", next_tool_args="{}")
        return fields(next_thought="look", next_tool_name="population", next_tool_args=json.dumps({"city": city}))
    if "trajectory" in system:
        return fields(reasoning="seen", answer=CITIES.get(city, "unknown"))
    number = user.partition("[[ ## draft ## ]]\n")[2].partition("\n")[0]
    return fields(answer=f"{number} million" if "MILLIONS" in system else number)


@pytest.fixture
def server():
    with FakeLLM(serve) as running:
        lm = dspy.LM("openai/fake", api_base=running.url, api_key="none", num_retries=0, cache=False)
        with dspy.context(lm=lm):
            yield running
        lm.close()


def state(module) -> str:
    return json.dumps(module.dump_state(), sort_keys=True, default=str)


ROWS = [{"question": f"How many live in {city}? ({number})", "answer": f"{CITIES[city]} million"} for number in range(2) for city in CITIES]


def test_a_program_is_improved_and_stays_as_it_was(server):
    program = Cities()
    before, tool = state(program), program.agent.tools["population"].desc
    reply = (
        "<reasoning>say the unit</reasoning>\n<variable>\n<name>polish_instructions</name>\n<value>Answer in MILLIONS.</value>\n</variable>"
    )
    pipeline = wrap(program, params=["polish_*", "agent_tools_population_desc"])
    result = ao.optimize(
        pipeline,
        ROWS,
        lambda row, output: (float(output.answer == row["answer"]), "the unit is missing" if "million" not in output.answer else "right"),
        budget="24evals",
        optimizer="optoprime",
        model=ScriptedModel(lambda request: reply),
        workers=2,
    )
    assert result.result.best.scores["score"] == 1.0
    assert result.best.values["polish_instructions"] == "Answer in MILLIONS."
    assert (state(program), program.agent.tools["population"].desc) == (before, tool)
    assert program(question=ROWS[0]["question"]).answer == "2.8"
    result.best.apply()
    assert pipeline(question=ROWS[0]["question"]).answer == "2.8 million"
    assert (state(program), program(question=ROWS[0]["question"]).answer) == (before, "2.8")


def test_every_text_that_the_model_reads_is_a_parameter(server):
    pipeline = wrap(Cities())
    assert list(pipeline.params) == [
        "agent_tools_population_desc",
        "agent_tools_finish_desc",
        "agent_react_instructions",
        "agent_extract_predict_instructions",
        "polish_instructions",
        "polish_question_desc",
    ]
    values = {name: f"NEW {name}" for name in pipeline.params}
    with applied(values):
        pipeline(question="How many live in Oslo?")
    said = [request.body["messages"][0]["content"] for request in server.requests]
    assert all(any(value in text for text in said) for value in values.values())
    assert "(1) population, whose description is <desc>NEW agent_tools_population_desc</desc>" in said[0]
    assert "what somebody asked" not in said[-1]
    with applied({}):
        pipeline(question="How many live in Oslo?")
    plain = len(server.requests)
    Cities()(question="How many live in Oslo?")
    unwrapped = [request.body["messages"][0] for request in server.requests[plain:]]
    assert unwrapped == [request.body["messages"][0] for request in server.requests[len(said) : plain]]


def test_fields_without_a_description_are_parameters_if_asked_for():
    assert "polish_draft_desc" in wrap(Cities(), every_field=True).params


def test_what_cannot_be_wrapped():
    with pytest.raises(TaskError, match=r"give a dspy\.Module"):
        wrap(len)
    with pytest.raises(TaskError, match="matches no parameter; there are: agent_tools_population_desc"):
        wrap(Cities(), params=["nothing"])
    program = Cities()
    program.agent_react = dspy.Predict("a -> b")
    with pytest.raises(TaskError, match="would both be the parameter 'agent_react_instructions'"):
        wrap(program)


def test_without_dspy_the_command_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dspy", None)
    with pytest.raises(ConfigError, match="pip install"):
        wrap(object())


def test_the_trace_is_nested_and_has_tokens(server):
    with record() as trace:
        wrap(Cities())(question="How many live in Oslo?")
    graph = trace.graph()
    of = {kind: [(graph.name(number), graph.name(graph.span(number))) for number in graph.of_kind(kind)] for kind in ("llm", "tool")}
    assert of["llm"] == [
        ("openai/fake", "agent.react"),
        ("openai/fake", "agent.react"),
        ("openai/fake", "agent.extract.predict"),
        ("openai/fake", "polish"),
    ]
    assert of["tool"] == [("population", "agent"), ("finish", "agent")]
    assert all(graph[number].meta["tokens_in"] and graph[number].meta["tokens_out"] for number in graph.of_kind("llm"))
    reads = [graph.name(number) for number in graph.of_kind("param")]
    assert reads.count("polish_instructions") == 1


@pytest.mark.parametrize("engine", ["litellm", "lm15"])
def test_a_call_is_one_node_whoever_sends_it(server, engine):
    if engine == "litellm":
        pytest.importorskip("litellm", reason="litellm is not installed")
    lm = dspy.LM("openai/fake", api_base=server.url, api_key="none", engine=engine, num_retries=0)
    with dspy.context(lm=lm), record() as trace:
        wrap(dspy.Predict("question -> answer"))(question="q")
    graph = trace.graph()
    assert len(graph.of_kind("llm")) == len(server.requests) == 1
    lm.close()


def test_a_tool_that_fails_is_a_node_and_the_agent_goes_on(server):
    with record() as trace:
        assert wrap(Cities())(question="How many live in Atlantis?").answer == "unknown"
    failed = [node for node in trace.graph() if node.kind == "exception"]
    assert [(node.name, type(node.value)) for node in failed] == [("population", KeyError)]


def test_a_model_that_fails_raises_what_it_raises_without_us(server):
    with FakeLLM([Step(status=400, error="no")]) as broken:
        lm = dspy.LM("openai/fake", api_base=broken.url, api_key="none", num_retries=0)
        with dspy.context(lm=lm):
            with pytest.raises(Exception, match="no") as plain:
                Cities()(question="q")
            with record() as trace, pytest.raises(type(plain.value), match="no"):
                wrap(Cities())(question="q")
        lm.close()
    failed = [node.name for node in trace.graph() if node.kind == "exception"]
    assert failed[:3] == ["Cities", "agent", "agent.react"]
    assert "openai/fake" in failed


def test_replies_never_come_from_the_cache(server):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    program, lm = dspy.Predict("question -> answer"), dspy.settings.lm.copy(cache=True)
    with dspy.context(lm=lm):
        for _ in range(2):
            program(question="the very same")
        assert len(server.requests) == 1, "DSPy itself remembers"
        for _ in range(2):
            wrap(program)(question="the very same")
    assert len(server.requests) == 3
    assert lm.cache


def texts(number: int) -> dict[str, str]:
    return {"polish_instructions": f"MILLIONS {number}" if number % 2 else f"Plain {number}"}


def test_twenty_candidates_at_once_in_threads(server):
    pipeline = wrap(Cities())
    lm = dspy.settings.lm

    def one(number):
        with dspy.context(lm=lm), applied(texts(number)), record() as trace:
            answer = pipeline(question="How many live in Lima?").answer
        return answer, len(trace.graph().of_kind("llm"))

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(one, range(20)))
    assert found == [("10.1 million" if number % 2 else "10.1", 4) for number in range(20)]


async def test_twenty_candidates_at_once_in_tasks(server):
    pipeline = wrap(Cities())

    async def one(number):
        with applied(texts(number)), record() as trace:
            answer = (await pipeline.acall(question="How many live in Lima?")).answer
        graph = trace.graph()
        return answer, [graph.name(graph.span(node)) for node in graph.of_kind("llm")][-1]

    found = await asyncio.gather(*(one(number) for number in range(20)))
    assert found == [("10.1 million" if number % 2 else "10.1", "polish") for number in range(20)]
    await dspy.settings.lm.aclose()


async def test_streams_have_the_values_too(server):
    pipeline = wrap(Cities())
    with applied(texts(1)):
        pieces = [piece async for piece in pipeline.astream(question="How many live in Lima?")]
    assert pieces[-1].answer == "10.1 million"
    await dspy.settings.lm.aclose()


def test_threads_that_dspy_starts_see_the_candidate(server):
    class Many(dspy.Module):
        def __init__(self):
            super().__init__()
            self.polish = dspy.Predict(Polish)

        def forward(self, question):
            pairs = [
                (self.polish, dspy.Example(question=question, draft=str(number)).with_inputs("question", "draft")) for number in (1, 2)
            ]
            return dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)

    with applied(texts(1)), record() as trace:
        found = wrap(Many())(question="q")
    assert [each.answer for each in found] == ["1 million", "2 million"]
    assert len(trace.graph().of_kind("llm")) == 2


def test_copies_that_dspy_makes_have_the_values(server):
    refine = dspy.BestOfN(dspy.Predict(Polish), N=2, reward_fn=lambda given, made: 0.5, threshold=1.0)
    with applied({"module_instructions": "MILLIONS"}):
        assert wrap(refine)(question="q", draft="3").answer == "3 million"


class Shy:
    """A meter with an empty purse."""

    output_cap = 7

    def begin(self, model: str, bound: Any, request: Any) -> Any:
        raise BudgetSpent(f"nothing left for {model}")

    async def abegin(self, model: str, bound: Any, request: Any) -> Any:
        raise BudgetSpent(f"nothing left for {model}")


def test_what_the_budget_does_not_allow_is_not_asked(server):
    token = METER.set(Shy())
    try:
        with pytest.raises(BudgetSpent, match="nothing left for dspy:openai/fake"):
            wrap(dspy.Predict("question -> answer"))(question="q")
    finally:
        METER.reset(token)
    assert not server.requests


def test_an_argument_of_a_tool_and_a_list_of_tools(server):
    tool = dspy.Tool(population, arg_desc={"city": "its name"})

    class Caller(dspy.Module):
        def __init__(self):
            super().__init__()
            self.tools = [tool]
            self.choose = dspy.Predict(dspy.Signature("question, tools: list[dspy.Tool] -> answer"))

        def forward(self, question):
            return self.choose(question=question, tools=self.tools)

    pipeline = wrap(Caller(), params=["tools_*"])
    assert {name: param.value for name, param in pipeline.params.items()} == {
        "tools_population_desc": "Knows how many live there.",
        "tools_population_city_desc": "its name",
    }
    with applied({"tools_population_desc": "NEW ONE", "tools_population_city_desc": "NEW TWO"}):
        pipeline(question="q")
    said = json.dumps(server.requests[0].body)
    assert "NEW ONE" in said
    assert "NEW TWO" in said
    assert tool.args["city"]["description"] == "its name"
