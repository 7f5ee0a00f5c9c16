"""One template: a head that declares its slots, and the text of a system and a user turn; docs/prompts.md."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from agentopt.core.chat import Message, Prompt
from agentopt.core.errors import ConfigError
from agentopt.core.quoting import STANDING_SENTENCE, defused, quote, shorten, tokens_of

if TYPE_CHECKING:
    import jinja2

__all__ = ["Head", "Template"]

_KEYS = ("text", "quoted", "cut", "optional")
_PART = re.compile(r"^<!-- (system|user) -->[ \t]*$", re.M)
_FENCE = "---\n"


@dataclass(frozen=True)
class Head:
    """Slots by what may be done with them.

    ``text`` is put in as it is, ``quoted`` between tags that it cannot close. ``cut`` may be shortened, the least important first.
    An override may leave ``optional`` out, and they may be given blank.
    """

    text: tuple[str, ...] = ()
    quoted: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[str, ...]:
        return self.text + self.quoted


@dataclass(frozen=True)
class Template:
    """A template that has been checked. ``name`` is ``reevo/crossover@`` and the first 8 hex digits of the SHA-256 of the file's bytes."""

    file: Path
    name: str
    head: Head
    used: frozenset[str]
    parts: Mapping[str, jinja2.Template]

    @classmethod
    def read(cls, file: Path, name: str, original: Template | None = None) -> Template:
        """The template in ``file``; with ``original``, as an override of that. Raises ConfigError naming the file and the fix."""
        try:
            data = file.read_bytes()
            source = data.decode("utf-8-sig").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from None
        head, body = _divide(file, source)
        if original:
            head = _inherited(file, head, original)
        elif head is None:
            raise ConfigError(f"{file}: has no head; begin it with a line ---, its slots (text, quoted, cut, optional) and a line ---")
        parts, used = _compiled(file, body, source.count("\n") - body.count("\n"))
        _check_use(file, head, used, original)
        return cls(file, f"{name}@{hashlib.sha256(data).hexdigest()[:8]}", head, used, parts)

    def render(self, slots: Mapping[str, str], token_budget: int) -> Prompt:
        """Raises ConfigError for a slot that is missing or not declared, and when what must not be cut is over the budget."""
        self._check_given(slots)
        texts = {slot: defused(text) for slot, text in slots.items()}
        cut: list[str] = []
        messages = self._filled(texts)
        for slot in self.head.cut:
            excess = _tokens(messages) - token_budget
            if excess <= 0:
                break
            shorter = shorten(texts[slot], excess)
            if slot in self.used and shorter != texts[slot]:
                texts[slot] = shorter
                cut.append(slot)
                messages = self._filled(texts)
        if (least := _tokens(messages)) > token_budget:
            raise ConfigError(
                f"{self.file}: takes about {least} tokens with all that may be cut left out, and the budget of a prompt is "
                f"{token_budget}; shorten the template or raise the budget"
            )
        return Prompt(messages, self.name, tuple(cut))

    def _check_given(self, slots: Mapping[str, str]) -> None:
        for slot in slots:
            if slot not in self.head.slots:
                raise ConfigError(f"{self.file}: does not declare the slot {slot!r} that it is given; name it under text or quoted")
        for slot in self.head.slots:
            if slot not in slots:
                raise ConfigError(f"{self.file}: declares the slot {slot!r}, which it is not given; take it out of the head")

    def _filled(self, texts: Mapping[str, str]) -> tuple[Message, ...]:
        filled = {slot: quote(slot, text) if slot in self.head.quoted else text for slot, text in texts.items()}
        said: dict[str, str] = {}
        for part, template in self.parts.items():
            try:
                said[part] = template.render(filled).strip()
            except Exception as error:  # an expression of a template may raise anything
                raise ConfigError(f"{self.file}: its {part} part cannot be filled: {type(error).__name__}: {error}") from None
        system = "\n\n".join(filter(None, [said.get("system", ""), STANDING_SENTENCE if self.head.quoted else ""]))
        return (*((Message("system", system),) if system else ()), Message("user", said["user"]))


