"""What holds for every bundled task."""

from __future__ import annotations

import pickle
import subprocess
import sys
from time import process_time
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pytest

from agentopt import Reject
from tests.tasks import bundled

pytestmark = pytest.mark.parametrize("file", bundled.FILES)

IN_THE_BOX = """
import pickle, random, sys
random.seed(0)
run, name, source, input = pickle.load(sys.stdin.buffer)
scope = {}
exec(source, scope)
class Program: pass
setattr(Program, name, staticmethod(scope[name]))
output = run(Program, input)
assert not {"agentopt", "packing_rules"} & {name.partition(".")[0] for name in sys.modules}
sys.stdout.buffer.write(pickle.dumps(output))
"""


def arrays(value: Any) -> list[bytes]:
    return (
        [value.tobytes()]
        if isinstance(value, np.ndarray)
        else [b for v in value.values() for b in arrays(v)]
        if isinstance(value, dict)
        else []
    )


def test_the_task_is_complete(file: str) -> None:
    task = bundled.task(file)
    task.check()
    assert task.goal
    assert task.budget
    assert task.imports == ("numpy",)
    assert set(task.functions) == {"run", "score"}
    assert all(objective.reference is not None for objective in task.objectives)


def test_cases_are_the_same_every_time(file: str) -> None:
    again = bundled.task(file).make_cases()
    assert {split: [case.id for case in members] for split, members in again.items()} == {
        split: [case.id for case in members] for split, members in bundled.cases(file).items()
    }
    for split, members in again.items():
        assert [arrays(case.input) for case in members] == [arrays(case.input) for case in bundled.cases(file)[split]]


def test_no_instance_is_in_two_cases(file: str) -> None:
    inputs = [data for members in bundled.cases(file).values() for case in members for data in arrays(case.input)]
    assert len(set(inputs)) == len(inputs)


def test_there_are_enough_test_cases_to_compare(file: str) -> None:
    cases = bundled.cases(file)
    if file.startswith("circle_packing"):
        assert set(cases) == {"train"}
    else:
        assert set(cases) == {"train", "validation", "test"}
        # of Heilbronn's problem a best value is known for few n
        assert len(cases["test"]) >= (5 if file.startswith("heilbronn") else 10)


def test_the_candidate_gets_no_expected_answer(file: str) -> None:
    for case in (case for members in bundled.cases(file).values() for case in members):
        assert isinstance(case.input, dict)
        assert (case.expected is not None) == file.startswith("signal_filter")
        assert not set(arrays(case.expected)) & set(arrays(case.input))


def test_the_seed_scores_on_every_train_case(file: str) -> None:
    task, score = bundled.task(file), bundled.scorer(file)
    for case in bundled.cases(file)["train"]:
        found = score(case, bundled.solve(file, bundled.program(file), case))
        assert set(found.scores) == {objective.name for objective in task.objectives}
        assert set(found.measures) == {measure.name for measure in task.measures}
        assert all(isinstance(value, float) for value in [*found.scores.values(), *found.measures.values()])
        assert 0 < len(found.feedback) < 300


def test_one_candidate_is_evaluated_fast(file: str) -> None:
    start = process_time()
    bundled.mean_score(file, "train")
    assert process_time() - start < 2.0


def test_run_works_where_there_is_no_task(file: str) -> None:
    task = bundled.task(file)
    run, case = task.functions["run"], bundled.cases(file)["train"][0]
    ((name, seed),) = task.parameters.items()
    home = sys.modules[run.__module__]
    cloudpickle.register_pickle_by_value(home)
    try:
        sent = cloudpickle.dumps((run, name, (bundled.TASKS / file).with_name(seed).read_text(), case.input))
    finally:
        cloudpickle.unregister_pickle_by_value(home)
    done = subprocess.run([sys.executable, "-I", "-c", IN_THE_BOX], input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert arrays(pickle.loads(done.stdout)) == arrays(bundled.solve(file, bundled.program(file), case))


def test_an_output_of_the_wrong_form_is_rejected_with_a_sentence(file: str) -> None:
    case, score = bundled.cases(file)["train"][0], bundled.scorer(file)
    odd = [
        None,
        True,
        3,
        -1.5,
        10**400,
        "0",
        b"0",
        [],
        {},
        [[0]],
        [0.5],
        {"a": 1},
        {"centers": None, "radii": None},
        float("nan"),
        object(),
    ]
    odd += [
        np.zeros(0),
        np.array(0),
        np.array(7),
        np.zeros((2, 2, 2)),
        np.zeros(3, dtype=bool),
        np.zeros(4, dtype=complex),
        np.array(["a"]),
    ]
    odd += [SimpleNamespace(dtype=np.dtype(int), shape=(1,))]
    for output in odd:
        with pytest.raises(Reject, match=r"\w+ \w+ \w+"):
            score(case, output)
