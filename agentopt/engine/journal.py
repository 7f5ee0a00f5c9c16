"""The run's models, as optimizers ask them: paid from the budget, and in the log before anyone uses a reply.

Each attempt is an ``llm_request`` and, at its end, an ``llm_reply``. A request is known by its content and sample, so one that was
answered before is not made again, in whichever process.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol
from weakref import WeakValueDictionary

from agentopt.core.calls import Bound
from agentopt.core.chat import ChatModel, ChatReply, ChatRequest, ModelError, Usage
from agentopt.core.errors import ConfigError, RunFailed
from agentopt.core.events import Event
from agentopt.core.fold import RunState
from agentopt.core.protocols import Chat, Store
from agentopt.engine.purse import Purse, amounts
from agentopt.engine.rewind import ASKING, Rewind
from agentopt.llm.choosers import Chooser
from agentopt.llm.prices import Price, cost, upper_bound

__all__ = ["Journal"]

_LIMITED_BY_SIZE = ("tokens", "usd")


class Home(Protocol):
    """The run whose log and budget a journal uses."""

    state: RunState
    purse: Purse

    @property
    def store(self) -> Store: ...
    def append(self, kind: str, data: Mapping[str, Any]) -> None: ...


class Journal:
    """``core.protocols.Chat``. Models are built with ``around=journal.metered`` and given to it by ``use``; a run takes it by ``bind``.

    ``max_output_tokens`` is sent with requests that set no cap of their own, if the budget has a limit in tokens or USD.
    """

    def __init__(self, chooser: Chooser, max_output_tokens: int) -> None:
        self.rewind = Rewind()
        self._chooser = chooser
        self._cap = max_output_tokens
        self._models: Mapping[str, ChatModel] = {}
        self._run: Home | None = None
        self._used: dict[int, list[str]] = {}
        self._asked: dict[int, dict[str, list[Any]]] = {}
        self._told_by: dict[int, int] = {}
        self._stopped: dict[str, str] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def use(self, models: Mapping[str, ChatModel]) -> None:
        """The models by their names."""
        self._models = models

    def bind(self, run: Home) -> None:
        """The run whose log and budget are used from here on."""
        self._run = run

    @property
    def models(self) -> Sequence[str]:
        return list(self._models)

    def metered(self, model: ChatModel, price: Price | None) -> ChatModel:
        """What makes a single attempt, reserved and logged."""
        return _Metered(model, price, self)

    async def close(self) -> None:
        """Ends the connections of all models."""
        for model in self._models.values():
            await model.close()

    # --- asking ----------------------------------------------------------------------------------------------------

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        """As in ``core.protocols.Chat``. Raises RunFailed when no model is left that keeps to its cap."""
        return await self.complete_by(self._chooser.choose(rng, self._pending, self._stopped), request)

    def only(self, model: str) -> Chat:
        """As in ``core.protocols.Chat``."""
        if model not in self._models:
            raise ConfigError(f"there is no model {model!r} in this run; there is {', '.join(self._models)}")
        return _Only(self, model)

    async def complete_by(self, name: str, request: ChatRequest) -> ChatReply:
        """A reply by the model of that name."""
        request = self._capped(request)
        found = self._find(name, request.digest)
        await self.rewind.until(found[0] if found else float("inf"))
        if found is None:
            request = self._capped(request)  # the budget may be another one since
        async with self._turns.setdefault((name, request.digest), asyncio.Lock()):
            found = found or self._find(name, request.digest)
            self._check(name)
            reply = found[1] if found else await self._ask(name, request)
        self._note(request.digest)
        return reply

    async def _ask(self, name: str, request: ChatRequest) -> ChatReply:
        """A model that is left alone for a while, because it kept failing, is waited for."""
        while True:
            try:
                return await self._models[name].complete(request)
            except ModelError as error:
                if error.attempts:
                    self._note(request.digest)
                if error.attempts or error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)

    def _note(self, key: str) -> None:
        used = self._used.setdefault(ASKING.get(), [])
        if key not in used:
            used.append(key)

    def _capped(self, request: ChatRequest) -> ChatRequest:
        return replace(request, max_output_tokens=self._cap) if request.max_output_tokens is None and self._limited else request

    def used(self, index: int) -> list[str]:
        """Digests of the requests that an ask made, in order; asked for once, when it is answered."""
        return self._used.pop(index, [])

    @property
    def run(self) -> Home:
        assert self._run is not None
        return self._run

    @property
    def _limited(self) -> bool:
        """Also on resume with another budget, so that a request stays the one that was paid for."""
        state = self.run.state
        return any(unit in limits for unit in _LIMITED_BY_SIZE for limits in (state.limits, state.info["budget"]))

    @property
    def _pending(self) -> Mapping[str, int]:
        """Per model the requests whose gain is not known yet."""
        return Counter(model for calls in self._asked.values() for model, _ in calls.values())

    def _find(self, name: str, key: str) -> tuple[int, ChatReply] | None:
        """Number of the event and the reply of a request that was answered before."""
        store = self.run.store
        for event in store.read(subject=key):
            if event.kind == "llm_reply" and event.data["model"] == name and "text" in event.data:
                return event.seq, _reply(event.data, store.get(event.data["text"]).decode())
        return None

    def _check(self, name: str) -> None:
        """The chooser gives a model that is stopped only if there is no other; who wants that one alone gets an error of the model's."""
        if self._stopped and all(name in self._stopped for name in self._models):
            raise RunFailed("; ".join(self._stopped.values()))
        if name in self._stopped:
            raise ModelError("malformed", self._stopped[name])

    # --- one attempt -----------------------------------------------------------------------------------------------

    async def begin(self, name: str, request: ChatRequest, bound: Bound) -> dict[str, Any]:
        """Reserve, and log the request. Raises as ``Purse.reserve`` does."""
        await self.run.purse.reserve(bound)
        about: dict[str, Any] = {"key": request.digest, "model": name, "ask": ASKING.get()}
        text = json.dumps(request.to_json(), sort_keys=True).encode()
        logged = about | {"request": self.run.store.put(text), "purpose": request.purpose} | amounts(bound.tokens, bound.usd)
        self.run.append("llm_request", logged)
        return about

    def end(self, about: Mapping[str, Any], bound: Bound, reply: ChatReply, usd: float | None) -> None:
        """Log a reply and settle what it took; a server that took more than it was allowed is not asked again."""
        tokens = bound.tokens if reply.usage is None else reply.usage.input_tokens + reply.usage.output_tokens
        usd = bound.usd if reply.usage is None else usd
        data = {**about, "text": self.run.store.put(reply.text.encode(errors="replace")), "finish": reply.finish}
        data |= {"served_by": reply.model, "latency": round(reply.latency, 6)}
        if reply.usage is not None:
            data["usage"] = reply.usage.to_json()
            if self._limited and bound.exceeded_by(reply.usage):
                data["over"] = [reply.usage.input_tokens, bound.input_tokens, reply.usage.output_tokens, bound.output_tokens]
                tokens, usd = _least(tokens, bound.tokens), _least(usd, bound.usd)
        self.run.purse.settle(bound, tokens, usd)
        self.run.append("llm_reply", data | amounts(tokens, usd))
        if "over" in data:
            self.run.append("note", {"kind": "warning", "text": self._stopped[about["model"]]})

    def fail(self, about: Mapping[str, Any], bound: Bound, error: ModelError) -> None:
        """Log an attempt without a reply; what may be billed is settled at its bound."""
        tokens, usd = (bound.tokens, bound.usd) if error.may_be_billed else (0, 0.0)
        self.run.purse.settle(bound, tokens, usd)
        self.run.append("llm_reply", {**about, "error": error.to_json()} | amounts(tokens, usd))

    def leave(self) -> None:
        """An attempt that is cancelled stays open in the log and counts at its bound."""
        self.run.purse.leave()

    # --- what the log tells ----------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        """Every event of the run, replayed or new: what each ask took, who is stopped, and what the models' requests brought."""
        data = event.data
        if event.kind in ("llm_request", "llm_reply") and "ask" not in data:
            return  # a workflow's own
        if event.kind == "llm_request":
            self._asked.setdefault(data["ask"], {}).setdefault(data["key"], [data["model"], 0.0])
        elif event.kind == "llm_reply":
            call = self._asked.get(data["ask"], {}).get(data["key"])
            if call:
                call[1] = None if call[1] is None or "usd" not in data else call[1] + data["usd"]
            if "over" in data:
                self._stopped[data["model"]] = _beyond(data["model"], data["over"])
        elif event.kind == "proposed" and data["index"] in self._asked:
            self._told_by[data["ticket"]] = data["index"]
        elif event.kind == "admitted" and data["ticket"] in self._told_by:
            self._credit(self._told_by.pop(data["ticket"]), data["gain"])
        elif event.kind == "note" and data["kind"] == "refused":
            self._credit(data["index"], 0.0)

    def _credit(self, index: int, gain: float) -> None:
        for model, usd in self._asked.pop(index, {}).values():
            self._chooser.observe(model, gain, usd)


