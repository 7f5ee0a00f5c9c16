"""One request, and one more where the first reply is of no use."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from agentopt.core.chat import ChatReply, ChatRequest, Message
from agentopt.core.task import Parameter
from agentopt.llm.asking import ask_for_change, ask_for_text, ask_for_values, follow_up, idea_of
from agentopt.llm.replies import Unusable, Usable
from tests.optimizers.scripted import ScriptedChat

REQUEST = ChatRequest((Message("user", "Improve it."),), 0.5, 100, sample=3, purpose="mutation")
ASK = Parameter("ask", "prompt", "Be brief.")


async def values(*texts: str, finish: Any = "stop") -> tuple[Usable | Unusable, ScriptedChat]:
    replies = iter(texts)
    chat = ScriptedChat(lambda request: ChatReply(next(replies), "fake-model", finish))
    return await ask_for_values(chat, REQUEST, {"ask": ASK}, {"ask": ASK.initial}, Random(0)), chat


async def test_a_usable_reply_is_the_end_of_it() -> None:
    found, chat = await values("```text\nBe exact.\n```")
    assert isinstance(found, Usable)
    assert found.values == {"ask": "Be exact."}
    assert chat.paid == [REQUEST]


async def test_a_second_reply_is_asked_for_and_no_third() -> None:
    found, chat = await values("Hm.", "Hm, no.")
    assert isinstance(found, Unusable)
    first, second = chat.paid
    assert second.messages[1:2] == (Message("assistant", "Hm."),)
    assert (second.temperature, second.max_output_tokens) == (first.temperature, first.max_output_tokens)
    assert second.purpose == "mutation (repair)"


async def test_what_the_model_said_is_shown_to_it_in_part_and_never_blank() -> None:
    _, chat = await values("x \x1b" * 50_000, "")
    assert len(chat.paid[1].messages[1].content) <= 20_000
    assert "\x1b" not in chat.paid[1].messages[1].content
    _, chat = await values(" ", "")
    assert chat.paid[1].messages[1].content == "(no text)"


@pytest.mark.parametrize(
    ("text", "finish", "said"),
    [
        ("Sort first.", "stop", "Sort first."),
        ("<think>What? </thinking> no</think>\n\nSort first.\n", "stop", "no</think>\n\nSort first."),
        ("<think>Hm.</think>\nSort first.<|im_end|>", "stop", "Sort first."),
        ("I open nothing.\n</think> Sort first.", "stop", "Sort first."),
        ("<thinking>I never end", "length", ""),
        ("I would sor", "length", "I would sor"),
        ("I cannot.", "refusal", ""),
        ("Sort.", "filter", ""),
        ("Sort\x1b[31m first.", "stop", "Sort[31m first."),
        ("", "stop", ""),
    ],
)
async def test_a_text_is_what_is_said_and_not_what_is_thought(text: str, finish: Any, said: str) -> None:
    chat = ScriptedChat(lambda request: ChatReply(text, "fake-model", finish))
    assert await ask_for_text(chat, REQUEST, Random(0), 100) == said


async def test_a_text_is_bounded() -> None:
    chat = ScriptedChat(lambda request: "word " * 1000)
    assert len(await ask_for_text(chat, REQUEST, Random(0), 100)) <= 100


async def test_a_conversation_goes_on() -> None:
    chat = ScriptedChat(lambda request: ChatReply("IDEA: shorter\n```text\nBe exact.\n```", "fake-model", "stop"))
    said = await ask_for_change(chat, REQUEST, {"ask": ASK}, {"ask": ASK.initial}, Random(0))
    assert isinstance(said.found, Usable)
    request = follow_up(said, "Another one.", "different", Random(1))
    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert request.messages[1].content == said.text
    assert (request.purpose, request.temperature, request.max_output_tokens) == ("mutation (different)", 0.5, 100)
    assert request.sample != REQUEST.sample


@pytest.mark.parametrize(
    ("text", "idea"),
    [
        ("IDEA: sort first\n```python\n```", "sort first"),
        ("Well.\n**IDEA:** sort `first`.\nmore", "sort `first`."),
        ("> 1. **IDEA**: sort first**", "sort first"),
        ("## IDEA: sort first", "sort first"),
        ("<think>IDEA: wrong</think>\nIDEA: right", "right"),
        ("<think>IDEA: wrong", ""),
        ("no idea: none", ""),
        ("IDEA:\nnext line", ""),
        ("IDEA: " + "x" * 900, "..."),
        ("", ""),
    ],
)
def test_the_idea_of_a_reply(text: str, idea: str) -> None:
    found = idea_of(text)
    assert len(found) <= 300
    assert found == idea or (idea == "..." and " ... " in found)
