"""The first look at a run: what ``agentopt show`` draws."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from agentopt.cli.arms import arms_table
from agentopt.cli.drawing import bars, step_curve
from agentopt.cli.reading import RunLog, Standing, made_by
from agentopt.cli.terminal import gist, harmless, number, print_parts
from agentopt.cli.trace_tree import trace_tree
from agentopt.cli.traces import saved_trace, traced_rollouts
from agentopt.core.errors import StoreError
from agentopt.core.fold import Member
from agentopt.core.selection import rank_key
from agentopt.core.task import Objective
from agentopt.results import compare_on_test, describe
from agentopt.sandbox.levels import brief
from agentopt.store.layout import BEST
from agentopt.trace.picture import draw, summary

__all__ = ["print_overview"]

_FRONT_SHOWN = 20
_CURVE_SIZE = (88, 10)
_BAR = 30
_STEPS_SHOWN = 8
_COLOURS = {"running": "cyan", "budget": "green", "target": "green", "exhausted": "green", "failed": "red"}


def print_overview(log: RunLog, console: Console) -> None:
    """Everything, most important first; works on a run at any point of its life."""
    standing = log.standing()
    console.print(_head(log, standing))
    for part in (
        _scores(log),
        _curve(log, console),
        _front(log),
        _arms(log),
        _failures(log, console),
        _trace(log, console),
        _next(log, standing),
    ):
        rows = list(part)
        if rows:
            console.print()
        print_parts(console, rows)


# --- head ----------------------------------------------------------------------------------------------------------


def _head(log: RunLog, standing: Standing) -> Table:
    state, task = log.state, log.task
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("run", Text(harmless(str(log.folder)), style="bold"))
    word = Text(standing.word, style=f"bold {_COLOURS.get(standing.word, 'yellow')}")
    age = f"; last event {_ago(time.time() - state.last_time)}" if standing.word in ("running", "cut off") else ""
    table.add_row("status", word + Text(f": {harmless(standing.why)}{age}", style="not bold default"))
    goal = gist(task.get("goal", ""))
    table.add_row("task", harmless(task["name"]) + (f": {goal}" if goal else ""))
    table.add_row("search", _search(log))
    table.add_row("cases", _cases(log))
    sandbox = brief(str(state.info.get("sandbox", "-")))
    table.add_row("sandbox", f"{sandbox} (no walls)" if sandbox in ("L0", "inline") else harmless(sandbox))
    if task.get("self_reported"):
        table.add_row("scores", Text("self-reported: the candidates computed them themselves and may have forged them", style="yellow"))
    for text in state.warnings:
        table.add_row("warning", Text(harmless(text), style="yellow"))
    table.add_row("spent", _spent(log))
    if saved := _saved(log):
        table.add_row("saved", saved)
    return table


def _search(log: RunLog) -> str:
    config = log.state.info.get("config", {})
    workers = config.get("workers")
    parts = [str(log.state.info.get("search", "")), f"{workers} worker{'' if workers == 1 else 's'}" if workers else ""]
    parts.append(f"rng_seed {config['rng_seed']}" if "rng_seed" in config else "")
    return harmless("; ".join(part for part in parts if part)) or "-"


def _cases(log: RunLog) -> str:
    sizes = ", ".join(f"{split} {size}" for split, size in log.cases.items()) or "-"
    repeats = log.task.get("repeats", 1)
    return sizes + (f", {repeats} repeats" if repeats > 1 else "") + ("" if "test" in log.cases else "; no held-out split")


def _spent(log: RunLog) -> str:
    limits, parts = log.state.limits, list[str]()
    for unit, amount in log.state.spent.items():
        text = f"{amount:.1f}" if unit == "seconds" else f"{amount:.15g}"
        most = " at most" if unit in ("tokens", "usd") and log.state.calls.bounded else ""
        parts.append(f"{text} of {limits[unit]:g} {unit}{most}" if unit in limits else f"{text} {unit}{most}")
    duplicates, free = log.state.duplicates, "" if log.state.saved["duplicates"] else " for free"
    return ", ".join(parts) + (f"; {duplicates} duplicate{'' if duplicates == 1 else 's'}{free}" if duplicates else "")


_RULES = {
    "raced": "behind in the race",
    "bound": "out of reach",
    "lead": "no lead worth a duel",
    "duel": "lost a duel",
    "duplicates": "same outputs",
}


def _saved(log: RunLog) -> str:
    """Rollouts that were not needed, and what duels took; empty for a run that evaluates everything fully."""
    state, parts = log.state, list[str]()
    if total := state.saved.total():
        rules = ", ".join(f"{_RULES[rule]} {count}" for rule, count in state.saved.most_common())
        parts.append(f"{total} of {total + state.rollouts} rollouts ({rules})")
    if held := state.duels["held"]:
        parts.append(f"{state.duels['won']} of {held} duels won, {state.duels['rollouts']} rollouts")
    return "; ".join(parts)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


# --- seed against best ---------------------------------------------------------------------------------------------


def _scores(log: RunLog) -> Iterator[Table | Text]:
    state = log.state
    first, best_one = state.seed, state.best
    if first is None or best_one is None:
        yield Text("the seed is not scored yet" if not state.failures else "the seed did not score", style="yellow")
        return
    is_seed = state.best_id == state.seed_id
    table = Table("objective", "split", box=None, pad_edge=False, header_style="dim")
    for title in ("seed",) if is_seed else ("seed", "best", "best - seed"):
        table.add_column(title, justify="right")
    for objective in state.ranking:
        for row, (split, seed, best) in enumerate(_by_split(log, first, best_one, objective.name)):
            name = f"{objective.name} ({objective.direction})" if row == 0 else ""
            cells = [_score(seed)] if is_seed else [_score(seed), _score(best), _change(objective, seed, best)]
            table.add_row(name, split, *cells)
    yield table
    yield from _proof(log)


def _by_split(log: RunLog, seed: Member, best: Member, name: str) -> Iterator[tuple[str, float | None, float | None]]:
    yield "train", seed.scores.get(name), best.scores.get(name)
    if "validation" in log.cases:
        yield "validation", seed.confirmed.get(name), best.confirmed.get(name)
    if "test" in log.cases and log.state.test:
        yield "test", log.test_scores(seed.id).get(name), log.test_scores(best.id).get(name)


def _score(value: float | None) -> str:
    return "-" if value is None else number(value)


def _change(objective: Objective, seed: float | None, best: float | None) -> Text:
    if seed is None or best is None:
        return Text("-")
    style = "" if seed == best else "green" if objective.better(best, seed) else "red"
    return Text(f"{best - seed:+.6g}", style=style)


def _proof(log: RunLog) -> Iterator[Text]:
    """What the test split says of the best, or why it says nothing."""
    state = log.state
    if state.best_id == state.seed_id:
        yield Text("the best is the seed: nothing better was found" + ("" if state.status != "running" else " so far"), style="yellow")
        return
    comparisons = compare_on_test(state)
    for comparison in comparisons:
        yield Text(describe(comparison), style="green" if comparison.proven else "yellow")
    if comparisons:
        return
    failed = [state.test[key]["failure"] for key in (state.seed_id, state.best_id) if "failure" in state.test.get(key, {})]
    if "test" not in log.cases:
        yield Text("no held-out split: these are scores that the search has seen", style="yellow")
    elif failed:
        yield Text(f"on test a candidate failed ({failed[0]['kind']}): {gist(failed[0]['message'])}", style="red")
    elif state.best_id in state.test:
        yield Text("one test case alone gives no interval: not proven", style="yellow")
    else:
        cut = [note["text"] for note in log.notes if note["kind"] == "test_cut"]
        yield Text(harmless(cut[-1]) if cut else "the test split is scored at the end of the run", style="yellow")


# --- the way there -------------------------------------------------------------------------------------------------


def _curve(log: RunLog, console: Console) -> Iterator[Text]:
    state = log.state
    if len(state.curve) < 2:
        return
    objective = state.ranking[0]
    points = [(float(point.evals), point.scores[objective.name]) for point in state.curve]
    columns = min(console.width, _CURVE_SIZE[0])
    split = "validation" if "validation" in log.cases else "train"
    yield Text(f"best so far by {objective.name} ({objective.direction}, {split})", style="dim")
    lines = step_curve(points, float(state.evals), (columns, _CURVE_SIZE[1]), "evaluations", console.options.ascii_only)
    yield from (Text(line) for line in lines)


def _front(log: RunLog) -> Iterator[Table | Text]:
    state = log.state
    members = sorted(state.front.values(), key=lambda member: rank_key(member.confirmed, state.ranking))
    if not members:
        return
    shown, first = members[:_FRONT_SHOWN], state.ranking[0].name
    count = f"the front: {len(members)} candidate{'' if len(members) == 1 else 's'}"
    yield Text(count + (f", the {len(shown)} best by {first}" if len(shown) < len(members) else ""), style="dim")
    table = Table("candidate", "generation", box=None, pad_edge=False, header_style="dim")
    table.columns[1].justify = "right"
    for objective in state.ranking:
        table.add_column(objective.name, justify="right")
    table.add_column("made by")
    table.add_column("parents")
    table.add_column("")
    for member in shown:
        data = log.born(member.id)
        scores = [number(member.confirmed[objective.name]) for objective in state.ranking]
        parents = " ".join(parent[:8] for parent in data.get("parents", ()))
        role = " ".join(_roles(log, member.id))
        style = "bold" if member.id == state.best_id else ""
        row = [member.id, str(member.generation), *scores, made_by(data), parents, role]
        table.add_row(*(harmless(cell) for cell in row), style=style)
    yield table


def _roles(log: RunLog, key: str) -> Sequence[str]:
    named: Mapping[str, str] = {"best": log.state.best_id, "seed": log.state.seed_id}
    return [role for role, holder in named.items() if holder == key]


def _arms(log: RunLog) -> Iterator[Table | Text]:
    if table := arms_table(log.state.arms.to_json()):
        yield Text(harmless(f"what each arm took and brought, gains in {log.state.ranking[0].name}"), style="dim")
        yield table


def _failures(log: RunLog, console: Console) -> Iterator[Text]:
    counts = dict(log.state.failures.most_common())
    if counts:
        yield Text(f"failed: {sum(counts.values())} of {log.state.evals} candidates", style="dim")
        yield from (Text(line, style="red") for line in bars(counts, _BAR, console.options.ascii_only))


def _trace(log: RunLog, console: Console) -> Iterator[Text | Tree]:
    """What the best did on the first case of which there is a trace."""
    key = log.state.best_id
    for rollout in traced_rollouts(log, key)[:1] if key else ():
        try:
            graph = saved_trace(log, key, rollout)
        except StoreError as error:
            yield Text(harmless(str(error)), style="yellow")
            return
        yield Text(f"what the best did on {harmless(rollout.case)}: {summary(graph)}", style="dim")
        yield trace_tree(draw(graph, _STEPS_SHOWN), console)


# --- what to do next -----------------------------------------------------------------------------------------------


_IN_A_PROGRAM = ("pipeline", "interactive")
"""Executors of what only the user's own program can call."""


def _next(log: RunLog, standing: Standing) -> Iterator[Text]:
    """Lines that are never broken, so that they can be pasted."""
    folder, state = quote(str(log.folder)), log.state
    inside = state.info.get("config", {}).get("executor") in _IN_A_PROGRAM
    rows: dict[str, str] = {}
    if (log.folder / BEST).is_dir():
        rows["best candidate"] = str(log.folder / BEST)
    if standing.can_go_on:
        rows["go on"] = "start your program again" if inside else f"agentopt resume {folder}"
    elif state.finished:
        more = "start your program again with a larger budget"
        rows["search longer"] = more if inside else f"agentopt resume {folder} --budget +500evals"
    if state.best_id and state.best_id != state.seed_id:
        rows["what changed"] = f"agentopt diff {folder} seed best"
        rows["how it came about"] = f"agentopt why {folder} best"
        rows["take it over"] = f"agentopt export {folder} best" if inside else f"agentopt apply {folder}"
    if state.best_id and traced_rollouts(log, state.best_id):
        rows["look at its trace"] = f"agentopt trace show {folder}"
    for title, text in rows.items():
        yield Text(f"{title:<19}", style="dim") + Text(harmless(text), style="not dim")
