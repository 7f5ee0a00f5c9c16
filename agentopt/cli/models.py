"""agentopt models"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from agentopt.core.chat import ChatReply, ModelError, Usage
    from agentopt.llm.prices import Price
    from agentopt.llm.retry import RetryingModel

__all__ = ["models"]

_QUESTION = "Reply with the single word ok."
_MOST_TOKENS = 1024
"""Room for models that think before they say a word."""


class _Answer(NamedTuple):
    """What came of one call."""

    model: str
    price: Price | None
    reply: ChatReply | None = None
    error: ModelError | None = None


def models(
    model: Annotated[str | None, typer.Option(help="Like openai:NAME or litellm:PROVIDER/NAME; several with commas.")] = None,
    base_url: Annotated[str | None, typer.Option(help="The server to ask, like http://127.0.0.1:8000/v1.")] = None,
    price: Annotated[str | None, typer.Option(help="USD per million tokens of input and output, like 0.15,0.60.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a model may take.")] = 60.0,
    agent_allow: Annotated[list[str] | None, typer.Option(help="A path that command: may read, or write as PATH:rw; repeat it.")] = None,
    agent_env: Annotated[list[str] | None, typer.Option(help="A variable that command: gets, like ANTHROPIC_API_KEY; repeat it.")] = None,
    unsafe_agent: Annotated[bool, typer.Option("--unsafe-agent", help="Run command: without a box, with your rights.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Ask each model one small question: does it answer, how fast, at what price."""
    import asyncio

    from agentopt.cli.common import print_json
    from agentopt.cli.terminal import stdout_console
    from agentopt.llm.choose import ModelSettings, build_model, given_models
    from agentopt.llm.prices import parse_price
    from agentopt.llm.retry import CallPolicy

    settings = ModelSettings(
        base_url=base_url,
        price=parse_price(price) if price else None,
        timeout=timeout,
        relay_seconds=timeout,
        agent_seconds=timeout,
        agent_allow=tuple(agent_allow or ()),
        agent_env=tuple(agent_env or ()),
        unsafe_agent=unsafe_agent,
        policy=CallPolicy(retries=0),
    )
    built = {str(spec): build_model(spec, settings) for spec in given_models(model)}
    answers = asyncio.run(_ask_all(built))
    failed = any(answer.error for answer in answers)
    if json:
        print_json({"ok": not failed, "models": [_plain(answer) for answer in answers]})
    else:
        stdout_console().print(_table(answers))
    if failed:
        raise typer.Exit(1)


async def _ask_all(built: Mapping[str, RetryingModel]) -> list[_Answer]:
    """All at once."""
    import asyncio

    try:
        return await asyncio.gather(*(_ask(name, model) for name, model in built.items()))
    finally:
        for model in built.values():
            await model.close()


async def _ask(name: str, model: RetryingModel) -> _Answer:
    from agentopt.core.chat import ChatRequest, Message, ModelError

    request = ChatRequest((Message("user", _QUESTION),), max_output_tokens=_MOST_TOKENS, purpose="models")
    try:
        return _Answer(name, model.price, await model.complete(request))
    except ModelError as error:
        return _Answer(name, model.price, error=error)


def _plain(answer: _Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"model": answer.model, "price": None if answer.price is None else asdict(answer.price)}
    if answer.error:
        return found | {"error": {"kind": answer.error.kind, "message": answer.error.message}}
    assert answer.reply
    reply = answer.reply
    usage = None if reply.usage is None else asdict(reply.usage)
    told = {"answers_as": reply.model, "text": reply.text, "finish": reply.finish, "latency": reply.latency}
    return found | told | {"usage": usage, "cost_usd": reply.cost_usd}


def _table(answers: list[_Answer]) -> Table:
    from rich.table import Table

    from agentopt.cli.terminal import harmless

    table = Table("model", "answers as", "seconds", "tokens", "USD per million", "USD", box=None, pad_edge=False)
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", column.header in ("seconds", "tokens", "USD")
    for answer in answers:
        reply, price = answer.reply, _price_text(answer.price)
        if reply is None:
            why = str(answer.error).removeprefix(f"{answer.model}: ")
            table.add_row(harmless(answer.model), harmless(f"no answer: {why}"), "-", "-", price, "-")
            continue
        cost = "unknown" if reply.cost_usd is None else f"{reply.cost_usd:.2g}"
        table.add_row(harmless(answer.model), harmless(reply.model), f"{reply.latency:.2f}", _usage_text(reply.usage), price, cost)
    return table


def _usage_text(usage: Usage | None) -> str:
    if usage is None:
        return "unknown"
    cached = "" if usage.cached_tokens is None else f" ({usage.cached_tokens} cached)"
    reasoning = "" if usage.reasoning_tokens is None else f" ({usage.reasoning_tokens} reasoning)"
    return f"{usage.input_tokens} in{cached}, {usage.output_tokens} out{reasoning}"


def _price_text(price: Price | None) -> str:
    if price is None:
        return "unknown"
    cached = "" if price.cached is None else f", {price.cached:g} cached"
    return f"{price.input:g} in{cached}, {price.output:g} out ({', '.join(part for part in (price.date, price.source) if part)})"
