"""A server with OpenAI's protocol that we did not write: ``transformers serve`` with a tiny model whose weights are random.

Opt-in: AGENTOPT_TRANSFORMERS names a Python that has ``transformers[serving]`` and torch.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentopt
from agentopt.core.chat import ChatRequest, Message
from agentopt.core.errors import RunFailed
from agentopt.llm.choose import ModelSettings, build_model, parse_models
from agentopt.llm.prices import Price, upper_bound
from agentopt.store.sqlite import SqliteStore
from tests.toys import write_task

PYTHON = os.environ.get("AGENTOPT_TRANSFORMERS")
pytestmark = pytest.mark.skipif(not PYTHON, reason="AGENTOPT_TRANSFORMERS names no Python with transformers[serving]")

MAKE = """
import sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
fast.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\\n{% endfor %}assistant: "
fast.save_pretrained(sys.argv[1])
sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8192)
LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=1, **sizes)).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base URL, name of the model)"""
    assert PYTHON is not None
    model = tmp_path_factory.mktemp("tiny")
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([PYTHON, "-c", MAKE, str(model)], check=True, env=environment, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command = [str(Path(PYTHON).parent / "transformers"), "serve", str(model), *where]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        begun = time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() - begun < 120
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", str(model)
        process.terminate()


async def test_a_reply_its_tokens_and_its_cap(server: tuple[str, str]):
    url, name = server
    model = build_model(parse_models(f"openai:{name}@1")[0], ModelSettings(base_url=url, price=Price(1.0, 2.0)))
    request = ChatRequest((Message("system", "Be brief."), Message("user", "Say something. " * 20)), 0.7, 24, seed=3)
    reply = await model.complete(request)
    await model.close()
    assert reply.text
    assert reply.finish in ("length", "stop")
    assert reply.usage is not None
    assert 0 < reply.usage.output_tokens <= 24
    assert not upper_bound(request).exceeded_by(reply.usage), "bytes bound a tokenizer that works on bytes"
    assert reply.cost_usd == pytest.approx((reply.usage.input_tokens + 2 * reply.usage.output_tokens) / 1e6)


def test_a_run_that_gets_nothing_usable_ends_early_and_within_its_budget(server: tuple[str, str], tmp_path: Path):
    url, name = server
    task = write_task(tmp_path / "line")
    llm = {"base_url": url, "price": "1,2", "max_output_tokens": 32}
    budget = "50000tokens,$1"
    with pytest.raises(RunFailed, match=r"the last 8 asks of .* brought nothing usable"):
        agentopt.evolve(task, optimizer="tests.toys:Asking", model=f"openai:{name}@1", budget=budget, out=tmp_path / "run", llm=llm)
    with SqliteStore.open(tmp_path / "run", read_only=True) as store:
        events = list(store.read())
    replies = [event.data for event in events if event.kind == "llm_reply"]
    requests = [event.data for event in events if event.kind == "llm_request"]
    assert len(replies) >= 8
    assert all("usage" in reply and "over" not in reply for reply in replies)
    assert all(reply["tokens"] <= request["tokens"] for reply, request in zip(replies, requests, strict=False))
