"""Scoring a candidate outside of a run, and looking a task over before one."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from agentopt.assembly import Job, adjust, file_name
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import ConfigError
from agentopt.core.evaluation import Failure, Rollout
from agentopt.core.protocols import Executor
from agentopt.core.rng import rollout_seed
from agentopt.core.task import Case, Task, Values
from agentopt.loading import make_cases
from agentopt.sandbox.canary import MARKER
from agentopt.sandbox.levels import PROVIDES, brief, level_of
from agentopt.settings import RunConfig, validate

__all__ = ["Finding", "Scored", "check_task", "read_candidate", "score_candidate"]


@dataclass(frozen=True)
class Scored:
    """A candidate's rollouts on one split and what they add up to."""

    split: str
    rollouts: tuple[Rollout, ...]
    scores: Mapping[str, float]
    failure: Failure | None
    sandbox: str

    self_reported: bool = False

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {"split": self.split, "scores": dict(self.scores), "sandbox": self.sandbox}
        data["self_reported"] = self.self_reported
        data["cases"] = {rollout.case: dict(rollout.scores) for rollout in self.rollouts}
        return data | {"failure": self.failure.to_json() if self.failure else None}


@dataclass(frozen=True)
class Finding:
    """One line of ``check``: ``ok``, ``note`` or ``wrong``."""

    verdict: str
    what: str
    detail: str = field(default="")


def read_candidate(task: Task, path: Path) -> Values:
    """The values in a file (for the one trainable parameter) or in a folder written like ``best/``. Raises ConfigError."""
    values = dict(task.seed_values)
    trainable = [parameter for parameter in task.resolved.values() if parameter.trainable]
    if path.is_dir():
        files = {parameter.name: path / file_name(parameter) for parameter in task.resolved.values()}
    elif len(trainable) == 1:
        files = {trainable[0].name: path}
    else:
        wanted = ", ".join(file_name(parameter) for parameter in trainable)
        raise ConfigError(f"{path}: the task has {len(trainable)} trainable parameters; give a folder with {wanted}")
    for name, file in files.items():
        try:
            text = file.read_text(encoding="utf-8")
            values[name] = text if isinstance(values[name], str) else json.loads(text)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: cannot be read as the parameter {name!r}: {error}") from None
    return values


def score_candidate(task: Task, values: Values, split: str | None = None, **walls: Any) -> Scored:
    """Score one candidate on one split in the sandbox a run would use. Any but the task's own seed is taken for a stranger's.

    ``walls`` are the settings ``sandbox``, ``unsafe``, ``allow_weak_sandbox`` and ``box``; the default split is test if there is one.
    Raises ConfigError for a split the task lacks, ConsentError where the walls are weak for a stranger.
    """
    config = validate({"workers": 1, **walls})
    task = adjust(task, config)
    job = Job.of(task, config, strangers=values != task.seed_values)
    split = split or ("test" if "test" in job.cases else "train")
    if split not in job.cases:
        raise ConfigError(f"--split {split}: the task has no such split; it has {', '.join(job.cases)}")
    return asyncio.run(_score(job, values, split))


async def _score(job: Job, values: Values, split: str) -> Scored:
    executor = job.executor(lambda data: "")
    try:
        rollouts = await _rollouts(executor, job, values, job.schedule.missing(split, ()))
    finally:
        await executor.close()
    evaluation = job.schedule.conclude("", rollouts, executor.sandbox)
    found = evaluation.splits.get(split)
    return Scored(split, tuple(rollouts), found.scores if found else {}, evaluation.failure, executor.sandbox, job.task.self_reported)


async def _rollouts(executor: Executor, job: Job, values: Values, jobs: Sequence[tuple[str, int]]) -> list[Rollout]:
    candidate = Candidate.of(Proposal(values), job.card.parameters)
    session = await executor.open(candidate)
    try:
        return [await session.rollout(case, repeat, rollout_seed(job.config.rng_seed, case, repeat)) for case, repeat in jobs]
    finally:
        await session.close()


# --- check ---------------------------------------------------------------------------------------------------------


