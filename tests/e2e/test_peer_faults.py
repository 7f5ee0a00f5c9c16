"""Faults that end, ruin or fool other frameworks' runs: what a candidate, a model or a kill does here, end to end.

The first run of this file asks a model server that answers with hostile programs among honest ones. Each fault is a row about its log.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import agentopt
from agentopt.core.errors import RunFailed
from agentopt.core.events import Event, canonical
from agentopt.store.layout import is_run_folder
from agentopt.store.sqlite import SqliteStore
from agentopt.testing.fake_llm import FakeLLM, Received, Script, Step
from tests.toys import TASK_FILE, write_task
from tests.untraced import untraced

ROOT = Path(__file__).parents[2]
_PR_SET_CHILD_SUBREAPER = 36
FLAGS = ("--optimizer", "reevo", "--model", "openai:m", "--workers", "1", "--rng-seed", "1", "--json")
LIMITS = ("--set", "limits.seconds=1", "--set", "limits.memory_mb=512")


@pytest.fixture(scope="module", autouse=True)
def orphans_come_to_us() -> Iterator[None]:
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def left_running(seconds: float = 3.0) -> list[str]:
    """What is still alive of all that our commands started, once it has had time to end."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        children = psutil.Process().children(recursive=True)
        if not children or time.monotonic() > until:
            return [str(child) for child in children]
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")


