"""The story of one candidate: what ``agentopt why`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agentopt.cli.asked import print_calls
from agentopt.cli.changes import patch, print_patch
from agentopt.cli.reading import RunLog, made_by
from agentopt.cli.terminal import capped, gist, harmless, number, scores_text
from agentopt.core.evaluation import Entry
from agentopt.core.events import Event

__all__ = ["print_story"]

_STEPS_SHOWN = 30
_PRINTED_SHOWN = 5
_PRINTED_LINES = 40


def print_story(log: RunLog, key: str, console: Console, full: bool = False) -> None:
    """Who it is, its lineage, the patch to its parent, what models were asked for it, what happened to it, what failed, what it printed.

    ``full``: what models were asked and said is not cut.
    """
    entry, events = log.entry(key), log.events(key)
    asked = log.asks.get(events[0].data["index"])
    _print_head(log, entry, console)
    _print_lineage(log, _lineage(log, entry), console)
    _print_changes(log, entry, console)
    print_calls(log, events[0].data.get("calls", ()), console, full)
    _title(console, "what happened")
    console.print(_steps([asked, *events] if asked else events))
    _print_cost(events, console)
    if entry.failure:
        _title(console, f"why it failed ({entry.failure.kind})")
        console.print(Text(capped(entry.failure.message, _PRINTED_LINES), style="red"), soft_wrap=True)
    _print_printed(log, events, console)
    _print_artifacts(log, entry, console)


def _title(console: Console, text: str) -> None:
    console.print()
    console.print(text, style="bold", soft_wrap=True)


# --- who -----------------------------------------------------------------------------------------------------------


def _print_head(log: RunLog, entry: Entry, console: Console) -> None:
    state, candidate = log.state, entry.candidate
    roles = [role for role, key in (("the seed", state.seed_id), ("the best", state.best_id)) if key == entry.id]
    roles += ["on the front"] if entry.id in state.front else []
    roles += [f"failed ({entry.failure.kind})"] if entry.failure else []
    roles += ["still being evaluated"] if entry.id in state.open else []
    console.print(Text(f"candidate {harmless(entry.id)}", style="bold") + Text(f"  {', '.join(roles)}", style="not bold"), soft_wrap=True)
    how = made_by({"optimizer": candidate.optimizer, "operator": candidate.operator})
    console.print(harmless(f"made by {how}, generation {candidate.generation}"), soft_wrap=True)
    if candidate.rationale:
        console.print(capped(candidate.rationale, 20), soft_wrap=True)


def _lineage(log: RunLog, entry: Entry) -> list[Entry]:
    """From the candidate up to the first ancestor, along first parents."""
    known, line, seen = set(log.ids), [entry], {entry.id}
    while line[-1].candidate.parents:
        parent = line[-1].candidate.parents[0]
        if parent in seen or parent not in known:
            break
        seen.add(parent)
        line.append(log.entry(parent))
    return line


def _print_lineage(log: RunLog, line: Sequence[Entry], console: Console) -> None:
    if len(line) == 1:
        return
    _title(console, "lineage, youngest first; scores and changes on train")
    table = Table("candidate", "made by", box=None, pad_edge=False, header_style="dim")
    for objective in log.state.ranking:
        table.add_column(objective.name, justify="right")
        table.add_column("change", justify="right")
    table.add_column("other parents")
    parents = [*line[1:], None]
    for place, (entry, parent) in enumerate(zip(line, parents, strict=True)):
        if _STEPS_SHOWN <= place < len(line) - 1:
            if place == _STEPS_SHOWN:
                table.add_row(f"... {len(line) - 1 - _STEPS_SHOWN} more", style="dim")
            continue
        candidate = entry.candidate
        how = made_by({"optimizer": candidate.optimizer, "operator": candidate.operator})
        others = " ".join(other[:8] for other in candidate.parents[1:])
        table.add_row(*(harmless(cell) for cell in (entry.id, how, *_changes(log, entry, parent), others)))
    console.print(table)


def _changes(log: RunLog, entry: Entry, parent: Entry | None) -> Iterator[str]:
    for objective in log.state.ranking:
        score = entry.scores.get(objective.name)
        before = parent.scores.get(objective.name) if parent else None
        yield number(score) if score is not None else entry.failure.kind if entry.failure else "-"
        yield f"{score - before:+.6g}" if score is not None and before is not None else ""


def _print_changes(log: RunLog, entry: Entry, console: Console) -> None:
    parents = entry.candidate.parents
    if not parents or parents[0] not in log.ids:
        return
    parent = log.entry(parents[0])
    _title(console, f"what it changed in its parent {parent.id}")
    print_patch(console, patch(log.files(parent), log.files(entry), parent.id, entry.id))


# --- what happened -------------------------------------------------------------------------------------------------


def _steps(events: Sequence[Event]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for event in events:
        failed = "failure" in event.data
        table.add_row(f"+{event.time - events[0].time:.3f} s", event.kind, Text(_told(event), style="red" if failed else ""))
    return table


def _print_cost(events: Sequence[Event], console: Console) -> None:
    """What its rollouts took together, those of test included."""
    taken = [event.data.get("measured") or (0.0, 0.0) for event in events if event.kind == "rollout"]
    if taken:
        wall, cpu = sum(measured[0] for measured in taken), sum(measured[1] for measured in taken)
        console.print(f"{len(taken)} rollout{'' if len(taken) == 1 else 's'}, {wall:.3f} s, {cpu:.3f} s of CPU", style="dim")


def _told(event: Event) -> str:
    """One event in words; a kind that this page has no words for is named without them."""
    words = {"asked": _say_asked, "proposed": _say_proposed, "rollout": _say_rollout, "admitted": _say_admitted}
    words |= {"evaluated": _say_evaluated, "confirmed": _say_evaluated}
    return harmless(words[event.kind](event.data)) if event.kind in words else ""


def _say_asked(data: Mapping[str, Any]) -> str:
    return f"ask {data['index']}, after {data['seen']} results"


def _say_proposed(data: Mapping[str, Any]) -> str:
    parents = f" from {', '.join(parent[:8] for parent in data['parents'])}" if data["parents"] else ""
    again = "once more, a duplicate that cost nothing: " if data.get("duplicate") else ""
    return f"{again}by {made_by(data)}{parents}" + (f": {gist(data['rationale'])}" if data["rationale"] else "")


def _say_rollout(data: Mapping[str, Any]) -> str:
    repeat = f" repeat {data['repeat']}" if data["repeat"] else ""
    repeat += f" for the duel with {data['for'][:8]}" if data.get("for", data["candidate"]) != data["candidate"] else ""
    seconds = f"  {data['measured'][0]:.3f} s" if data.get("measured") else ""
    feedback = f"  {gist(data['feedback'])}" if data.get("feedback") else ""
    return f"{data['split']} {data['case']}{repeat}: {_outcome(data)}{seconds}{feedback}"


def _outcome(data: Mapping[str, Any]) -> str:
    if "failure" in data:
        return f"{data['failure']['kind']}: {gist(data['failure']['message'])}"
    return scores_text(data.get("scores", {})) or "no score"


def _say_evaluated(data: Mapping[str, Any]) -> str:
    if "failure" in data:
        return f"failed on {data['stage']}: {_outcome(data)}" if "stage" in data else f"failed: {_outcome(data)}"
    splits = [f"{split} {scores_text(found['scores'])} (n {found['n']})" for split, found in data["splits"].items()]
    return "; ".join([*splits, *_say_why_so(data)]) or "no scores"


def _say_why_so(data: Mapping[str, Any]) -> Iterator[str]:
    """What was saved on an evaluation, and what a duel came to."""
    short = data.get("provisional", {})
    if "same_as" in data:
        yield f"the same outputs as {data['same_as']}: {data['saved']} rollouts saved"
    elif "against" in data:
        yield f"an estimate, paired with {data['against'][:8]}"
    if short and short["rule"] in ("raced", "bound"):
        where = "behind" if short["rule"] == "raced" else "out of reach"
        yield f"{where} after {short['done']} of {short['of']} rollouts: not evaluated further"
    if duel := data.get("duel"):
        sure = f"chance {number(duel['chance'])}, level {number(duel['level'])}"
        verdict = f"duel with {duel['against'][:8]} {'won' if duel['kept'] else 'lost'}"
        yield f"{verdict}: lead {number(duel['lead'])} on {duel['pairs']} fresh pairs, {sure}"
    if "for" in data:
        yield f"scored again in the duel with {data['for'][:8]}"


def _say_admitted(data: Mapping[str, Any]) -> str:
    gain = f", hypervolume +{number(data['gain'])}" if data.get("gain") else ""
    gone = data.get("displaced", ())
    displaced = f", displaced {', '.join(key[:8] for key in gone)}" if gone else ""
    rule = data.get("provisional", {}).get("rule")
    kept_off = {"raced": "the race was lost", "bound": "out of reach", "lead": "its lead may be chance", "duel": "the duel was lost"}
    return f"{data['status']}{gain}{displaced}" + (f", off the front: {kept_off[rule]}" if rule else "")


# --- what it printed -----------------------------------------------------------------------------------------------


def _print_printed(log: RunLog, events: Sequence[Event], console: Console) -> None:
    """Each different output once, with the cases it came on."""
    cases: dict[str, list[str]] = {}
    for event in events:
        if event.kind == "rollout" and event.data.get("printed"):
            cases.setdefault(event.data["printed"], []).append(event.data["case"])
    for digest, names in list(cases.items())[:_PRINTED_SHOWN]:
        where = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        _title(console, harmless(f"printed on {where}"))
        text = log.store.get(digest).decode("utf-8", "backslashreplace")
        console.print(Text(capped(text.rstrip("\n"), _PRINTED_LINES)), soft_wrap=True)
    if len(cases) > _PRINTED_SHOWN:
        console.print(f"... and {len(cases) - _PRINTED_SHOWN} more outputs", style="dim")


def _print_artifacts(log: RunLog, entry: Entry, console: Console) -> None:
    rollouts = entry.evaluation.rollouts if entry.evaluation else ()
    names = [f"{rollout.case}: {', '.join(rollout.artifacts)}" for rollout in rollouts if rollout.artifacts]
    if names:
        _title(console, harmless(f"artifacts: agentopt export {log.folder} --candidate {entry.id} --artifacts FOLDER"))
        console.print(Text(capped("\n".join(names), _PRINTED_LINES)), soft_wrap=True)
