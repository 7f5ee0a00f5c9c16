"""Conformance group 6: which parameters led to a node, seen and unseen."""

from __future__ import annotations

from agentopt.compat.trace import bundle, node
from agentopt.trace.node import graph_of


def test_parameters_of_operations() -> None:
    x, y = node(1.0, trainable=True), node(2.0)
    z = x**y + x * x * x * x + 0.5
    assert z.parameter_dependencies == {x}
    assert z.hidden_dependencies == set()
    assert z.expandable_dependencies == set()


def test_a_parameter_inside_of_a_function_is_hidden_and_reached() -> None:
    x, hidden = node(1.0, name="x", trainable=True), node(-15.0, name="hidden", trainable=True)

    @bundle()
    def inner(x):
        return x**2

    @bundle(traceable_code=True)
    def outer(x):
        return inner(x) + 1 + hidden

    z = outer(x)
    assert z == -13.0
    assert z.parameter_dependencies == {x}
    assert z.hidden_dependencies == {hidden}
    assert z.expandable_dependencies == {z}
    z.backward("feedback")
    assert len(x.feedback) == len(hidden.feedback) == 1
    inside = graph_of(z.info["output"])
    assert [inside.name(k) for k in inside.of_kind("op")] == ["inner", "add", "add"]
    assert [inside.name(k) for k in inside.of_kind("param")] == ["hidden"]


def test_three_layers() -> None:
    x, hidden = node(1.0), node(-15.0, name="hidden", trainable=True)

    @bundle(traceable_code=True)
    def inner(x):
        return x**2 + hidden

    @bundle(traceable_code=True)
    def middle(x):
        return inner(x) + 1

    @bundle(traceable_code=True)
    def outer(x):
        return middle(x) + 2

    z = outer(x)
    z.backward("test feedback")
    assert [pieces[0].user_feedback for pieces in hidden.feedback.values()] == ["test feedback"]
    layers = []
    expandable = z.expandable_dependencies
    while expandable:
        (layer,) = expandable
        layers.append(layer.label)
        expandable = layer.info["output"].expandable_dependencies
    assert layers == ["outer", "middle", "inner"]
    assert hidden in z.hidden_dependencies
    assert z.parameter_dependencies == set()
