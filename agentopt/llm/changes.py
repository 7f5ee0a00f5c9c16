"""Replies that say what to change: SEARCH/REPLACE hunks and unified diffs, each laid onto the parent's text of its parameter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from agentopt.llm.choice import Asked, Draft, wanted
from agentopt.llm.diffs import MOST_HUNKS, Hunk, is_unified, search_replace, unified
from agentopt.llm.matching import apply_hunks
from agentopt.llm.naming import Names, defined
from agentopt.llm.outline import Block, Outline
from agentopt.llm.values import accept, with_plain_ends
from agentopt.llm.verdicts import Fault

__all__ = ["is_diff", "read_changes"]


def is_diff(block: Block) -> bool:
    return block.form == "rewrite" and is_unified(block.body, block.tag)


def read_changes(out: Outline, asked: Asked, names: Names) -> dict[str, Draft]:
    """The drafts that the reply's hunks give; none if it has no hunks. Raises Fault when they cannot be applied, all of them."""
    hunks: defaultdict[str, list[Hunk]] = defaultdict(list)
    for hunk, block in _stated(out, asked):
        if sum(map(len, hunks.values())) >= MOST_HUNKS:
            raise Fault("oversize", f"The reply has more than {MOST_HUNKS} hunks; give the whole text.")
        name = _named(hunk, block, names) or _place(hunk, asked, names)
        if name not in names.trainable:
            names.refuse_frozen(name)
        hunks[name].append(hunk)
    return {name: _draft(name, members, asked) for name, members in hunks.items()}


def _named(hunk: Hunk, block: Block, names: Names) -> str | None:
    """The parameter that a hunk says it changes. Raises Fault if the task has several and the hunk's is none of them."""
    if hunk.name is None:
        return names.of(block)[0]
    name = names.find(hunk.name) or names.only
    if name is None:
        names.unknown.append(hunk.name)
        names.refuse_unknown()
    return name


def _stated(out: Outline, asked: Asked) -> Iterator[tuple[Hunk, Block]]:
    if out.hunks:
        for number, block in enumerate(out.hunks, 1):
            yield search_replace(block, number), block
        if asked.cut and not out.hunks_closed:
            raise Fault("truncated", "The reply was cut off, so hunks may be missing.")
        return
    for block in out.blocks:
        if is_diff(block):
            if not block.closed:
                raise Fault("truncated", "The diff ends before its block is closed.")
            yield from ((hunk, block) for hunk in unified(block.body))
    if not out.blocks and len(out.prose) <= asked.longest and is_unified(out.prose):
        if asked.cut:
            raise Fault("truncated", "The reply was cut off in its diff.")
        yield from ((hunk, Block("")) for hunk in unified(out.prose, fenced=False))


def _place(hunk: Hunk, asked: Asked, names: Names) -> str:
    """The one parameter whose text a hunk without a name fits."""
    fitting: list[str] = []
    fault = Fault("no_match", "A hunk does not say which parameter it changes; name it above the hunk.")
    for name, parameter in names.trainable.items():
        if parameter.kind in ("code", "prompt"):
            try:
                apply_hunks(with_plain_ends(asked.parent[name]), [hunk])
                fitting.append(name)
            except Fault as raised:
                fault = raised
    if len(fitting) > 1:
        raise Fault("ambiguous_match", f"A hunk fits {' and '.join(map(repr, fitting))}; name the parameter above it.")
    if not fitting:
        raise fault
    return fitting[0]


def _draft(name: str, hunks: list[Hunk], asked: Asked) -> Draft:
    parameter, parent = asked.parameters[name], asked.parent[name]
    if parameter.kind not in ("code", "prompt"):
        raise Fault("no_match", f"The reply gives a diff of {name!r}, which is no text; give its new value.")
    if len(hunks) == 1 and not any(line.strip() for search, _ in hunks[0].parts for line in search):
        text = "\n".join(hunks[0].parts[0][1])
        if wanted(parameter, parent) & defined(text):
            value, notes = accept(parameter, text, parent, whole=False, limit=asked.limit)
            return Draft(value, "diff", (*notes, "a hunk that searches for nothing was read as the whole text"))
    text, notes = apply_hunks(with_plain_ends(parent), hunks)
    value, more = accept(parameter, text, parent, whole=True, limit=asked.limit)
    return Draft(value, "diff", notes + more)
