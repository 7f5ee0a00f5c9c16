"""From a model's reply to new values of parameters, or to the name of what is wrong with it. The rules are in docs/replies.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from agentopt.core.chat import Finish
from agentopt.core.task import Parameter, Values
from agentopt.llm.bare import bare_text
from agentopt.llm.changes import is_diff, read_changes
from agentopt.llm.choice import Asked, Draft, choose, wanted
from agentopt.llm.naming import Names, defined
from agentopt.llm.outline import Block, Outline, outline, prepare
from agentopt.llm.pool import members, opens_json
from agentopt.llm.sources import imported, parse
from agentopt.llm.values import accept, same
from agentopt.llm.verdicts import Fault, Form, Unusable, Usable, Verdict, quoted, reads_as_refusal, repair_request

__all__ = ["Form", "Unusable", "Usable", "Verdict", "read_reply", "repair_request"]

MOST_CHARACTERS = 8_388_608
"""A reply that is longer is not read at all."""
LIMIT_BYTES = 65_536
_MOST_JSONS = 4
_JSON_TAGS = ("", "json", "jsonc", "json5")


def read_reply(
    text: str,
    parameters: Mapping[str, Parameter],
    parent: Values,
    *,
    finish: Finish = "stop",
    form: Literal["auto", "rewrite", "diff", "xml", "json"] = "auto",
    limit_bytes: int = LIMIT_BYTES,
) -> Usable | Unusable:
    """What of ``text`` can be used as values of ``parameters``, given the ``parent`` that the model was shown.

    ``finish`` is why the model stopped, in the words of ``ChatReply``. ``form`` restricts the reader to one form; ``auto`` takes each
    that it meets. ``limit_bytes`` bounds each value, in UTF-8 and without line ends at its edges. Never raises for any text.
    """
    try:
        return _Reader(parameters, parent, finish, form, limit_bytes).read(text)
    except Fault as fault:
        return Unusable(fault.verdict, fault.message)


class _Reader:
    def __init__(self, parameters: Mapping[str, Parameter], parent: Values, finish: Finish, form: str, limit: int) -> None:
        self._asked = Asked(parameters, parent, limit, cut=finish == "length")
        self._declined = {"filter": "The provider's content filter stopped the reply.", "refusal": "The model declined."}.get(finish)
        self._form = form
        self._names = Names(parameters)
        self._spare: Fault | None = None
        """What was wrong with JSON that may not have been meant; told if nothing else is found."""

    def read(self, text: str) -> Usable:
        if self._declined:
            raise Fault("refusal", self._declined)
        if len(text) > MOST_CHARACTERS:
            raise Fault("oversize", f"The reply has {len(text)} characters; at most {MOST_CHARACTERS} are read.")
        text = prepare(text)
        if not text.strip():
            raise Fault("truncated" if self._asked.cut else "empty", "The reply holds no text.")
        drafts = self._whole_json(text) or self._parts(text)
        self._check_imports(drafts)
        return self._usable(drafts)

    def _usable(self, drafts: Mapping[str, Draft]) -> Usable:
        parameters, parent = self._asked.parameters, self._asked.parent
        changed = {name: draft for name, draft in drafts.items() if not same(parameters[name], draft.value, parent[name])}
        if not changed:
            raise Fault("unchanged", f"The reply gives {' and '.join(map(repr, drafts))} as it was, so nothing would change.")
        notes = [note for draft in changed.values() for note in draft.notes]
        if self._names.only is None:
            notes += [f"the task has no {quoted(written)}, so that was left out" for written in self._names.unknown]
        values = {name: draft.value for name, draft in changed.items()}
        return Usable(values, next(iter(changed.values())).form, tuple(dict.fromkeys(notes)))

    def _check_imports(self, drafts: Mapping[str, Draft]) -> None:
        """A file that the task does not have is left out, unless the code needs it."""
        for name, draft in drafts.items():
            if self._names.unknown and self._asked.parameters[name].is_python:
                self._names.refuse_unknown(imported(parse(draft.value)))

    # -- the forms

    def _whole_json(self, text: str) -> dict[str, Draft]:
        """Before anything else: a JSON string may hold what looks like a fence or a hunk."""
        if self._form not in ("auto", "json") or not opens_json(text):
            return {}
        if len(text) > self._asked.longest:
            raise Fault("oversize", f"The reply has {len(text)} characters of JSON; at most {self._asked.longest} are read.")
        return self._rewrites(self._members(Block(text)))

    def _parts(self, text: str) -> dict[str, Draft]:
        trainable = self._names.trainable.values()
        plain = bool(trainable) and all(parameter.kind == "prompt" for parameter in trainable)
        out = outline(text, tuple(self._asked.parameters), plain=plain, hunks=self._form in ("auto", "diff"), longest=self._asked.longest)
        if out.thinking:
            raise Fault("truncated", "The reply ends inside of its reasoning.")
        if not (out.blocks or out.hunks or out.prose):
            raise Fault("empty", "The reply holds nothing but reasoning.")
        drafts = self._changes(text, out)
        if self._form != "diff":
            blocks = [block for block in out.blocks if not (self._form == "auto" and is_diff(block))]
            drafts = {**drafts, **self._rewrites(blocks, drafts)} or self._bare(out)
        if not drafts:
            self._refuse(out)
        if self._asked.cut and len(drafts) < len(self._names.trainable):
            raise Fault("truncated", "The reply was cut off before it came to every parameter.")
        return drafts

    def _changes(self, text: str, out: Outline) -> dict[str, Draft]:
        if self._form not in ("auto", "diff"):
            return {}
        try:
            return read_changes(out, self._asked, self._names)
        except Fault as fault:
            drafts = self._instead(text) if self._form == "auto" and fault.verdict in ("no_match", "ambiguous_match") else {}
            if not drafts:
                raise
            return drafts

    def _instead(self, text: str) -> dict[str, Draft]:
        """Hunks that fit nowhere may be part of the new text, or come before all of it: take blocks that define the entry."""
        out = outline(text, tuple(self._asked.parameters), hunks=False, longest=self._asked.longest)
        blocks = [block for block in out.blocks if not is_diff(block) and self._defines(block)]
        try:
            drafts = self._rewrites(blocks)
        except Fault:
            return {}
        note = "hunks that fit nowhere were passed over for the whole text"
        return {name: Draft(draft.value, draft.form, (*draft.notes, note)) for name, draft in drafts.items()}

    def _defines(self, block: Block) -> bool:
        names = defined(block.body)
        return any(wanted(parameter, self._asked.parent[name]) & names for name, parameter in self._names.trainable.items())

    def _rewrites(self, blocks: Sequence[Block], done: Mapping[str, Draft] | None = None) -> dict[str, Draft]:
        """Drafts from blocks that give whole texts; with ``done``, only of further parameters that a block names."""
        named: defaultdict[str, list[Block]] = defaultdict(list)
        others: defaultdict[str, list[Block]] = defaultdict(list)
        for block in self._expanded(blocks):
            name, sure = self._names.of(block)
            if name and name not in (done or ()):
                (named if sure else others)[name].append(block)
        drafts: dict[str, Draft] = {}
        for name in {**named, **({} if done else others)}:
            if name not in self._names.trainable:
                self._check_frozen(name, named[name])
                continue
            draft = choose(name, named[name], [] if done else others[name], self._asked)
            if draft:
                drafts[name] = draft
        return drafts

    def _check_frozen(self, name: str, blocks: Sequence[Block]) -> None:
        """What is not trainable may be shown, but not changed."""
        parameter, parent = self._asked.parameters[name], self._asked.parent[name]
        for block in blocks:
            value, _ = accept(parameter, block.body, parent, whole=False, limit=self._asked.limit)
            if not same(parameter, value, parent):
                self._names.refuse_frozen(name)

    def _expanded(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks of the form that is asked for, JSON objects taken apart."""
        expanded: list[Block] = []
        held = [i for i, block in enumerate(blocks) if block.form == "rewrite" and block.tag in _JSON_TAGS and opens_json(block.body)]
        held = held[-_MOST_JSONS:] if self._form in ("auto", "json") else []
        for i, block in enumerate(blocks):
            if i in held:
                expanded += self._members(block) or [block]
            elif self._form in ("auto", block.form):
                expanded.append(block)
        return expanded

    def _members(self, block: Block) -> list[Block]:
        try:
            return members(block.body, self._names, block.above)
        except Fault as fault:
            self._spare = fault
            return []

    def _bare(self, out: Outline) -> dict[str, Draft]:
        """Text without any fence or tag: for the one parameter, or for the one whose entry it defines."""
        if out.blocks or out.hunks or self._form not in ("auto", "rewrite"):
            return {}
        if len(out.prose) > self._asked.longest:
            raise Fault("oversize", f"The reply has {len(out.prose)} characters without any block; at most {self._asked.longest} are read.")
        names = defined(out.prose)
        defining = [name for name, parameter in self._names.trainable.items() if parameter.is_python and parameter.entry in names]
        name = self._names.only or (defining[0] if len(defining) == 1 else None)
        if name is None:
            return {}
        parameter, parent = self._asked.parameters[name], self._asked.parent[name]
        found = bare_text(out.prose, parameter, wanted(parameter, parent), parent, self._asked.limit)
        if found is None:
            return {}
        if self._asked.cut:
            raise Fault("truncated", "The reply was cut off in its code.")
        value, notes = accept(parameter, found[0], parent, whole=False, limit=self._asked.limit)
        return {name: Draft(value, "rewrite", (*found[1], *notes))}

    def _refuse(self, out: Outline) -> None:
        """Raise Fault: nothing in the reply can be meant as a value."""
        if self._spare:
            raise self._spare
        if self._asked.cut:
            raise Fault("truncated", "The reply was cut off before it came to any code.")
        self._names.refuse_unknown()
        if reads_as_refusal(out.prose) or any(reads_as_refusal(block.body, block=True) for block in out.blocks):
            raise Fault("refusal", "The reply declines the task.")
        missing = " or ".join(map(repr, self._names.trainable))
        if self._form in ("diff", "xml", "json"):
            what = {"diff": "no SEARCH/REPLACE hunk", "xml": "no XML element", "json": "no JSON object"}[self._form]
            raise Fault("no_code", f"The reply holds {what} for {missing}.")
        raise Fault("no_code", f"The reply holds no block that could be {missing}.")
