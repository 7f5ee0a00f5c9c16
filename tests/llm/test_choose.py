from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, ModelError, Usage
from agentopt.core.errors import ConfigError, MissingExtra
from agentopt.llm import choose
from agentopt.llm.choose import ModelSettings, ModelSpec, build_model, build_models, given_models, make_chooser, parse_models, register
from agentopt.llm.prices import Price
from agentopt.llm.relay import answer
from agentopt.llm.retry import RetryingModel
from agentopt.testing.fake_llm import FakeLLM
from tests.llm.helpers import LITELLM, ask

LOCAL = "http://127.0.0.1:1/v1"


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("openai:gpt-4o-mini", [ModelSpec("openai", "gpt-4o-mini")]),
        ("openai:a@3, litellm:anthropic/b@0.5", [ModelSpec("openai", "a", 3.0), ModelSpec("litellm", "anthropic/b", 0.5)]),
        ("openai:meta-llama/llama-3:free", [ModelSpec("openai", "meta-llama/llama-3:free")]),
        ("litellm:vertex_ai/claude@20240620@1", [ModelSpec("litellm", "vertex_ai/claude@20240620")]),
        ("litellm:vertex_ai/claude@latest", [ModelSpec("litellm", "vertex_ai/claude@latest")]),
        ("relay:/tmp/a,b", [ModelSpec("relay", "/tmp/a,b")]),
        (
            "command:ask --to me@home, please,replay:x.jsonl",
            [ModelSpec("command", "ask --to me@home, please"), ModelSpec("replay", "x.jsonl")],
        ),
    ],
)
def test_specs(text: str, specs: list[ModelSpec]) -> None:
    assert list(parse_models(text)) == specs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gpt-4o", "write for example openai:gpt-4o"),
        ("openai/gpt-4o", "write for example litellm:openai/gpt-4o"),
        ("what is this?", "write for example openai:gpt-4o-mini, litellm:"),
        ("", "a model begins with openai:, litellm:"),
        ("openai:", "the name is missing"),
        ("openai:a,b", "give each model its prefix: openai:ONE,openai:TWO"),
        ("openai:a,", "no comma or space"),
        ("openai:a,opnai:b", "no comma or space"),
        ("litellm:claude", "write litellm:PROVIDER/claude"),
        ("openai:a@0", "a weight lies above 0 and up to 1000"),
        ("openai:a@1.2.3", "a weight lies above 0"),
        ("litellm:vertex_ai/c@20240620", "if @20240620 belongs to the name, write litellm:vertex_ai/c@20240620@1"),
        ("openai:a,openai:a", "openai:a is given twice; give it once, with a weight: openai:a@2"),
    ],
)
def test_a_bad_spec_is_one_sentence_with_the_fix(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_models(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("--model")
    assert "\n" not in str(caught.value)


def test_the_flag_comes_before_the_environment() -> None:
    environ = {"AGENTOPT_MODEL": "openai:b"}
    assert given_models("openai:a", environ) == (ModelSpec("openai", "a"),)
    assert given_models(None, environ) == (ModelSpec("openai", "b"),)
    with pytest.raises(ConfigError, match=r"^AGENTOPT_MODEL 'b'"):
        given_models(None, {"AGENTOPT_MODEL": "b"})
    with pytest.raises(ConfigError, match="write --model or set AGENTOPT_MODEL"):
        given_models(None, {})


def test_the_real_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTOPT_MODEL", "openai:from-outside")
    assert given_models(None)[0].name == "from-outside"


# --- building


class Fixed:
    name = "fixed"

    async def complete(self, request: ChatRequest) -> ChatReply:
        return ChatReply("fixed", "fixed", "stop")

    async def close(self) -> None: ...


def cassette(folder: Path, text: str) -> Path:
    """One that holds the answer to ``ask()``."""
    line = {"key": ask().digest, "request": ask().to_json(), "reply": ChatReply(text, "m", "stop", Usage(10, 5)).to_json()}
    (folder / "tape.jsonl").write_text(json.dumps(line) + "\n")
    return folder / "tape.jsonl"


async def build(spec: str, **settings: object) -> RetryingModel:
    """Built, looked at and closed."""
    model = build_model(parse_models(spec)[0], ModelSettings(**{"environ": {}} | settings))
    assert isinstance(model, RetryingModel)
    await model.close()
    return model


async def test_a_local_server_needs_no_key() -> None:
    with FakeLLM() as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost") + "/"):
            model = build_model(ModelSpec("openai", "m"), ModelSettings(base_url=url, environ={"HTTP_PROXY": "http://127.0.0.1:1"}))
            assert (await model.complete(ask())).text == "ok"
            await model.close()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer none"}
    assert {request.path for request in server.requests} == {"/v1/chat/completions"}


async def test_the_base_url_and_the_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeLLM() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", " planted-key-of-a-test\n")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.delenv("NO_PROXY", raising=False)
        model = build_model(ModelSpec("openai", "m"))
        await model.complete(ask())
        await model.close()
    assert server.requests[0].headers["authorization"] == "Bearer planted-key-of-a-test"


async def test_a_price_is_the_given_one_or_a_known_one_at_the_address_it_is_known_for() -> None:
    key = {"OPENAI_API_KEY": "a-key-for-tests"}
    assert (await build("openai:gpt-4o", environ=key)).price == Price(2.5, 10.0, 1.25, "2024-10-02", "openai.com/api/pricing")
    assert (await build("openai:gpt-4o", base_url=LOCAL)).price is None
    assert (await build("openai:gpt-4o-of-my-own", environ=key)).price is None
    assert (await build("openai:gpt-4o", base_url=LOCAL, price=Price(1.0, 2.0))).price == Price(1.0, 2.0)


@pytest.mark.skipif(not LITELLM, reason="the extra litellm is not installed")
async def test_litellm_models_know_their_price_unless_it_comes_in_tiers() -> None:
    known = (await build("litellm:openai/gpt-4o")).price
    assert known
    assert (known.input, known.output, known.cached) == pytest.approx((2.5, 10.0, 1.25))
    assert known.source.startswith("litellm ")
    assert (await build("litellm:gemini/gemini-2.5-pro")).price is None
    assert (await build("litellm:ollama/llama3")).price is None
    assert (await build("litellm:openai/nobody-knows-it")).price is None
    assert (await build("litellm:openai/gpt-4o", base_url=LOCAL)).price is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "openai:m: there is no key; set OPENAI_API_KEY"),
        ({"environ": {"OPENAI_API_KEY": "clé"}}, "no HTTP header can carry"),
        ({"environ": {"OPENAI_API_KEY": "one\ntwo"}}, "no HTTP header can carry"),
        ({"base_url": "127.0.0.1:8000/v1"}, "no http:// or https://"),
        ({"base_url": "http:///v1"}, "no host"),
        ({"base_url": "http://[::1"}, "cannot be read"),
        ({"base_url": "http://me:planted-password@host/v1"}, "the base URL at host holds a user, a password or parameters"),
        ({"base_url": "http://host/v1?key=planted-password"}, "the base URL at host holds"),
        ({"base_url": "http://elsewhere.invalid/v1"}, "there is no key"),
    ],
)
async def test_a_bad_setting_is_one_sentence_with_the_fix_and_without_the_password(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await build("openai:m", **settings)
    assert words in str(caught.value)
    assert "planted" not in str(caught.value)


def test_a_scheme_that_nobody_builds_says_so_until_somebody_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_BUILDERS", {"openai": None, "litellm": None})
    spec = ModelSpec("relay", "x")
    with pytest.raises(ConfigError, match="cannot build relay: models; use litellm or openai"):
        build_model(spec)
    made = Fixed()
    register("relay", lambda spec, settings: (made, settings.price))
    model = build_model(spec, ModelSettings(price=Price(1.0, 2.0)))
    assert (model.name, model.price) == ("fixed", Price(1.0, 2.0))


async def test_what_stands_around_a_model_sees_each_of_its_attempts(tmp_path: Path) -> None:
    seen: list[tuple[str, Price | None]] = []

    def around(model: ChatModel, price: Price | None) -> ChatModel:
        seen.append((model.name, price))
        return Fixed()

    tape = cassette(tmp_path, "as it was")
    for spec in (f"relay:{tmp_path}", f"replay:{tape}"):
        model = build_model(parse_models(spec)[0], ModelSettings(around=around, price=Price(1.0, 2.0)))
        assert (await model.complete(ask())).text == "fixed"
        await model.close()
    assert seen == [(f"relay:{tmp_path}", Price(1.0, 2.0)), (f"replay:{tape}", Price(1.0, 2.0))]


async def test_a_relay_answers_and_has_a_time_limit(tmp_path: Path) -> None:
    answer(tmp_path, ask().digest, "from a folder")
    model = build_model(ModelSpec("relay", str(tmp_path)), ModelSettings(relay_seconds=0.01))
    assert (await model.complete(ask())).text == "from a folder"
    with pytest.raises(ModelError, match=r"nobody answered \w+.request.md within 0.01 s") as caught:
        await model.complete(ask("another"))
    assert (caught.value.kind, caught.value.attempts) == ("timeout", 1)
    await model.close()


async def test_a_cassette_answers_and_names_what_it_lacks(tmp_path: Path) -> None:
    model = build_model(ModelSpec("replay", str(cassette(tmp_path, "as it was"))), ModelSettings(price=Price(1.0, 2.0)))
    reply = await model.complete(ask())
    assert (reply.text, reply.attempts, reply.cost_usd) == ("as it was", 1, pytest.approx(2e-5))
    with pytest.raises(ModelError, match=r"the cassette lacks the request \w{32} \(sample 1, purpose 'sum'\): hello") as caught:
        await model.complete(ask(sample=1, purpose="sum"))
    assert (caught.value.kind, caught.value.attempts) == ("not_found", 1)
    await model.close()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("relay:{0}/missing", "there is no such folder; make it, or name another"),
        ("relay:{0}/file", "there is no such folder"),
        ("replay:{0}/missing", "missing: the cassette cannot be read (No such file or directory); check the path"),
        ("replay:{0}", "the cassette cannot be read (Is a directory)"),
        ("replay:{0}/empty", "the cassette is empty; record one with --record"),
        ("replay:{0}/file", "file, line 1: this is no line of a cassette"),
    ],
)
def test_a_model_of_files_that_cannot_be_used_is_one_sentence_with_the_fix(spec: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no JSON\n")
    (tmp_path / "empty").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError) as caught:
        build_model(parse_models(spec.format(tmp_path))[0])
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_extra_comes_with_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtra, match=r"install it with: pip install 'agentopt\[litellm\]'"):
        build_model(ModelSpec("litellm", "a/b"), ModelSettings(environ={}))