def process(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = untraced() | {"PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-none", "COLUMNS": "200"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([sys.executable, "-m", "agentopt", *arguments], cwd=folder, env=environment, **pipes)


def call(folder: Path, *arguments: str) -> tuple[int, str, str]:
    running = process(folder, *arguments)
    out, err = running.communicate(timeout=120)
    return running.returncode, out, err


def events(folder: Path) -> list[Event]:
    with SqliteStore.open(folder, read_only=True) as store:
        return list(store.read())


def values(folder: Path, event: Event) -> str:
    with SqliteStore.open(folder, read_only=True) as store:
        return json.loads(store.get(event.data["values"]))["f"]


def reply(program: str) -> Step:
    return Step(f"Here it is.\n```python\n{program}```\n")


def honest(slope: float) -> str:
    """It uses what the hostile ones patch."""
    return f"def f(x):\n    return sum([{slope} * x])\n"


def error(slope: float) -> float:
    """Its score: all points lie on a line of slope 3."""
    return sum(abs(slope - 3) * (0.5 * k + 0.1 + 1.0) for k in range(3)) / 3


LOOP = "def f(x):\n    while True:\n        pass\n"
ALLOCATE = "def f(x):\n    return len(bytearray(4 << 30)) * x\n"
EXIT = "import os\ndef f(x):\n    os._exit(0)\n"
WRITE = """\
def f(x):
    refused = None
    for path in {paths!r}:
        try:
            open(path, "w").write("was here")
        except OSError as error:
            refused = error
    if refused:
        raise refused
    return 3.0 * x
"""
PATCH = """\
import builtins, gc, sys, types
def f(x):
    answer = 2.5 * x
    forged = lambda *given, **named: {"error": -1e9}
    for module in list(sys.modules.values()):
        for name in ("score", "evaluate", "judge", "score_one"):
            if hasattr(module, name):
                setattr(module, name, forged)
    for found in gc.get_objects():
        if isinstance(found, types.FunctionType) and found.__name__ in ("score", "judge", "rollout"):
            found.__code__ = forged.__code__
    builtins.sum = lambda *given: -1e9
    builtins.abs = lambda given: -1e9
    return answer
"""
FORGE = """\
import json, os
def f(x):
    for folder in (".", {run!r}):
        for name, forged in (("metrics.json", {{"combined_score": 1e6, "error": -1e6}}), ("correct.json", {{"correct": True}})):
            try:
                json.dump(forged, open(os.path.join(folder, name), "w"))
            except OSError:
                pass
    print(json.dumps({{"error": -1e6, "scores": {{"error": -1e6}}}}), flush=True)
    {end}
"""


@dataclass
class Ran:
    folder: Path
    task: Path
    programs: dict[str, str]
    slopes: dict[str, float]
    code: int
    out: str
    err: str
    alive: list[str]
    asked: int
    said: dict[str, dict[str, Any]]
    """By name of the program: the train row of its candidate, with the highest peak of its rollouts."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("faults")
    task = write_task(folder / "line")
    run = str(folder / "run")
    outside = [str(folder / "outside"), str(folder / "line" / "marker"), f"{run}/marker", "/marker-of-a-candidate"]
    hostile = {
        "infinite loop": LOOP,
        "4 GB": ALLOCATE,
        "os._exit(0)": EXIT,
        "write outside": WRITE.format(paths=outside),
        "tamper with the judge": PATCH,
        "tamper with the task": WRITE.format(paths=[str(task)]),
        "metrics, then exit": FORGE.format(run=run, end="os._exit(0)"),
        "metrics, then answer": FORGE.format(run=run, end="return 2.25 * x"),
    }
    slopes = {f"honest {k}": 1.0 + k / 16 for k in range(len(hostile) + 1)}
    programs: dict[str, str] = {"honest 0": honest(slopes["honest 0"])}
    for k, (name, source) in enumerate(hostile.items(), 1):
        programs |= {name: source, f"honest {k}": honest(slopes[f"honest {k}"])}
    flags = ("--budget", f"{len(programs) + 1}evals", "--set", "optimizer.options.init_pop_size=99", "--out", "run")
    with FakeLLM([reply(source) for source in programs.values()]) as server:
        code, out, err = call(folder, "evolve", str(task), *FLAGS, *LIMITS, *flags, "--base-url", server.url)
        asked = len(server.requests)
    names = {source.strip(): name for name, source in programs.items()}
    said: dict[str, dict[str, Any]] = {}
    by_id: dict[str, dict[str, Any]] = {}
    for event in events(folder / "run"):
        if event.kind == "proposed":
            name = names.get(values(folder / "run", event).strip(), "seed")
            said[name] = by_id[event.data["candidate"]] = {"peak": 0}
        elif event.kind == "rollout":
            row = by_id[event.data["candidate"]]
            row["peak"] = max(row["peak"], event.data["measured"][2])
        elif event.kind == "evaluated" and event.data["stage"] == "train":
            by_id[event.data["candidate"]] |= {key: event.data.get(key) for key in ("splits", "failure")}
    return Ran(folder, task, programs, slopes, code, out, err, left_running(), asked, said)


# --- candidates


def test_the_run_goes_on_to_its_budget(ran: Ran):
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out.splitlines()[-1])
    assert summary["status"] == "budget"
    assert summary["spent"]["evals"] == len(ran.programs) + 1
    assert ran.asked == summary["spent"]["calls"] == len(ran.programs), "a reply for each candidate"
    assert summary["failures"] == {"timeout": 1, "memory": 1, "crash": 4}
    assert ran.alive == []


def test_the_others_score_as_if_there_were_no_fault(ran: Ran):
    for name, slope in ran.slopes.items():
        assert ran.said[name]["failure"] is None, name
        assert ran.said[name]["splits"]["train"]["scores"]["error"] == pytest.approx(error(slope), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("infinite loop", "timeout", r"^.*\b1(\.0)? ?s.*$"),
        ("4 GB", "memory", r"memory limit was reached"),
        ("os._exit(0)", "crash", r"ended|exit"),
        ("write outside", "crash", r"PermissionError"),
        ("tamper with the task", "crash", r"PermissionError"),
        ("metrics, then exit", "crash", r"ended|exit"),
    ],
)
def test_a_fault_is_a_failure_with_a_reason(ran: Ran, name: str, kind: str, reason: str):
    failure = ran.said[name]["failure"]
    assert failure["kind"] == kind
    assert re.search(reason, failure["message"]), failure["message"]
    assert not ran.said[name]["splits"]


def test_what_is_over_the_limit_is_never_had(ran: Ran):
    assert all(row["peak"] < 600 << 20 for row in ran.said.values())


def test_nothing_is_written_outside(ran: Ran):
    assert not Path("/marker-of-a-candidate").exists()
    found = [path for path in ran.folder.rglob("*") if path.name in ("outside", "marker", "metrics.json", "correct.json")]
    assert found == []
    assert ran.task.read_text() == TASK_FILE


@pytest.mark.parametrize(("name", "slope"), [("tamper with the judge", 2.5), ("metrics, then answer", 2.25)])
def test_who_forges_gets_the_score_of_its_answers(ran: Ran, name: str, slope: float):
    """The judge is in another process and reads no file: what is patched and written is the candidate's own."""
    assert ran.said[name]["splits"]["train"]["scores"]["error"] == pytest.approx(error(slope), abs=1e-12)


def test_the_best_is_the_best_honest_answer(ran: Ran):
    summary = json.loads(ran.out.splitlines()[-1])
    assert summary["best"]["scores"]["error"] == pytest.approx(error(2.5), abs=1e-9)


# --- models


def evolve(folder: Path, server: FakeLLM, budget: str, **llm: Any) -> agentopt.Result:
    task, llm = write_task(folder / "line"), {"base_url": server.url} | llm
    return agentopt.evolve(task, optimizer="reevo", model="openai:m", budget=budget, workers=1, rng_seed=1, llm=llm, out=folder / "run")


def failed(folder: Path, script: Script, **llm: Any) -> tuple[str, int]:
    """How a run of 50 evaluations ends that must fail, and after how many requests."""
    with FakeLLM(script) as server:
        with pytest.raises(RunFailed) as error:
            evolve(folder, server, "50evals", **llm)
        assert error.value.exit_code == 1
        return str(error.value), len(server.requests)


def counted(received: Received) -> Step:
    return reply(honest(1.0 + received.number / 64))


GARBAGE = ("I'm sorry, but I can't help with that.", "{]" * 40, "```python\ndef f(x:\n```", "\x00\ufffd" * 20)


def test_garbage_is_asked_for_once_more_and_never_a_candidate(tmp_path: Path):
    def script(received: Received) -> Step:
        wrong = 2 <= received.number < 2 + 2 * len(GARBAGE)
        return Step(GARBAGE[(received.number - 2) // 2]) if wrong else counted(received)

    with FakeLLM(script) as server:
        assert evolve(tmp_path, server, "6evals").status == "budget"
        asked = len(server.requests)
    log = events(tmp_path / "run")
    proposed = [values(tmp_path / "run", event) for event in log if event.kind == "proposed"]
    assert len(proposed) == 6
    assert all("return" in source and "sorry" not in source for source in proposed)
    notes = [event.data["text"] for event in log if event.kind == "note" and event.data["kind"] == "refused"]
    assert len(notes) == len(GARBAGE)
    assert asked == 5 + 2 * len(GARBAGE)
    assert left_running() == []


def test_nothing_but_garbage_ends_the_run_as_failed_with_one_sentence(tmp_path: Path):
    sentence, asked = failed(tmp_path, [Step(GARBAGE[0])])
    assert re.fullmatch(r"the last 8 asks of openai:m brought nothing usable: \w+ 8", sentence), sentence
    assert asked == 8 * 2, "each was asked to be mended once"
    assert left_running() == []


def test_errors_of_the_server_cost_a_retry_each_and_no_candidate(tmp_path: Path):
    """Three tries of a framework times three of its library are nine; here N retries are N + 1 requests."""
    wrong = {2: Step(status=500, error="oops"), 3: Step(status=429, error="slow down", headers={"Retry-After": "1"})}
    times: dict[int, float] = {}

    def script(received: Received) -> Step:
        times[received.number] = received.time
        return wrong.get(received.number) or counted(received)

    with FakeLLM(script) as server:
        found = evolve(tmp_path, server, "6evals", retries=2)
        asked = len(server.requests)
    assert asked == 5 + len(wrong)
    assert times[4] - times[3] >= 1.0, "it waits as long as it is told to"
    assert found.status == "budget"
    assert found.summary["spent"]["evals"] == 6
    assert found.summary["spent"]["calls"] == asked, "every request is paid and counted"
    assert left_running() == []


def test_a_server_that_stays_broken_ends_the_run_as_failed_after_so_many_requests(tmp_path: Path):
    sentence, asked = failed(tmp_path, [Step(status=500, error="oops")], retries=1)
    assert sentence == "the last 5 asks of openai:m brought nothing usable: server 5"
    assert asked == 5 * 2
    assert left_running() == []


# --- kill -9


SLOW = 6
"""The number of the program that takes its time, so that a kill finds it at work."""


class Programs:
    """Answers with one program after the other; ``lost`` replies got nobody and are given once more."""

    lost = 0

    def __call__(self, received: Received) -> Step:
        number = received.number - self.lost
        program = honest(1.0 + number / 64)
        return reply("import time\n" + program.replace("return", "time.sleep(0.3)\n    return") if number == SLOW else program)


def at_work(folder: Path) -> bool:
    """Whether a case of the slow program is done, and not all of it."""
    if not is_run_folder(folder):
        return False
    log = events(folder)
    admitted = sum(event.kind == "admitted" for event in log)
    return admitted == SLOW and log[-1].kind == "rollout" and log[-1].data["candidate"] == last_proposed(log)


def last_proposed(log: list[Event]) -> str:
    return [event.data["candidate"] for event in log if event.kind == "proposed"][SLOW]


@pytest.mark.thorough
def test_killed_in_the_middle_nothing_is_left_alive_lost_or_burned(tmp_path: Path):
    with FakeLLM(Programs()) as server:
        assert evolve(tmp_path, server, "10evals").status == "budget"
        asked = len(server.requests)
    script, killed = Programs(), tmp_path / "killed"
    with FakeLLM(script) as server:
        flags = ("--budget", "10evals", "--base-url", server.url, "--out", "killed")
        running = process(tmp_path, "evolve", "line/task.py", *FLAGS, *flags)
        until = time.monotonic() + 60
        while not at_work(killed):
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.03)
        os.kill(running.pid, signal.SIGKILL)
        running.communicate()
        assert left_running() == []
        log = events(killed)
        assert sum(event.kind == "admitted" for event in log) == SLOW
        script.lost = len(server.requests) - sum(event.kind == "llm_reply" for event in log)
        code, _, err = call(tmp_path, "resume", "killed")
        assert code == 0, err
        assert len(server.requests) == asked + script.lost
        assert script.lost <= 1, "at most the request under way is made again"
    assert canonical(events(killed))[1:] == canonical(events(tmp_path / "run"))[1:], "but for the server's address, it is the same run"
    done = Counter(
        (event.data["candidate"], event.data["case"], event.data["split"]) for event in events(killed) if event.kind == "rollout"
    )
    assert set(done.values()) == {1}
    assert left_running() == []
