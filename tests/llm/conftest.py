from __future__ import annotations

import asyncio
import warnings

import pytest

from agentopt.testing.fake_llm import FakeLLM
from tests.llm.helpers import LITELLM, ask, make_model


@pytest.fixture(scope="session", autouse=True)
def litellm_is_loaded() -> None:
    """litellm loads most of itself at its first call, which takes seconds and warns of what other packages do."""
    if not LITELLM:
        return

    async def call() -> None:
        with FakeLLM() as server:
            model = make_model("litellm", server.url)
            await model.complete(ask())
            await model.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(call())
