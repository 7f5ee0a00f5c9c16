"""Whole programs that mean harm, against level L3: each ends with the right word and leaves nothing behind, for root and for others."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import agentopt
from agentopt.executors.boxed import Boxed
from tests.boxes import candidate, context
from tests.hostile import programs

pytestmark = pytest.mark.usefixtures("level_3")

TABLE = [(language, name) for language, attacks in programs.ATTACKS.items() for name in attacks]


@pytest.fixture
def world(level_3: Path):
    folder = level_3 / "world"
    folder.mkdir(mode=0o711)
    made = programs.World.make(folder)
    yield made
    made.close()


@pytest.mark.parametrize(("language", "name"), TABLE)
async def test_attacks_end_as_they_must(world: programs.World, language: str, name: str):
    task = programs.make_task(language)
    source, expected = programs.ATTACKS[language][name]
    executor = Boxed(context(task))
    try:
        found = await programs.outcome(executor, task, world.fill(source))
        assert programs.as_expected(found, expected), found
        assert programs.left_behind() == []
        assert await programs.outcome(executor, task, world.fill(programs.HONEST[language])) == "42 True\n"
    finally:
        await executor.close()
    assert {path.name for path in world.folder.iterdir()} == {"secret.txt", "socket"}
    assert [path for path in Path(tempfile.gettempdir()).iterdir() if path != world.folder] == []


@pytest.mark.parametrize("language", programs.HONEST)
async def test_honest_programs_pass_every_time(world: programs.World, language: str):
    task = programs.make_task(language)
    executor = Boxed(context(task))
    try:
        assert [await programs.outcome(executor, task, world.fill(programs.HONEST[language])) for _ in range(20)] == ["42 True\n"] * 20
    finally:
        await executor.close()


async def test_a_program_that_needs_no_processes_is_alone(world: programs.World):
    """What a child uses that nobody waits for is in nobody's account: where CPU seconds are the score there must be no child."""
    source = programs.P + (
        "def thread():\n try: threading.Thread(target=print).start()\n except RuntimeError as error: raise OSError from error\n"
        "refused(os.fork, thread, lambda: subprocess.run(['true']))"
    )
    task = programs.make_task("python", needs=("no_processes",))
    executor = Boxed(context(task))
    try:
        assert await programs.outcome(executor, task, source) == "refused\n"
        assert await programs.outcome(executor, task, programs.HONEST["python"]) == "42 True\n"
    finally:
        await executor.close()


def _python_for_others(user: int) -> str | None:
    """An interpreter of this version that another user can run."""
    for python in (sys.executable, os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        try:
            test = "import sys; sys.exit(sys.version_info < (3, 11))"
            done = subprocess.run([python, "-I", "-c", test], user=user, group=user, extra_groups=[], cwd="/")
        except OSError:
            continue
        if done.returncode == 0:
            return python
    return None


@pytest.mark.thorough
@pytest.mark.skipif(not os.environ.get("AGENTOPT_CI"), reason="the table once more: CI does it, or AGENTOPT_CI=1")
@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user runs the whole table already")
def test_the_table_holds_for_an_ordinary_user_too(level_3: Path):
    user = 54_321
    python = _python_for_others(user)
    if python is None:
        pytest.skip("there is no Python that another user can run")
    copy, home = level_3 / "copy", level_3 / "home"
    shutil.copytree(Path(agentopt.__file__).parent, copy / "agentopt", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(programs.__file__, copy / "programs.py")
    cloudpickle = importlib.util.find_spec("cloudpickle")
    assert cloudpickle is not None
    assert cloudpickle.origin is not None
    shutil.copytree(Path(cloudpickle.origin).parent, copy / "cloudpickle")
    home.mkdir()
    os.chown(home, user, user)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(copy)}
    who = {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run([python, "-B", str(copy / "programs.py")], env=environment, cwd=home, capture_output=True, text=True, **who)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


@pytest.mark.skipif(os.getuid() != 0, reason="looks into processes of another user")
async def test_what_would_be_left_behind_would_be_seen(world: programs.World):
    task = programs.make_task("python")
    executor = Boxed(context(task))
    session = await executor.open(candidate(task, solve="import time\ntime.sleep(60)"))
    running = asyncio.create_task(session.rollout("sum", 0, 1))
    try:
        for _ in range(1000):
            if seen := programs.left_behind():
                break
            await asyncio.sleep(0.01)
        assert seen
    finally:
        await session.close()
        await running
        await executor.close()
    assert programs.left_behind() == []