class _Only:
    """A journal's ``Chat`` with one model alone."""

    def __init__(self, journal: Journal, model: str) -> None:
        self._journal = journal
        self.models: Sequence[str] = [model]

    async def complete(self, request: ChatRequest, rng: Random) -> ChatReply:
        return await self._journal.complete_by(self.models[0], request)

    def only(self, model: str) -> Chat:
        if model not in self.models:
            raise ConfigError(f"there is no model {model!r} here; there is {self.models[0]}")
        return self


class _Metered:
    """One attempt, between the retries and what makes it."""

    def __init__(self, model: ChatModel, price: Price | None, journal: Journal) -> None:
        self._model, self._price, self._journal = model, price, journal

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ChatRequest) -> ChatReply:
        bound = upper_bound(request, self._price)
        about = await self._journal.begin(self.name, request, bound)
        try:
            reply = await self._model.complete(request)
        except ModelError as error:
            self._journal.fail(about, bound, error)
            raise
        except BaseException:
            self._journal.leave()
            raise
        usd = cost(reply.usage, self._price)
        self._journal.end(about, bound, reply, usd)
        return replace(reply, cost_usd=usd)

    async def close(self) -> None:
        await self._model.close()


def _reply(data: Mapping[str, Any], text: str) -> ChatReply:
    usage = Usage.from_json(data["usage"]) if "usage" in data else None
    return ChatReply(text, data["served_by"], data["finish"], usage, data.get("usd"), data["latency"])


def _least(amount: float | None, bound: float | None) -> Any:
    return amount if bound is None or amount is None else min(amount, bound)


def _beyond(model: str, over: Sequence[int]) -> str:
    """Tokens of input and output, each with what was allowed."""
    given, most_given, made, most_made = over
    took = f"{made} tokens of output where {most_made} were allowed" if made > most_made else f"{given} of input where {most_given} can be"
    return f"{model} counted {took}, so no budget can be kept with it: it is not asked again, and what it took beyond is not in the count"
