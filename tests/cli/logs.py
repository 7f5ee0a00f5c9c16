"""Logs of runs that never ran: every event is written as the engine writes it, so that a test can have any run it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from agentopt.cli import app
from agentopt.core.candidate import Candidate, Proposal
from agentopt.core.errors import UserError
from agentopt.core.task import Parameter
from agentopt.engine.replay import encode_candidate
from agentopt.store.layout import LOCK
from agentopt.store.sqlite import SqliteStore

ESC = "\x1b"
CASES = {"train": 2, "validation": 1, "test": 3}


def invoke(*args: object, **options: Any) -> Result:
    """Run the command line as far as the errors that ``main`` turns into one sentence."""
    return CliRunner().invoke(app, [str(arg) for arg in args], **options)


def shown(*args: object) -> str:
    """What a command that must succeed prints on stdout."""
    result = invoke(*args)
    assert result.exit_code == 0, (result.output, result.exception)
    assert ESC not in result.stdout
    return result.stdout


def refused(*args: object, **options: Any) -> str:
    """The one sentence of a command that must end with exit code 2."""
    result = invoke(*args, **options)
    assert isinstance(result.exception, UserError), (result.output, result.exception)
    assert result.exception.exit_code == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


class Log:
    """Writes the log in ``folder``; ``objectives`` maps names to directions."""

    def __init__(
        self,
        folder: Path,
        objectives: Mapping[str, str] | None = None,
        cases: Mapping[str, int] = CASES,
        seed: Mapping[str, Any] | None = None,
        source_files: Mapping[str, str] | None = None,
        source: Path | str | None = None,
        **task: Any,
    ) -> None:
        self.folder, self.cases = folder, dict(cases)
        self.objectives = dict(objectives or {"error": "min"})
        self.seed = dict(seed or {"guess": "def guess(x):\n    return x\n"})
        self.store = SqliteStore.create(folder)
        self.parameters = {name: Parameter(name, "code" if isinstance(v, str) else "config", v) for name, v in self.seed.items()}
        self.tickets = 0
        self.store.append("run_started", self._info(dict(source_files or {}), source, task))

    def _info(self, source_files: dict[str, str], source: Path | str | None, task: Mapping[str, Any]) -> dict[str, Any]:
        parameters = [
            {"name": name, "kind": p.kind, "file": f"{name}.{'py' if p.kind == 'code' else 'json'}", "source_file": source_files.get(name)}
            for name, p in self.parameters.items()
        ]
        described = {
            "name": "toy",
            "goal": "Guess well.\nReally.",
            "objectives": [{"name": name, "direction": direction} for name, direction in self.objectives.items()],
            "parameters": parameters,
            "cases": self.cases,
            "repeats": 1,
            "self_reported": False,
        }
        return {
            "run": str(self.folder),
            "source": str(source) if source else None,
            "task": described | dict(task),
            "seed_values": self.seed,
            "config": {"optimizer": {"name": "steps", "options": {}}, "workers": 1, "rng_seed": 0},
            "budget": {"evals": 30.0, "seconds": 60.0},
            "search": "no model named: searching with steps",
            "sandbox": "L1",
        }

    def propose(self, values: Mapping[str, Any], parents: Sequence[str] = (), key: str = "", **how: Any) -> str:
        """``asked`` and ``proposed``; the id may be given."""
        index = self.tickets - 1
        if index >= 0:
            self.store.append("asked", {"index": index, "seen": self.tickets})
        proposal = Proposal(values, tuple(parents), how.get("optimizer", ""), how.get("operator", "seed"), how.get("rationale", ""))
        candidate = Candidate.of(proposal, self.parameters, how.get("generation", 0))
        data = encode_candidate(candidate, self.store.put)
        data |= {"candidate": key or candidate.id, "index": index, "ticket": self.tickets}
        self.store.append("proposed", data | ({"duplicate": True} if how.get("duplicate") else {}))
        self.tickets += 1
        return key or candidate.id

    def rollout(self, key: str, case: str, split: str, **found: Any) -> None:
        printed = found.pop("printed", None)
        data = {"candidate": key, "case": case, "split": split, "repeat": found.pop("repeat", 0), "rng_seed": 1, "measured": [0.25, 0.2, 9]}
        self.store.append("rollout", data | found | ({"printed": self.store.put(printed)} if printed else {}))

    def score(self, key: str, split: str, scores: Mapping[str, float], **more: Any) -> None:
        """Every rollout of one split, then the event that sums them up."""
        for case in range(self.cases[split]):
            self.rollout(key, f"{split}-{case}", split, scores=dict(scores), **more)
        splits = {split: {"scores": dict(scores), "n": self.cases[split], "spread": dict.fromkeys(scores, 0.0)}}
        data = {"candidate": key, "splits": splits, "sandbox": "L1"}
        kind, stage = ("evaluated", {"stage": "train"}) if split == "train" else ("confirmed", {})
        self.store.append(kind, data | stage)

    def admit(self, key: str, status: str = "admitted", displaced: Sequence[str] = (), gain: float = 0.0) -> None:
        data = {"candidate": key, "ticket": self.tickets - 1, "status": status, "displaced": list(displaced), "gain": gain}
        self.store.append("admitted", data)

    def add(self, values: Mapping[str, Any], scores: Mapping[str, float], parents: Sequence[str] = (), **how: Any) -> str:
        """A candidate that reaches the front: search scores are ``scores``, validation scores twice as large."""
        displaced, more = how.pop("displaced", ()), how.pop("more", {})
        key = self.propose(values, parents, **how)
        self.score(key, "train", scores, **more)
        if "validation" in self.cases:
            self.score(key, "validation", {name: 2 * value for name, value in scores.items()})
        self.admit(key, displaced=displaced)
        return key

    def add_seed(self, scores: Mapping[str, float] | None = None, **how: Any) -> str:
        return self.add(self.seed, scores or dict.fromkeys(self.objectives, 1.0), **how)

    def fail(self, values: Mapping[str, Any], kind: str, message: str, parents: Sequence[str] = (), **how: Any) -> str:
        """A candidate that fails on its first case."""
        key = self.propose(values, parents, **how)
        failure = {"kind": kind, "message": message}
        self.rollout(key, "train-0", "train", failure=failure)
        self.store.append("evaluated", {"candidate": key, "splits": {}, "sandbox": "L1", "failure": failure, "stage": "train"})
        self.admit(key, "failed")
        return key

    def test(self, key: str, values: Sequence[float]) -> None:
        """The test split: one value per case, for every objective."""
        cases = {f"test-{k}": dict.fromkeys(self.objectives, value) for k, value in enumerate(values)}
        for case, scores in cases.items():
            self.rollout(key, case, "test", scores=scores)
        mean = dict.fromkeys(self.objectives, sum(values) / len(values))
        splits = {"test": {"scores": mean, "n": len(values), "spread": dict.fromkeys(self.objectives, 0.0)}}
        self.store.append("evaluated", {"candidate": key, "splits": splits, "sandbox": "L1", "stage": "test", "cases": cases})

    def stop(self, status: str = "budget", why: str = "the budget is spent") -> Path:
        self.store.append("stopped", {"status": status, "why": why, "spent": {}})
        return self.close()

    def close(self) -> Path:
        self.store.close()
        return self.folder

    def kill(self) -> Path:
        """As a process leaves a run that was killed: no ``stopped``, its number still in the lock file."""
        self.store.close()
        (self.folder / LOCK).write_text("12345\n")
        return self.folder


def program(factor: object) -> dict[str, str]:
    return {"guess": f"def guess(x):\n    return {factor} * x\n"}


def finished(folder: Path, **options: Any) -> tuple[Path, str, str]:
    """A run with a seed, a better child and a proven better grandchild: (folder, seed, best)."""
    log = Log(folder, **options)
    rest = {name: value for name, value in log.seed.items() if name != "guess"}
    seed = log.add_seed({"error": 1.0})
    log.fail(program("oops") | rest, "crash", f'Traceback ...\n  File "guess.py", line 2\nNameError: {ESC}[2Joops', [seed])
    child = log.add(program(2) | rest, {"error": 0.5}, [seed], displaced=[seed], optimizer="steps", operator="nudge", generation=1)
    best = log.add(program(3) | rest, {"error": 0.25}, [child], displaced=[child], optimizer="steps", operator="nudge", generation=2)
    log.test(seed, [1.0, 1.1, 1.2])
    log.test(best, [0.3, 0.35, 0.5])
    return log.stop(), seed, best


def last_json(text: str) -> dict[str, Any]:
    return json.loads(text.splitlines()[-1])
