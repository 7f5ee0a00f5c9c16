"""Traces as the parts of a problem that a model can read: what was run, with which values, and what was said of the outcome.

The parts are those of OptoPrime (Cheng, Nie and Swaminathan 2024, "Trace is the next AutoDiff"). They keep a budget of tokens: what
failed and what uses parameters stays, and what is left out is counted in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from agentopt.core.errors import ConfigError
from agentopt.core.quoting import defused, quote, tokens_of
from agentopt.trace.fitting import LEAST, Item, Part, fit, most_that_fit, share
from agentopt.trace.graph import FunctionInfo, Graph, Node, ParamInfo
from agentopt.trace.listing import listing
from agentopt.trace.merge import Group, merge
from agentopt.trace.naming import Names, function_name, identifier, node_names
from agentopt.trace.outline import Outline, outline
from agentopt.trace.union import apart
from agentopt.trace.written import cut, error_text, raised, written

__all__ = ["Problem", "render"]

_WEIGHTS = {"variables": 8, "code": 5, "feedback": 5, "outputs": 3, "inputs": 2, "others": 2, "documentation": 2, "constraints": 2}
_UNCUT = 1 << 40
_FAILED = "(raised: see the feedback)"
_SHORT = 60
_FEW_RUNS = 3


@dataclass(frozen=True)
class Problem:
    """Texts; a part without anything to say is empty."""

    code: str = ""
    documentation: str = ""
    variables: str = ""
    """Trainable parameters and their values."""
    constraints: str = ""
    inputs: str = ""
    """What the workflow was given, and long literal arguments."""
    others: str = ""
    """Values on the way."""
    outputs: str = ""
    feedback: str = ""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """The names of trainable parameters, by the identifiers that the texts use for them."""

    @property
    def parts(self) -> dict[str, str]:
        """The texts by their names."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "names"}


def render(graphs: Sequence[Graph], token_budget: int = 8000, labels: Sequence[str] = ()) -> Problem:
    """One problem of any number of runs; ``labels`` say of each what it is, such as the name of its case. A ``union`` is several.

    The texts together take at most ``token_budget`` tokens by the estimate of ``tokens_of``. The same runs give the same texts. Raises
    ConfigError for a budget that has no room for words.
    """
    if token_budget < LEAST * len(_WEIGHTS):
        raise ConfigError(f"a budget of {token_budget} tokens is too small to show a trace; give at least {LEAST * len(_WEIGHTS)}")
    told = _Told(*apart(graphs, labels))
    parts: dict[str, Part] = {name: getattr(told, name) for name in _WEIGHTS}
    texts = {name: part(token_budget) for name, part in parts.items()}
    given = share({name: tokens_of(text) for name, text in texts.items()}, _WEIGHTS, token_budget)
    short = {name: text if tokens_of(text) <= given[name] else parts[name](given[name]) for name, text in texts.items()}
    return Problem(**short, names={told.params[name]: name for name, info in told.infos.items() if info.trainable})


@dataclass(frozen=True)
class _Seen:
    """A group of equal runs with the names of its nodes."""

    group: Group
    view: Outline
    names: Sequence[str]
    named: Mapping[tuple[int, str], str]
    """Literal arguments that are too long for a line or differ between runs: (node, role) -> name."""

    @property
    def runs(self) -> tuple[int, ...]:
        return self.group.runs

    @property
    def targets(self) -> list[int]:
        """What came out, and what was judged."""
        found = {graph.output for graph in self.group.graphs} | {each.target for graph in self.group.graphs for each in graph.feedback}
        return sorted(number for number in found if 0 <= number < len(self.group.graph))


