"""What every executor does for an honest candidate, and for one that fails in an ordinary way."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from agentopt.core import wire
from agentopt.core.errors import Reject, TaskError
from agentopt.core.protocols import Executor, Session
from agentopt.core.task import Case, Limits, Objective, Parameter, Task
from agentopt.executors.boxed import Boxed
from agentopt.executors.inline import Inline
from agentopt.executors.worker import Worker
from agentopt.sandbox.levels import level_of
from tests.boxes import DOUBLE, candidate, context, make_task, once, opened

ALL = [Inline, Worker, Boxed]
LEVELS = {Inline: "inline", Worker: "worker", Boxed: "L2"}


@pytest.fixture(params=ALL, ids=lambda executor: executor.__name__)
def executor_class(request):
    return request.param


async def test_it_is_an_executor(executor_class):
    task = make_task()
    executor = executor_class(context(task, capacity=3))
    assert isinstance(executor, Executor)
    assert (executor.capacity, level_of(executor.sandbox)) == (3, LEVELS[executor_class])
    session = await executor.open(candidate(task))
    assert isinstance(session, Session)
    await session.close()
    await session.close()
    await executor.close()
    await executor.close()


async def test_a_rollout_tells_everything(executor_class):
    task = make_task("def f(x):\n    print('x is', x)\n    return x * 2\n")
    kept: list[bytes] = []
    async with opened(executor_class, task, kept=kept) as executor:
        session = await executor.open(candidate(task))
        rollout = await session.rollout("ten", 3, 7)
        assert (rollout.case, rollout.split, rollout.repeat, rollout.rng_seed) == ("ten", "test", 3, 7)
        assert rollout.failure is None
        assert rollout.scores == {"right": 1.0}
        assert rollout.output == hashlib.sha256(wire.encode(20)).hexdigest()[:16]
        assert (kept, rollout.printed) == ([b"x is 10\n"], "printed-8")
        assert rollout.measured.wall > 0
        assert rollout.measured.cpu > 0
        assert rollout.measured.peak_bytes > 1 << 20
        assert (await session.rollout("one", 0, 7)).scores == {"right": 1.0}


async def test_a_wrong_answer_scores_nothing(executor_class):
    task = make_task()
    async with opened(executor_class, task) as executor:
        rollout = await once(executor, task, "def f(x): return x")
        assert (rollout.failure, rollout.scores) == (None, {"right": 0.0})


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("def f(x) return x", "syntax", "f.py, line 1"),
        ("return 3", "syntax", "'return' outside function"),
        ("def g(x): pass", "build", "defines no 'f'"),
        ("1 / 0", "build", "ZeroDivisionError"),
        ("def f(x):\n    return 1 / 0\n", "crash", 'File "f.py", line 2, in f'),
        ("def f(x): return {x}", "wrong", "a set cannot cross"),
        ("def f(x): return float('nan')", "nonfinite", "NaN"),
        ("def f(x): return [[float('inf')]]", "nonfinite", "Infinity"),
        ("def f(x): return 'x' * 2_000_000", "oversize", "larger than limits.output_mb"),
    ],
)
async def test_failures_are_data_and_the_executor_goes_on(executor_class, source, kind, words):
    task = make_task()
    async with opened(executor_class, task) as executor:
        failed = await once(executor, task, source)
        assert failed.failure is not None
        assert (failed.failure.kind, failed.scores) == (kind, {})
        assert words in failed.failure.message
        assert (await once(executor, task, DOUBLE)).scores == {"right": 1.0}


async def test_a_session_goes_on_after_an_exception(executor_class):
    task = make_task()
    async with opened(executor_class, task) as executor:
        session = await executor.open(candidate(task, f="def f(x):\n    if x == 1: raise ValueError\n    return x * 2\n"))
        kinds = [(await session.rollout(case, 0, 1)).failure for case in ("two", "one", "two")]
        assert [failure and failure.kind for failure in kinds] == [None, "crash", None]


async def test_state_lasts_between_cases_unless_the_task_wants_fresh_boxes(executor_class):
    source = "calls = []\ndef f(x):\n    calls.append(x)\n    return x * 2 if len(calls) == 1 else 0\n"
    for fresh, expected in ((False, [1.0, 0.0]), (True, [1.0, 1.0])):
        task = make_task(source, fresh_per_case=fresh)
        async with opened(executor_class, task) as executor:
            session = await executor.open(candidate(task))
            assert [(await session.rollout(case, 0, 1)).scores["right"] for case in ("one", "two")] == expected


async def test_equal_seeds_give_equal_random_numbers(executor_class):
    task = make_task("import random, numpy\ndef f(x): return [random.random(), float(numpy.random.rand())]\n", imports=("numpy",))
    async with opened(executor_class, task) as executor:
        session = await executor.open(candidate(task))
        other = await executor.open(candidate(task))
        outputs = [(await s.rollout("one", 0, seed)).output for s, seed in ((session, 5), (session, 5), (other, 5), (session, 6))]
        assert outputs[0] == outputs[1] == outputs[2] != outputs[3]


async def test_arrays_cross_both_ways_and_the_case_stays_unspoiled(executor_class):
    array = np.arange(4.0)
    task = make_task("def f(x):\n    x *= 2\n    return x\n", cases={"train": [Case("a", {"x": array}, array * 2)]})
    task.score(lambda case, output, measured: float(np.array_equal(output, case.expected)))
    async with opened(executor_class, task) as executor:
        for _ in range(2):
            assert (await once(executor, task, task.seed_values["f"], "a")).scores == {"right": 1.0}
    assert array.tolist() == [0, 1, 2, 3]


async def test_reject_and_errors_of_score(executor_class):
    task = make_task()

    @task.score
    def score(case, output, measured):
        if output == 0:
            raise Reject("no zero, please")
        return output["missing"]

    async with opened(executor_class, task) as executor:
        rejected = (await once(executor, task, "def f(x): return 0")).failure
        assert (rejected.kind, rejected.message, rejected.scorer_error) == ("wrong", "no zero, please", False)
        broken = (await once(executor, task, DOUBLE)).failure
        assert (broken.kind, broken.scorer_error) == ("wrong", True)
        assert "in score" in broken.message


async def test_time_and_memory_are_measured_outside(executor_class):
    objectives = [Objective("seconds", "min", source="outside"), Objective("memory", "min", source="outside", quantity="peak_bytes")]
    task = make_task("import time\ndef f(x):\n    time.sleep(0.05)\n    return x * 2\n", objectives=objectives)
    task.score(lambda case, output, measured: None)
    async with opened(executor_class, task) as executor:
        session = await executor.open(candidate(task))
        for _ in range(2):  # loading the candidate does not count
            rollout = await session.rollout("one", 0, 1)
            assert 0.05 <= rollout.scores["seconds"] < 0.5
            assert rollout.scores["memory"] == rollout.measured.peak_bytes > 1 << 20


async def test_evaluate_reports_itself(executor_class):
    task = Task("own", parameters={"f": Parameter("f", "code", DOUBLE)}, objectives=[Objective("s")])

    @task.evaluate
    def evaluate(program):
        return {"s": program.f(4), "feedback": "self-made"}

    async with opened(executor_class, task) as executor:
        rollout = await once(executor, task, DOUBLE, "all")
        assert (rollout.scores, rollout.feedback) == ({"s": 8.0}, "self-made")


async def test_a_task_without_run_scores_the_values(executor_class):
    task = Task(
        "values",
        parameters={"prompt": Parameter("prompt", "prompt", "hello")},
        objectives=[Objective("s")],
        cases={"train": [Case("a", None)]},
    )
    task.score(lambda case, output, measured: len(output["prompt"]))
    async with opened(executor_class, task) as executor:
        session = await executor.open(candidate(task))
        assert (await session.rollout("a", 0, 1)).scores == {"s": 5.0}


async def test_run_has_a_scratch_folder_and_the_box_files(executor_class, tmp_path):
    (tmp_path / "table.txt").write_text("7")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.txt").write_text("1")
    (tmp_path / "box_helper_module.py").write_text("def add(a, b):\n    return a + b\n")
    task = make_task("def f(x): return x", folder=tmp_path, box_files=("table.txt", "lib", "box_helper_module.py"))

    @task.run
    def run(program, input, ctx):
        from pathlib import Path

        from box_helper_module import add

        (ctx.scratch / "own.txt").write_text("x")
        return add(int(Path("table.txt").read_text()), int(Path("lib/part.txt").read_text()))

    task.score(lambda case, output, measured: output)
    async with opened(executor_class, task) as executor:
        assert (await once(executor, task, "def f(x): return x")).scores == {"right": 8.0}
    __import__("sys").modules.pop("box_helper_module", None)


async def test_run_may_ask_for_a_scratch_folder_without_box_files(executor_class):
    task = make_task()
    task.run(lambda program, input, ctx: (ctx.scratch / "a").write_text("abc"))
    task.score(lambda case, output, measured: output)
    async with opened(executor_class, task) as executor:
        assert (await once(executor, task, DOUBLE)).scores == {"right": 3.0}


async def test_an_input_that_cannot_cross_is_the_tasks_mistake(executor_class):
    task = make_task(cases={"train": [Case("a", {"x": {1, 2}})]})
    async with opened(executor_class, task) as executor:
        with pytest.raises(TaskError, match="case 'a': the input cannot enter the box: a set cannot cross"):
            await once(executor, task, DOUBLE, "a")


async def test_many_sessions_at_once(executor_class):
    import asyncio

    task = make_task()
    async with opened(executor_class, task, capacity=4) as executor:
        sources = [f"def f(x): return x * {n}" for n in range(8)]
        rollouts = await asyncio.gather(*(once(executor, task, source) for source in sources))
        assert [rollout.scores["right"] for rollout in rollouts] == [float(n == 2) for n in range(8)]


@pytest.mark.parametrize("executor_class", [Worker, Boxed])
async def test_limits_of_files_do_not_matter_to_an_honest_candidate(executor_class):
    task = make_task("def f(x):\n    open('note.txt', 'w').write('a' * 1000)\n    return x * 2\n", limits=Limits(file_mb=1))
    async with opened(executor_class, task) as executor:
        assert (await once(executor, task, task.seed_values["f"])).scores == {"right": 1.0}