# --- several


@pytest.mark.parametrize("spec", ["openai:a/b", "relay:{0}//", "relay:{0}/./", "replay:{0}/./tape.jsonl", "command:sh  -c ':'"])
def test_a_model_is_called_as_it_was_given(spec: str, tmp_path: Path) -> None:
    cassette(tmp_path, "yes")
    settings = ModelSettings(base_url=LOCAL, unsafe_agent=True)
    models = build_models(parse_models(spec.format(tmp_path)), settings)
    assert [model.name for model in models.values()] == list(models)


async def test_several_models_by_the_names_of_their_chooser(tmp_path: Path) -> None:
    specs = parse_models(f"relay:{tmp_path}@3,replay:{cassette(tmp_path, 'yes')}")
    models = build_models(specs)
    assert list(models) == [f"relay:{tmp_path}", f"replay:{tmp_path}/tape.jsonl"]
    chooser = make_chooser(specs)
    drawn = Counter(chooser.choose(Random(k)) for k in range(400))
    assert drawn[f"relay:{tmp_path}"] / 400 == pytest.approx(0.75, abs=0.07)
    assert set(drawn) == set(models)
    for model in models.values():
        await model.close()
    with pytest.raises(ConfigError, match="there is no key"):
        build_models(parse_models("openai:m"), ModelSettings(environ={}))


def test_a_bandit_asks_each_once_and_takes_no_weights() -> None:
    chooser = make_chooser(parse_models("openai:a,openai:b"), "bandit")
    assert chooser.choose(Random(0), {"openai:a": 1}) == "openai:b"
    with pytest.raises(ConfigError, match="openai:b@2: a bandit finds out by itself how often to ask; leave out the weight"):
        make_chooser(parse_models("openai:a,openai:b@2"), "bandit")


def test_only_schemes_that_a_spec_can_name_can_be_registered() -> None:
    with pytest.raises(ConfigError, match="the scheme 'telepathy' is none of openai"):
        register("telepathy", lambda spec, settings: None)


def test_settings_do_not_show_the_environment() -> None:
    assert "planted" not in repr(ModelSettings(environ={"OPENAI_API_KEY": "planted"}))
