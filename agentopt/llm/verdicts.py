"""What a reply turned out to be, and what to tell the model when it is of no use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agentopt.core.task import Parameter, Values
from agentopt.core.text import clean_text

__all__ = ["Fault", "Form", "Unusable", "Usable", "Verdict", "quoted", "reads_as_refusal", "repair_request"]

Form = Literal["rewrite", "diff", "xml", "json"]
Verdict = Literal[
    "refusal",
    "empty",
    "unchanged",
    "no_change",
    "no_match",
    "ambiguous_match",
    "syntax",
    "signature",
    "constraint",
    "oversize",
    "markers",
    "truncated",
    "no_code",
    "unknown_parameter",
]

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "´": "'", "`": "'"})
_EARLY = 240
"""A refusal comes at once: only so many characters of a text are looked at."""
_DECLINES = (
    *(
        "i can't",
        "i cannot",
        "i can not",
        "i won't",
        "i will not",
        "i'm unable",
        "i am unable",
        "i'm not able",
        "i am not able",
        "i refuse",
    ),
    *(
        "i must decline",
        "i have to decline",
        "i respectfully decline",
        "i'm not comfortable",
        "i don't feel comfortable",
        "i'm afraid i can",
    ),
    *("es tut mir leid", "tut mir leid", "ich kann das nicht", "ich kann dabei nicht", "ich kann ihnen", "ich darf das nicht"),
    *("je suis désolé", "désolé", "je ne peux pas", "lo siento", "no puedo ayudar", "desculpe", "não posso", "mi dispiace", "non posso"),
    *("извините", "я не могу", "抱歉", "很抱歉", "对不起", "我不能", "我无法", "申し訳", "죄송"),
)
"""What a refusal says in the first person."""
_AS_A_MODEL = tuple(f"as a{rest}" for rest in ("n ai ", "n ai,", " language model"))
_REFUSALS = (
    *_DECLINES,
    *("unable to comply", "unable to assist", "unable to help", "can't assist", "cannot assist", "can't help", "cannot help"),
    *("against my guidelines", *_AS_A_MODEL, "できません"),
)
_SORRY = ("i'm sorry", "i am sorry", "sorry, ", "i apologize", "i apologise", "my apologies")


@dataclass(frozen=True)
class Usable:
    """``values`` holds the new value of each parameter that the reply changes, and no other: lay it over the parent's values.

    ``notes`` say where the reader was lenient, one sentence each.
    """

    values: Values
    form: Form
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """``message`` is one sentence for the model; it quotes at most a line of the reply."""

    verdict: Verdict
    message: str


class Fault(Exception):
    """A reply that cannot be used; it stays in this room, ``read_reply`` makes an ``Unusable`` of it."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict: Verdict = verdict
        self.message = message


def quoted(text: str, limit: int = 80) -> str:
    """A line of somebody else's text, short and in quotes."""
    line = " ".join(clean_text(text, 4 * limit).split())
    return repr(line if len(line) <= limit else f"{line[: limit - 1]}…")


def reads_as_refusal(text: str, *, block: bool = False) -> bool:
    """Does it decline in its first sentences? Only for text that holds no code: a comment may well say "I cannot".

    A ``block`` may be a prompt that tells a model when to decline, so it has to decline in its first words.
    """
    start = text[: 4 * _EARLY].lstrip(" \t\n*_#>\"'-")[:_EARLY].translate(_APOSTROPHES).lower()
    if block:
        return start.startswith((*_SORRY, *_DECLINES))
    return start.startswith(_SORRY) or any(phrase in start for phrase in _REFUSALS)


_ADVICE: dict[Verdict, str] = {
    "refusal": "The task is harmless: a program is searched for that scores better on a benchmark.",
    "unchanged": "Make a change that alters what the program does.",
    "no_match": "Do not use SEARCH/REPLACE this time; give the whole text.",
    "ambiguous_match": "Do not use SEARCH/REPLACE this time; give the whole text.",
    "oversize": "Be shorter.",
    "markers": "Change only the lines between EVOLVE-BLOCK-START and EVOLVE-BLOCK-END.",
    "truncated": "Leave nothing out, think briefly and close the block.",
}


def repair_request(problem: Unusable, parameters: Mapping[str, Parameter]) -> str:
    """The text of the one prompt that asks for a better reply; it says what was wrong and which form is sure to be understood."""
    trainable = {name: parameter for name, parameter in parameters.items() if parameter.trainable}
    lines = [f"Your last reply could not be used. {problem.message}"]
    if problem.verdict in _ADVICE:
        lines.append(_ADVICE[problem.verdict])
    if len(trainable) == 1:
        (parameter,) = trainable.values()
        lines.append(f"Reply again with the whole new {_whole(parameter)} in one fenced block and no other block:\n\n{_fence(parameter)}")
    else:
        lines.append("Reply again. For each parameter that you change, give its heading and its whole new text in one fenced block:")
        lines += [f"\n### file: {parameter.path or name}\n{_fence(parameter)}" for name, parameter in trainable.items()]
    return "\n".join(lines)


def _whole(parameter: Parameter) -> str:
    return {"code": "code", "prompt": "text", "config": "JSON object", "value": "value"}[parameter.kind] + f" of {parameter.name!r}"


def _fence(parameter: Parameter) -> str:
    tag = {"code": parameter.language, "prompt": "text", "config": "json", "value": "json"}[parameter.kind]
    fence = "````" if parameter.kind == "prompt" else "```"
    return f"{fence}{tag}\n...\n{fence}"