class _Told:
    """The parts, each as a function of the tokens that it may take."""

    def __init__(self, graphs: Sequence[Graph], labels: Sequence[str]) -> None:
        self.labels = labels
        self.infos: dict[str, ParamInfo] = {}
        self.values: dict[str, Any] = {}
        for graph in graphs:
            self.infos |= graph.params
            for number in graph.of_kind("param"):
                self.values[graph.name(number)] = graph.value(number)
        self.infos |= {name: ParamInfo(name) for name in self.values if name not in self.infos}
        names = Names()
        self.params = {name: names.take(name) for name in self.infos}
        seen = [_seen(group, self.params) for group in merge(graphs)]
        self.groups = sorted(seen, key=lambda each: (not each.view.failing, -len(each.runs), each.runs))

    def variables(self, tokens: int) -> str:
        items = [Item(self._variable(name)) for name, info in self.infos.items() if info.trainable and name in self.values]
        return fit(items, "variables", tokens, (_UNCUT, 8000, 2000, 500, 120, 40))

    def _variable(self, name: str) -> Callable[[int], str]:
        head, value = f"({self.infos[name].kind}) {self.params[name]}", self.values[name]
        if isinstance(value, str) and value.strip() and (len(value) > _SHORT or "\n" in value):
            return partial(_block, head, self.params[name], value)
        return partial(_equal, head, value)

    def constraints(self, tokens: int) -> str:
        items: list[Item] = []
        for name, info in self.infos.items():
            said = [text.strip() for text in (info.description, info.constraint) if text.strip()]
            if info.trainable and said:
                items.append(Item(partial(_entry, self.params[name], "; ".join(said))))
        return fit(items, "constraints", tokens)

    def documentation(self, tokens: int) -> str:
        """Of the functions called, those that use parameters first."""
        found: dict[str, FunctionInfo] = {}
        for each in self.groups:
            graph = each.group.graph
            for number in each.view.ranked:
                if info := graph.functions.get(graph.name(number)):
                    found.setdefault(info.name, info)
        return fit([Item(partial(_about, info)) for info in found.values()], "functions", tokens)

    def code(self, tokens: int) -> str:
        """As many listings as can be begun with half of the tokens; what is left shows their steps, the most important of each first."""
        listed, most = 0, len(self.groups)
        while listed < most:
            middle = (listed + most + 1) // 2
            fits = tokens_of(self._listings(middle, ())) <= (tokens // 2 if middle > 1 else tokens)
            listed, most = (middle, most) if fits else (listed, middle - 1)
        steps = [(rank, place) for place in range(listed) for rank in range(min(len(self.groups[place].view.ranked), tokens))]
        ranked = [(place, self.groups[place].view.ranked[rank]) for rank, place in sorted(steps)]
        return most_that_fit(lambda n: self._listings(listed, ranked[:n]), min(len(ranked), tokens), tokens)

    def _listings(self, listed: int, shown: Sequence[tuple[int, int]]) -> str:
        texts: list[str] = []
        numbers: list[set[int]] = [set() for _ in range(listed)]
        for place, number in shown:
            numbers[place].add(number)
        for each, wanted in zip(self.groups, numbers, strict=False):
            head = f"# {self._which(each.runs)}\n" if len(self.groups) > 1 or len(each.runs) > 1 else ""
            texts.append(f"{head}{listing(each.group.graph, each.view, each.names, wanted, each.named)}")
        if rest := self.groups[listed:]:
            runs, steps = sum(len(each.runs) for each in rest), sum(len(each.view.order) * len(each.runs) for each in rest)
            texts.append(f"# ... {len(rest):,} more listings of {runs:,} runs with {steps:,} calls")
        return "\n".join(texts)

    def inputs(self, tokens: int) -> str:
        items: list[Item] = []
        for name, info in self.infos.items():
            if not info.trainable and name in self.values:
                items.append(Item(partial(_equal, self.params[name], self.values[name])))
        for each in self.groups:
            for number in each.group.graph.of_kind("input"):
                items.append(self._valued(each, each.names[number], [graph.value(number) for graph in each.group.graphs]))
            for (number, role), name in each.named.items():
                items.append(self._valued(each, name, [dict(graph[number].literals)[role] for graph in each.group.graphs]))
        return fit(items, "values", tokens)

    def outputs(self, tokens: int) -> str:
        return fit([self._value(each, number) for each in self.groups for number in each.targets], "values", tokens)

    def others(self, tokens: int) -> str:
        """Of repeated steps, only those at the ends have their values shown."""
        items: list[Item] = []
        more = 0
        for each in self.groups:
            targets = set(each.targets)
            shown = [number for number in each.view.ranked if number not in targets]
            items += [self._value(each, number) for number in shown]
            more += (sum(number not in targets for number in each.view.order) - len(shown)) * len(each.runs)
        return fit(items, "values", tokens, more=more)

    def _value(self, each: _Seen, number: int) -> Item:
        values = [graph.value(number) for graph in each.group.graphs]
        return self._valued(each, each.names[number], [_FAILED] * len(values) if number in each.view.failing else values)

    def _valued(self, each: _Seen, name: str, values: Sequence[Any]) -> Item:
        head = f"{name} ({self._which(each.runs)})" if len(self.groups) > 1 else name

        def write(length: int) -> str:
            texts = [value if value is _FAILED else _result(value, length) for value in values]
            if len(set(texts)) == 1:
                return f"{head} = {texts[0]}"
            most = max(_FEW_RUNS, length // _SHORT)
            rows = [f"    run {run + 1}: {text}" for run, text in zip(each.runs[:most], texts[:most], strict=True)]
            more = [f"    ... {len(texts) - most:,} more runs"] if len(texts) > most else []
            return "\n".join([f"{name}:", *rows, *more])

        return Item(write, len(values))

    def feedback(self, tokens: int) -> str:
        said = [line for each in self.groups for place in range(len(each.runs)) for line in self._said(each, place)]
        return fit(said, "remarks", tokens)

    def _said(self, each: _Seen, place: int) -> Iterator[Item]:
        """What raised, and what was said of one run."""
        graph, run = each.group.graphs[place], each.runs[place]
        head = f"{self._run(run)}: " if sum(len(each.runs) for each in self.groups) > 1 else ""
        for number in sorted(each.view.failing)[-1:]:
            yield Item(partial(_entry, f"{head}{each.names[number]} raised", _error(graph[number])))
        for each_said in graph.feedback:
            target = f"{each.names[each_said.target]} " if 0 <= each_said.target < len(graph) else ""
            scores = ", ".join(f"{name} {value:.6g}" for name, value in each_said.scores.items())
            words = f"{head}{target}{f'[{scores}]' if scores else ''}".rstrip(": ")
            yield Item(partial(_entry, words, each_said.text))

    def _run(self, run: int) -> str:
        return f"run {run + 1} ({self.labels[run]})" if run < len(self.labels) and self.labels[run] else f"run {run + 1}"

    def _which(self, runs: Sequence[int]) -> str:
        shown = ", ".join(str(run + 1) for run in runs[: _SHORT // 4])
        more = f" and {len(runs) - _SHORT // 4:,} more" if len(runs) > _SHORT // 4 else ""
        return f"{'run' if len(runs) == 1 else 'runs'} {shown}{more}"


def _seen(group: Group, params: dict[str, str]) -> _Seen:
    names, graph = Names(), group.graph
    for name in params.values():
        names.take(name)
    view = outline(group)
    order = [*graph.of_kind("param"), *graph.of_kind("input"), *view.order]
    found = node_names(graph, names, params, order)
    named: dict[tuple[int, str], str] = {}
    for number in view.ranked:
        written_in = [[(role, written(value, _SHORT + 1)) for role, value in each[number].literals] for each in group.graphs]
        for texts in zip(*written_in, strict=True):
            if len({text for _, text in texts}) > 1 or len(texts[0][1]) > _SHORT:
                role = texts[0][0]
                named[number, role] = names.take(f"{found[number]}_{identifier(role)}")
    return _Seen(group, view, found, named)


def _equal(name: str, value: Any, length: int) -> str:
    return f"{name} = {written(value, min(length, 1 << 16))}"


def _block(head: str, name: str, text: str, length: int) -> str:
    return f"{head} =\n{quote(name, defused(cut(text, length)))}"


def _entry(head: str, text: str, length: int) -> str:
    return f"{head}: {_inset(cut(defused(text), length))}" if text else head


def _result(value: Any, length: int) -> str:
    return cut(error_text(value), length).replace("\n", " ") if isinstance(value, BaseException) else written(value, length)


def _error(node: Node) -> str:
    """The exception, and where it was raised if that was recorded."""
    return "\n".join(filter(None, [raised(node), defused(str(node.meta.get("where") or ""))]))


def _about(info: FunctionInfo, length: int) -> str:
    head = f"{function_name(info.name)}{info.signature if len(info.signature) <= length else '(...)'}"
    doc = f": {_inset(cut(info.doc, length))}" if info.doc else ""
    source = f"\n    {_inset(info.source.strip())}" if info.source and len(info.source) <= min(length, 1500) else ""
    return defused(f"{head}{doc}{source}")


def _inset(text: str) -> str:
    """Further lines are indented, so that none looks like the begin of an entry."""
    return text.replace("\n", "\n    ")
