from __future__ import annotations

import pytest

from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, Message, ModelError
from agentopt.testing import ScriptedModel

ASK = ChatRequest((Message("user", "one two three"),))


async def test_it_says_its_lines_and_the_last_one_on():
    whole = ChatReply("whole", "other", "length")
    model = ScriptedModel(["first line", ModelError("server", "down"), whole])
    assert isinstance(model, ChatModel)
    reply = await model.complete(ASK)
    assert (reply.text, reply.model, reply.usage.to_json()) == ("first line", "scripted", [3, 2, None, None])
    with pytest.raises(ModelError, match="down"):
        await model.complete(ASK)
    assert await model.complete(ASK) == await model.complete(ASK) == whole
    await model.close()
    assert len(model.requests) == 4


async def test_a_function_and_a_name():
    model = ScriptedModel(lambda request: request.messages[0].content.upper(), "loud")
    reply = await model.complete(ASK)
    assert (reply.text, reply.model) == ("ONE TWO THREE", "loud")


def test_a_script_needs_lines():
    with pytest.raises(ValueError, match="at least one line"):
        ScriptedModel([])