def _tokens(messages: tuple[Message, ...]) -> int:
    return tokens_of("".join(message.content for message in messages))


def _divide(file: Path, source: str) -> tuple[Head | None, str]:
    """(head if there is one, the rest)."""
    if not source.startswith(_FENCE):
        return None, source
    head, fence, body = source.removeprefix(_FENCE).partition(f"\n{_FENCE}")
    if not fence:
        raise ConfigError(f"{file}: the head has no end; close it with a line ---")
    return _head(file, head), body


def _head(file: Path, text: str) -> Head:
    import yaml

    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: the head is not YAML: {' '.join(str(error).split())}") from None
    fields: dict[str, tuple[str, ...]] = {}
    for key, names in cast("dict[Any, Any]", data if isinstance(data, dict) else {text: None}).items():
        if key not in _KEYS:
            raise ConfigError(f"{file}: the head has the key {str(key)!r}; the keys are {', '.join(_KEYS)}")
        words = cast("list[Any]", names if isinstance(names, list) else [None])
        for word in words:
            if not isinstance(word, str) or not word.isidentifier():
                raise ConfigError(f"{file}: {key} is {names!r}; write a list of slots: {key}: [goal, worse]")
        fields[key] = tuple(words)
    head = Head(**fields)
    slots = head.slots
    for slot in slots:
        if slots.count(slot) > 1:
            raise ConfigError(f"{file}: the slot {slot!r} is declared twice; name it once, under text or quoted")
    for slot in head.cut + head.optional:
        if slot not in slots:
            raise ConfigError(f"{file}: the slot {slot!r} is not declared; name it under text or quoted")
    return head


def _inherited(file: Path, head: Head | None, original: Template) -> Head:
    """What an override's slots are: the original's, in the order of cutting that it may set anew."""
    declared = original.head
    if head is None:
        return declared
    if unknown := [slot for slot in head.slots if slot not in declared.slots]:
        raise ConfigError(f"{file}: there is no slot {unknown[0]!r}; there is {', '.join(declared.slots)}")
    if unquoted := [slot for slot in head.text if slot in declared.quoted]:
        raise ConfigError(f"{file}: the slot {unquoted[0]!r} holds text of others; name it under quoted")
    return Head(declared.text, declared.quoted, head.cut or declared.cut, declared.optional)


@cache
def _environment() -> jinja2.Environment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    environment.globals.clear()
    return environment


def _compiled(file: Path, body: str, lines_above: int) -> tuple[dict[str, jinja2.Template], frozenset[str]]:
    """The parts by role, and the names of the slots that they use."""
    from jinja2 import TemplateSyntaxError, meta

    environment = _environment()
    pieces = _PART.split(body)
    if pieces[0].strip() or "user" not in pieces[1::2] or len(pieces) > 5 or pieces[1::2] == ["user", "user"]:
        raise ConfigError(f"{file}: below the head come one line <!-- system --> and one line <!-- user -->, each with its text")
    parts: dict[str, jinja2.Template] = {}
    used: set[str] = set()
    above = lines_above + pieces[0].count("\n")
    for role, text in zip(pieces[1::2], pieces[2::2], strict=True):
        try:
            used |= meta.find_undeclared_variables(environment.parse(text))
            parts[role] = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise ConfigError(f"{file}: line {above + error.lineno} is no template: {error.message}") from None
        above += text.count("\n")
    return parts, frozenset(used)


def _check_use(file: Path, head: Head, used: frozenset[str], original: Template | None) -> None:
    for slot in sorted(used):
        if slot not in head.slots:
            known = f"there is {', '.join(head.slots)}" if original else "name it in the head, under text or quoted"
            raise ConfigError(f"{file}: uses the slot {slot!r}, which is not declared; {known}")
    for slot in head.slots:
        if slot not in used and slot not in (head.optional if original else ()):
            fix = f"write {{{{ {slot} }}}} where it belongs" if original else "use it or take it out of the head"
            raise ConfigError(f"{file}: does not use the slot {slot!r}; {fix}")
