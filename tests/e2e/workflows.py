"""Three workflows that an optimizer improves from their traces: numbers, code of two functions, prompts of two agents.

    python -m tests.e2e.workflows NAME MODEL OUT CASSETTE      a run with a real model, recorded

They are small, deterministic and far from perfect at first. The model of the two agents is a few rules that read the prompt: it
follows what it is told and nothing else.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from agentopt.pipeline.optimize import optimize
from agentopt.pipeline.report import Optimized
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.fake_llm import FakeLLM, Received, Step
from agentopt.trace.params import Param, param
from agentopt.trace.traced import traced
from agentopt.trace.trainable import trainable
from tests.e2e.recorded import RECORDINGS

__all__ = ["WORKFLOWS", "Workflow", "ready", "run", "story"]


@dataclass(frozen=True)
class Workflow:
    """What ``optimize`` is given."""

    goal: str
    pipeline: Callable[..., Any]
    score: Callable[[Any, Any], Any]
    rows: list[Any]
    floor: float
    """The worst score of a row."""


# --- numbers: when is the coffee cool? ------------------------------------------------------------------------------

room = param(10.0, name="room", bounds=(-10.0, 60.0), description="temperature that the cup ends at, in degrees")
served = param(60.0, name="served", bounds=(20.0, 120.0), description="temperature at minute 0, in degrees")
rate = param(0.2, name="rate", bounds=(0.001, 1.0), description="how fast the difference shrinks, per minute")


@traced
def remaining(minutes: float) -> float:
    """The share of the first difference that is left."""
    return math.exp(-rate.value * minutes)


@traced
def temperature(share: float) -> float:
    """In degrees."""
    return room.value + share * (served.value - room.value)


def cup(minutes: float) -> float:
    return temperature(remaining(minutes))


def how_near(row: Mapping[str, Any], output: float) -> tuple[float, str]:
    error = output - row["expected"]
    side = "too warm" if error > 0 else "too cold"
    return -abs(error), f"after {row['minutes']:g} minutes it was {row['expected']:.2f} degrees: {abs(error):.2f} {side}"


def _measured() -> list[dict[str, float]]:
    minutes = [0.5 * k**1.5 for k in range(16)]
    return [{"minutes": t, "expected": round(21.4 + (88.3 - 21.4) * math.exp(-0.0475 * t), 2)} for t in minutes]


# --- code: who owes whom? -------------------------------------------------------------------------------------------


@trainable(description="reads one line of a ledger")
def read_line(line: str) -> list[object]:
    """Returns [name, amount in cents, list of those who shared it]; an empty list of sharers means everybody."""
    name, amount = line.split(" ")
    return [name, int(float(amount)) * 100, []]


@trainable(description="settles a ledger")
def settle(entries: list[list[object]], people: list[str]) -> dict[str, int]:
    """Cents that each person gets back (positive) or has to pay (negative); they add up to 0."""
    balance = dict.fromkeys(people, 0)
    for name, cents, _sharers in entries:
        share = cents // len(people)
        for person in people:
            balance[person] -= share
        balance[name] += cents
    return balance


def ledger(lines: list[str], people: list[str]) -> dict[str, int]:
    return settle([read_line(line) for line in lines], people)


def how_right(row: Mapping[str, Any], output: Any) -> tuple[float, str]:
    right: dict[str, int] = row["expected"]
    if not isinstance(output, dict):
        return 0.0, "the result is not a mapping of people to cents"
    wrong = [f"{name} gets {output.get(name)}, right is {cents}" for name, cents in right.items() if output.get(name) != cents]
    return 1.0 - len(wrong) / len(right), "; ".join(wrong) or "all balances are right"


def _ledgers() -> list[dict[str, Any]]:
    rng = Random("ledgers")
    rows: list[dict[str, Any]] = []
    for number in range(16):
        people = rng.sample(["ann", "bob", "cy", "dora", "eve"], rng.choice([2, 3, 4]))
        lines, balance = [], dict.fromkeys(people, 0)
        for _ in range(rng.randint(2, 4)):
            name, cents = rng.choice(people), rng.randint(100, 9999)
            sharers = sorted(rng.sample(people, rng.randint(1, len(people)))) if rng.random() < 0.2 else people
            comma = rng.random() < 0.2
            amount = f"{cents // 100}{',' if comma else '.'}{cents % 100:02d}"
            among = "" if sharers is people else f" for {'+'.join(sharers)}"
            lines.append(f"{name} {amount}{among}")
            for place, person in enumerate(sorted(sharers)):
                # cents that cannot be shared go to the first in the alphabet, one each
                balance[person] -= cents // len(sharers) + (place < cents % len(sharers))
            balance[name] += cents
        rows.append({"lines": lines, "people": people, "expected": balance})
        assert sum(balance.values()) == 0, number
    return rows


# --- prompts: a clerk sorts mails, a writer answers them --------------------------------------------------------------

clerk_prompt = param(
    "Say in JSON what the mail is about.", name="clerk", description="instructions of the agent that sorts a customer's mail"
)
writer_prompt = param("Answer the customer.", name="writer", description="instructions of the agent that writes the answer")
_TOPICS = {
    "refund": ("money", "refund", "charged"),
    "delivery": ("parcel", "arrive", "shipped"),
    "account": ("password", "log in", "account"),
}
_URGENT = ("today", "at once", "tomorrow")


@contextmanager
def _agents() -> Generator[None]:
    from openai import OpenAI

    with FakeLLM(_reply) as server, OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        _CLIENT.append(client)
        try:
            yield
        finally:
            _CLIENT.pop()


_CLIENT: list[Any] = []


def _ask(agent: str, prompt: Param, text: str) -> str:
    messages = [{"role": "system", "content": str(prompt)}, {"role": "user", "content": text}]
    reply = _CLIENT[-1].chat.completions.create(model=agent, messages=messages)
    return reply.choices[0].message.content


@traced
def sort_mail(mail: str) -> dict[str, Any]:
    """Topic and urgency. The clerk has to answer with JSON: {"topic": ..., "urgent": ...}."""
    return json.loads(_ask("clerk", clerk_prompt, mail))


@traced
def write_answer(mail: str, sorted_as: dict[str, Any]) -> str:
    """The answer that the customer gets."""
    return _ask("writer", writer_prompt, json.dumps({"mail": mail, **sorted_as}))


def answer(mail: str) -> dict[str, Any]:
    found = sort_mail(mail)
    return {**found, "answer": write_answer(mail, found)}


def _reply(received: Received) -> Step:
    system, user = (message["content"] for message in received.body["messages"])
    return Step(_clerk(system.lower(), user) if received.body["model"] == "clerk" else _writer(system.lower(), json.loads(user)))


def _clerk(told: str, mail: str) -> str:
    topic = next((name for name, words in _TOPICS.items() if any(word in mail.lower() for word in words)), "other")
    if not all(name in told for name in _TOPICS):
        topic = {"refund": "a payment", "delivery": "a shipment", "account": "a login"}.get(topic, "something else")
    found: dict[str, Any] = {"topic": topic}
    if "urgent" in told:
        asked = [word for word in _URGENT if word in told]
        found["urgent"] = any(word in mail.lower() for word in asked) if asked else "!" in mail
    return json.dumps(found) if "json" in told else f"The mail is about {topic}."


def _writer(told: str, about: Mapping[str, Any]) -> str:
    mail = about["mail"]
    number, name = re.search(r"#\d+", mail), re.search(r"\bI am (\w+)", mail)
    parts: list[str] = []
    if "name" in told and name:
        parts.append(f"Dear {name[1]},")
    if ("number" in told or "#" in told) and number:
        parts.append(f"about {number[0]}:")
    parts.append(f"we look into your question on {about['topic']}.")
    if "urgent" in told and about.get("urgent") is True:
        parts.append("We do it today.")
    if not re.search(r"short|brief|sentence|concise|\d+ words", told):
        parts.append("We are always glad to hear from our customers, whose satisfaction matters to us more than anything else there is.")
    return " ".join(parts)


def how_good(row: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
    wanted, text = row["expected"], str(output.get("answer", ""))
    checks = {
        f"the topic has to be {wanted['topic']!r}, one of {', '.join(_TOPICS)}": output.get("topic") == wanted["topic"],
        f"urgent has to be {json.dumps(wanted['urgent'])}; only mails that say {', '.join(_URGENT)} are": output.get("urgent")
        is wanted["urgent"],
        f"the answer has to address {wanted['name']} by name": wanted["name"] in text,
        f"the answer has to quote the order number {wanted['number']}": wanted["number"] in text,
        "the answer to an urgent mail has to promise something for today": not wanted["urgent"] or "today" in text,
        "the answer must not be longer than 100 characters": len(text) <= 100,
    }
    wrong = [said for said, held in checks.items() if not held]
    return 1.0 - len(wrong) / len(checks), "; ".join(wrong) or "everything is as it should be"


def _mails() -> list[dict[str, Any]]:
    rng = Random("mails")
    asks = {
        "refund": ["I was charged twice", "I want my money back"],
        "delivery": ["My parcel did not arrive", "It was never shipped"],
        "account": ["I cannot log in", "My password does not work"],
    }
    rows: list[dict[str, Any]] = []
    for _ in range(16):
        topic, name, number = rng.choice(list(asks)), rng.choice(["Ines", "Omar", "Lea", "Jon"]), f"#{rng.randint(1000, 9999)}"
        urgent = rng.random() < 0.4
        ending = (
            rng.choice([" I need it today.", " Please mend it at once!", " I leave tomorrow."]) if urgent else rng.choice(["", " Thanks!"])
        )
        mail = f"I am {name}, order {number}. {rng.choice(asks[topic])}.{ending}"
        rows.append({"mail": mail, "expected": {"topic": topic, "urgent": urgent, "name": name, "number": number}})
    return rows


WORKFLOWS: Mapping[str, Workflow] = {
    "cup": Workflow("Predict how a cup of coffee cools.", cup, how_near, _measured(), -100.0),
    "ledger": Workflow(
        "Settle who owes whom, to the cent. Cents that cannot be shared equally are paid by the first in the alphabet, one each.",
        ledger,
        how_right,
        _ledgers(),
        0.0,
    ),
    "mails": Workflow("Sort customers' mails and answer them as the house wants it.", answer, how_good, _mails(), 0.0),
}


@contextmanager
def ready(name: str) -> Generator[Workflow]:
    """The workflow of that name, with the server that its agents ask."""
    with _agents() if name == "mails" else nullcontext():
        yield WORKFLOWS[name]


def run(name: str, model: str, out: Path, record: Path | None = None) -> Optimized:
    """With any model."""
    llm: dict[str, Any] = {"record": str(record), "relay_seconds": 7000} if record else {}
    with ready(name) as flow:
        options: dict[str, Any] = {"optimizer": "optoprime", "model": model, "llm": llm, "out": out, "rng_seed": 1, "workers": 1}
        return optimize(flow.pipeline, flow.rows, flow.score, budget="12evals", goal=flow.goal, floor=flow.floor, **options)


def story(folder: Path) -> Iterator[dict[str, Any]]:
    """After how many replies of the optimizer's model what was proposed or refused, and the scores that followed."""
    replies = 0
    store = SqliteStore.open(folder, read_only=True)
    for event in store.read():
        data = event.data
        replies += event.kind == "llm_reply" and "ask" in data
        if event.kind == "proposed":
            yield {"reply": replies, "by": data["operator"], "values": json.loads(store.get(data["values"]))}
        elif event.kind == "evaluated":
            yield {"stage": data["stage"], "scores": {split: found["scores"] for split, found in data["splits"].items()}}
        elif event.kind == "note":
            yield {"reply": replies, "note": data["kind"], "text": data["text"]}
    store.close()


def keep(name: str, out: Path, record: Path) -> None:
    """As tests/recordings/optoprime_NAME.*; the requests are left out, they follow from the rest."""
    tape = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    kept = [{"key": row["key"], "reply": {**row["reply"], "model": "a model behind a relay"}} for row in tape]
    for suffix, lines in (("jsonl", kept), ("run.jsonl", list(story(out)))):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (RECORDINGS / f"optoprime_{name}.{suffix}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])).report())
    keep(sys.argv[1], Path(sys.argv[3]), Path(sys.argv[4]))
