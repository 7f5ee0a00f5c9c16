"""``warm`` and ``needs`` of a task: done once for all boxes; what a fork cannot take along is refused."""

from __future__ import annotations

import sys

import pytest

from agentopt.core.errors import TaskError
from agentopt.core.task import NEEDS
from agentopt.executors.boxed import Boxed
from agentopt.executors.inline import Inline
from agentopt.executors.worker import Worker
from agentopt.loading import load_task
from agentopt.sandbox.levels import level_of
from agentopt.sandbox.probe import look_at
from tests.boxes import DOUBLE, candidate, make_task, once, opened
from tests.toys import TASK_FILE, write_task

ALL = [Inline, Worker, Boxed]


def warmed(warm, **changes):
    task = make_task(**changes)
    task.warm(warm)
    return task


async def refusal(executor_class, task) -> str:
    """Why the task cannot be used."""
    with pytest.raises(TaskError) as error:
        async with opened(executor_class, task) as executor:
            await (await executor.open(candidate(task))).rollout("one", 0, 1)
    return str(error.value)


COUNTED = TASK_FILE.replace(
    "@task.run",
    """
@task.warm
def warm():
    global TABLE
    TABLE = [3.0 * k for k in range(1000)]
    with open(MARKS, "a") as marks:
        marks.write("x")

@task.run""",
).replace("return [program.f(x) for x in input]", "return [TABLE[1] * x for x in input]")


@pytest.mark.parametrize("executor_class", ALL)
async def test_warm_works_once_and_run_finds_what_it_made(tmp_path, executor_class):
    marks = tmp_path / "marks"
    task = load_task(write_task(tmp_path / "line", COUNTED.replace("MARKS", repr(str(marks)))))
    async with opened(executor_class, task, capacity=2) as executor:
        for k in range(3):
            rollout = await once(executor, task, f"def f(x): return {k} * x", "train-1")
            assert rollout.scores == {"error": pytest.approx(0.0)}
    assert marks.read_text() == "x"


@pytest.mark.parametrize("executor_class", ALL)
async def test_a_warm_that_fails_is_the_tasks_mistake(executor_class):
    assert await refusal(executor_class, warmed(lambda: 1 / 0)) == "task 'double': warm failed: ZeroDivisionError: division by zero"


async def test_a_warm_that_starts_threads_is_refused():
    def warm():
        import threading
        import time

        for _ in range(2):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    words = await refusal(Boxed, warmed(warm))
    assert words.startswith("task 'double': imports: the modules ['cloudpickle'] (or warm) start 2 threads; a box cannot be forked")


@pytest.mark.parametrize("initialised", [True, False])
async def test_a_warm_that_initialises_the_gpu_is_refused(initialised):
    """With a module that says so: no GPU is needed to be refused."""

    def warm():
        import sys
        from types import ModuleType, SimpleNamespace

        torch = ModuleType("torch")
        torch.cuda = SimpleNamespace(is_initialized=lambda: initialised)
        torch.backends = SimpleNamespace(cuda=SimpleNamespace(is_built=lambda: True))
        torch.manual_seed = lambda number: None
        sys.modules["torch"] = torch

    task = warmed(warm)
    if initialised:
        words = "imports: the modules ['cloudpickle'] (or warm) initialise CUDA; a box cannot be forked then"
        assert await refusal(Boxed, task) == f"task 'double': {words}"
    else:
        async with opened(Boxed, task) as executor:
            assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


@pytest.fixture
def in_the_box_only(tmp_path, monkeypatch):
    """A task one of whose functions needs a module that only a box has."""
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "task"
    for place in (elsewhere, folder):
        place.mkdir()
        (place / "box_only.py").write_text("MADE = []\ndef double(x):\n    return MADE[0] * x\n")
    monkeypatch.syspath_prepend(str(elsewhere))
    import box_only

    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(elsewhere)])

    def make(warm):
        task = warmed(warm, folder=folder, box_files=("box_only.py",))
        task.run(lambda program, input: box_only.double(input["x"]))
        return task

    yield make, box_only
    sys.modules.pop("box_only", None)


async def test_where_only_the_box_can_load_the_task_it_is_warmed_there(in_the_box_only):
    make, box_only = in_the_box_only
    task = make(lambda: box_only.MADE.append(2))
    async with opened(Boxed, task) as executor:
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
    task = make(lambda: box_only.missing)
    async with opened(Boxed, task) as executor:
        failure = (await once(executor, task, DOUBLE)).failure
        assert failure.kind == "build"
        assert "warm failed: AttributeError" in failure.message


@pytest.mark.skipif(not look_at().l2, reason="this machine cannot give level L2")
async def test_a_task_that_needs_walls_runs_behind_them():
    task = make_task(needs=NEEDS)
    async with opened(Boxed, task) as executor:
        assert level_of(executor.sandbox) == "L2"
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}
