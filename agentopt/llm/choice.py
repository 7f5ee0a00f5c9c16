"""Which of the texts that a reply offers for a parameter is meant: the last one that changes something."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentopt.core.task import Parameter, Value, Values
from agentopt.llm.naming import defined, fits
from agentopt.llm.outline import Block
from agentopt.llm.pool import unescaped, unwrapped
from agentopt.llm.regions import inside
from agentopt.llm.sources import parses, tidied
from agentopt.llm.values import accept, same
from agentopt.llm.verdicts import Fault, Form

__all__ = ["Asked", "Draft", "choose", "wanted"]

_MOST_CANDIDATES = 4
"""So many of the last blocks are compared with the parent."""


@dataclass(frozen=True)
class Asked:
    """What the model was asked about, and how its reply ended."""

    parameters: Mapping[str, Parameter]
    parent: Values
    limit: int
    cut: bool
    """It was stopped before it was done."""

    @property
    def longest(self) -> int:
        """Characters of one piece of the reply that are looked at: a hunk may quote a text and give it again."""
        return max(4 * self.limit, 65_536)


@dataclass(frozen=True)
class Draft:
    """A value that was read; it may turn out to be the parent's."""

    value: Value
    form: Form
    notes: tuple[str, ...] = ()


def wanted(parameter: Parameter, parent: Value) -> set[str]:
    """The names one of which Python text for this parameter has to define: the entry, or what the part that may change defines."""
    if not parameter.is_python:
        return set()
    parts = inside(parent)
    own = {name for part in parts for name in defined(part)} if not parameter.entry or parts != [parent] else set[str]()
    return own | ({parameter.entry} if parameter.entry else set())


def choose(name: str, named: Sequence[Block], others: Sequence[Block], asked: Asked) -> Draft | None:
    """The draft for one parameter; blocks that bear its name go before ``others``. None if no block can be meant.

    Raises Fault with ``truncated`` if a block that may be meant was cut off, and whatever is wrong with the one that is meant.
    """
    parameter, parent = asked.parameters[name], asked.parent[name]
    for blocks, sure in ((named, True), (others, False)):
        pool = [unescaped(unwrapped(block), parameter, parent, asked.limit) for block in blocks]
        candidates = _candidates(parameter, parent, pool, sure, asked.limit)
        open_ones = [block for block in pool if not block.closed and (asked.cut or block.body.strip())]
        if any(block in candidates or sure or fits(block, parameter) for block in open_ones):
            raise Fault("truncated", f"The text of {name!r} ends before its block is closed.")
        if candidates:
            return _last_change(parameter, parent, candidates[-_MOST_CANDIDATES:], asked.limit)
    return None


def _candidates(parameter: Parameter, parent: Value, pool: Sequence[Block], sure: bool, limit: int) -> list[Block]:
    fitting = [block for block in pool if sure or fits(block, parameter)]
    if not parameter.is_python:
        tagged = [block for block in fitting if block.tag]
        return tagged if tagged and parameter.kind == "code" else fitting
    names = wanted(parameter, parent)
    marked = parent.count("EVOLVE-BLOCK-START")
    hits = [block for block in pool if names & defined(_at_margin(block.body)) or (marked and "EVOLVE-BLOCK" in block.body)]
    if hits:
        return hits
    told = [block for block in fitting if sure or block.tag]
    if told:
        return told[-1:]
    untold = [block for block in fitting if len(block.body) <= limit][-_MOST_CANDIDATES:]
    return [block for block in untold if parses(tidied(block.body)[0])][-1:]


def _at_margin(body: str) -> str:
    return textwrap.dedent(body) if body.lstrip("\n")[:1] in (" ", "\t") else body


def _last_change(parameter: Parameter, parent: Value, candidates: Sequence[Block], limit: int) -> Draft:
    """The last candidate that is not the parent once more. Plain text has to be the only one: nothing tells an example from a prompt."""
    drafts: list[Draft] = []
    for block in reversed(candidates):
        value, notes = accept(parameter, block.body, parent, whole=False, limit=limit)
        drafts.append(Draft(value, block.form, block.notes + notes))
        if parameter.kind != "prompt" and not same(parameter, value, parent):
            return drafts[-1]
    changed = [draft for draft in drafts if not same(parameter, draft.value, parent)]
    if len({draft.value for draft in changed if parameter.kind == "prompt"}) > 1:
        raise Fault("ambiguous_match", f"The reply holds {len(changed)} texts that could be {parameter.name!r}; give one block.")
    return changed[0] if changed else drafts[0]
