from __future__ import annotations

import pytest

from agentopt.core.candidate import Candidate, Proposal, candidate_id
from agentopt.core.task import Parameter

CODE = Parameter("f", "code", "")
SHELL = Parameter("f", "code", "", language="bash")
CONFIG = Parameter("c", "config", {})
PROMPT = Parameter("p", "prompt", "")


def code_id(source: str, parameter: Parameter = CODE) -> str:
    return candidate_id({"f": source}, {"f": parameter})


def test_an_id_is_12_hex_digits() -> None:
    found = code_id("def f(): return 1")
    assert len(found) == 12
    assert int(found, 16) >= 0


def test_comments_and_layout_of_python_do_not_count() -> None:
    assert code_id("def f(x):\n    return x+1\n") == code_id("def f(x):  # adds\n\n        return (x + 1)\n")
    assert code_id("def f(x): return x + 1") != code_id("def f(x): return x + 2")


def test_other_text_counts_as_it_is() -> None:
    assert code_id("echo 1", SHELL) != code_id("echo 1 # one", SHELL)
    assert candidate_id({"p": "a"}, {"p": PROMPT}) != candidate_id({"p": "a "}, {"p": PROMPT})


def test_the_order_of_keys_does_not_count() -> None:
    parameters = {"c": CONFIG, "p": PROMPT}
    one = candidate_id({"c": {"a": 1, "b": 2}, "p": "x"}, parameters)
    assert one == candidate_id({"p": "x", "c": {"b": 2, "a": 1}}, dict(reversed(parameters.items())))
    assert one != candidate_id({"p": "x", "c": {"b": 1, "a": 2}}, parameters)


def test_of_takes_everything_over() -> None:
    proposal = Proposal({"p": "x"}, ["a", "b"], "mutate", "crossover", "why not", {"step": 1})
    candidate = Candidate.of(proposal, {"p": PROMPT}, 3)
    assert candidate == Candidate(candidate.id, {"p": "x"}, ("a", "b"), "mutate", "crossover", "why not", 3, {"step": 1})
    assert candidate.id == candidate_id({"p": "x"}, {"p": PROMPT})
    assert Candidate.of(Proposal({"p": "x"}), {"p": PROMPT}).generation == 0


def test_of_does_not_share_what_the_optimizer_may_change() -> None:
    values, memo = {"p": "x"}, {"step": 1}
    candidate = Candidate.of(Proposal(values, memo=memo), {"p": PROMPT})
    values["p"], memo["step"] = "y", 2
    assert (candidate.values, candidate.memo) == ({"p": "x"}, {"step": 1})


def test_a_missing_value_is_an_error_of_the_caller() -> None:
    with pytest.raises(KeyError):
        candidate_id({}, {"p": PROMPT})