def check_task(task: Task, python: str | None = None) -> list[Finding]:
    """The seed scored three times, the order of cases shuffled, canaries planted; what is wrong comes first.

    ``python`` is the setting ``box.python``.
    """
    task = adjust(task, validate({"box": {"python": python}}))
    findings = [*_look(task), *asyncio.run(_try(task))]
    return sorted(findings, key=lambda finding: ("wrong", "note", "ok").index(finding.verdict))


def _look(task: Task) -> list[Finding]:
    cases = make_cases(task)
    sizes = ", ".join(f"{split} {len(members)}" for split, members in cases.items())
    found = [Finding("ok", "cases", sizes)]
    if not task.goal:
        found.append(Finding("note", "no goal", "one sentence in Task(goal=...) tells an optimizer what matters"))
    if "test" not in cases:
        found.append(Finding("note", "no held-out split", "improvement cannot be proven on cases the search has not seen"))
    elif len(cases["test"]) < 5:
        found.append(Finding("note", f"only {len(cases['test'])} test cases", "an interval needs more to exclude zero"))
    if task.self_reported:
        found.append(Finding("note", "self-reported", "the judge runs beside the candidate, which can forge it; prefer run and score"))
    found += [Finding("note", "loaded", text) for text in task.notes]
    timed = [objective.name for objective in task.objectives if objective.source == "outside" and objective.quantity == "cpu"]
    if task.command and timed and "no_processes" not in task.needs:
        detail = "what a program's children use is not always counted; add needs=['no_processes'], or take quantity='wall'"
        found.append(Finding("note", f"CPU seconds ({timed[0]}) can be hidden", detail))
    return found


async def _try(task: Task) -> list[Finding]:
    job = Job.of(task, RunConfig(workers=1))
    executor = job.executor(lambda data: "")
    train = job.schedule.missing("train", ())
    passes: list[list[Rollout]] = []
    try:
        begun = time.monotonic()
        for _ in range(3):
            passes.append(await _rollouts(executor, job, task.seed_values, train))
        seconds = (time.monotonic() - begun) / 3
        if task.command:
            alone = Finding("ok", "every run is a program of its own", "nothing lasts between cases; its box holds one input, no secrets")
            return [*_seed_findings(job, passes, seconds, executor.sandbox), alone]
        shuffled = list(train)
        Random(0).shuffle(shuffled)
        other = await _rollouts(executor, job, task.seed_values, shuffled)
    finally:
        await executor.close()
    return [*_seed_findings(job, passes, seconds, executor.sandbox), *_order_findings(passes[0], other), *await _canary_findings(task)]


def _seed_findings(job: Job, passes: Sequence[Sequence[Rollout]], seconds: float, sandbox: str) -> list[Finding]:
    evaluations = [job.schedule.conclude("seed", rollouts, sandbox) for rollouts in passes]
    failure = next((evaluation.failure for evaluation in evaluations if evaluation.failure), None)
    if failure:
        return [Finding("wrong", f"the seed fails ({failure.kind})", failure.message)]
    found = [Finding("ok", f"the seed takes {seconds:.3f} s per candidate", f"sandbox {brief(sandbox)}")]
    slowest = max(rollout.measured.wall for rollouts in passes for rollout in rollouts)
    if slowest > job.task.limits.seconds / 2:
        limit = f"the limit is {job.task.limits.seconds:g} s; slower candidates will time out"
        found.append(Finding("note", f"a rollout took {slowest:.2f} s", limit))
    for objective in job.task.objectives:
        values = [evaluation.splits["train"].scores[objective.name] for evaluation in evaluations]
        noise = max(values) - min(values)
        verdict = "note" if noise and objective.source == "scorer" else "ok"
        detail = f"three scores of the seed differ by {noise:.3g}" if noise else "three scores of the seed agree"
        found.append(Finding(verdict, f"{objective.name} = {values[0]:.6g}", detail + ("; raise repeats" if verdict == "note" else "")))
    return found


def _order_findings(straight: Sequence[Rollout], shuffled: Sequence[Rollout]) -> list[Finding]:
    before = {rollout.key: rollout.scores for rollout in straight}
    changed = [rollout.case for rollout in shuffled if rollout.scores != before[rollout.key]]
    if not changed:
        return [Finding("ok", "the order of cases does not matter")]
    detail = f"case {changed[0]!r} scores differently; state leaks between cases, set fresh_per_case=True"
    return [Finding("note", "the order of cases matters", detail)]


# --- canaries


def _no_score(case: Case, output: Any, measured: Any) -> dict[str, float]:
    return {}


@contextmanager
def _planted(task: Task) -> Generator[tuple[Task, dict[str, str]], None, None]:
    """The task with canaries in it, and where each of them lies: answers, another case, a file beside the task, the environment."""
    train = make_cases(task)["train"]
    answer, other, other_answer, file, key = (MARKER + secrets.token_hex(16) for _ in range(5))
    cases = {"train": [replace(train[0], expected=[answer, train[0].expected]), Case(_OTHER, [other], other_answer)]}
    lies = {answer: "the answer of a case", other: "the input of another case", other_answer: "the answer of another case"}
    beside = _write_beside(task, file)
    if beside is not None:
        lies[file] = "a file beside the task"
    name = "AGENTOPT_CHECK"
    os.environ[name] = key
    lies[key] = "the environment of this process"
    try:
        yield replace(task, cases=cases, needs=(), functions=dict(task.functions)), lies
    finally:
        del os.environ[name]
        if beside is not None:
            beside.unlink()


_OTHER = "agentopt-check"


def _write_beside(task: Task, text: str) -> Path | None:
    """None where there is no folder, or none to write to."""
    if task.folder is None:
        return None
    path = task.folder / f".agentopt-check-{os.getpid()}"
    try:
        path.write_text(text)
    except OSError:
        return None
    return path


async def _canary_findings(task: Task) -> list[Finding]:
    """Nothing that was planted may be found in a box, also not after another one was served by the same guard."""
    if not (task.has_code or task.self_reported):
        return [Finding("ok", "no code runs in a box", "canaries are for tasks with code parameters")]
    with _planted(task) as (probe, lies):
        first = next(iter(make_cases(probe)["train"])).id
        own = task.functions.get("run") or task.functions.get("evaluate")
        places = [str(folder) for folder in (task.folder, Path(tempfile.gettempdir())) if folder is not None]
        probe.functions = {"run": _searching(own, "evaluate" in task.functions, places, os.getpid()), "score": _no_score}
        job = Job.of(probe, RunConfig(workers=1))
        executor = job.executor(lambda data: "")
        try:
            await _rollouts(executor, job, task.seed_values, [(_OTHER, 0)])
            rollouts = await _rollouts(executor, job, task.seed_values, [(first, 0)])
        finally:
            await executor.close()
    return [_conclude(rollouts[0].failure, lies, executor.sandbox)]


def _conclude(failure: Failure | None, lies: Mapping[str, str], sandbox: str) -> Finding:
    try:
        canaries, searched = json.loads(failure.message.partition("RuntimeError: ")[2] if failure else "")
    except ValueError:
        why = f"{failure.kind}: {failure.message}" if failure else "it gave no answer"
        return Finding("note", "the search for canaries could not work", why)
    level = level_of(sandbox)
    searched = f"searched at level {level}: {searched}"
    if not canaries:
        planted = f"canaries lay in {', '.join(lies.values())}, and so in the memory of the scorer"
        return Finding("ok", "no canary was found from inside a box", f"{searched}; {planted}")
    told = "; ".join(f"{lies.get(canary, canary)} {where}" for canary, where in canaries)
    inside = any(where in ("in memory", "in the environment") for _, where in canaries)
    if inside or "no_files" in PROVIDES[level]:
        return Finding("wrong", "the box can reach a canary", f"{told}; {searched}")
    return Finding("note", f"level {level} does not hide your files and processes from a box", f"{told}; {searched}")


def _searching(own: Any, evaluates: bool, places: list[str], controller: int) -> Any:
    """A run function that lets the task's own run work, then searches the box and says what it found as an error."""
    other = _OTHER

    def run(program: Any, input: Any) -> Any:
        from contextlib import suppress

        from agentopt.sandbox import canary

        with suppress(Exception):  # only what it leaves in memory matters here
            if own is not None:
                own(program) if evaluates else own(program, input)
        if repr(input).startswith(f"['{canary.MARKER}"):
            return other  # the box before the one that searches
        raise RuntimeError(json.dumps(canary.search(places, canary.relatives(controller))))

    return run
