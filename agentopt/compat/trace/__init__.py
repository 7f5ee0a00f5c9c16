"""Trace's names over ours: its programs run when ``from opto.trace import ...`` becomes ``from agentopt.compat.trace import ...``.

What is different: values that a node holds are plain data, lists of nodes too; the text of a node is the text of its value; an exception
keeps its class beside being an ``ExecutionError``; ``stop_tracing`` holds in its own thread alone; ``save`` writes JSON; learnt code
runs in a sandbox unless ``bundle(trainable=True, trust=True)``; a second ``backward`` is one more piece of feedback.
"""

from agentopt.compat.trace import operators
from agentopt.compat.trace.broadcast import apply_op, to_data
from agentopt.compat.trace.bundles import FunModule, bundle
from agentopt.compat.trace.containers import Map, NodeContainer, ParameterContainer, Seq
from agentopt.compat.trace.errors import ExecutionError, TraceMissingInputsError
from agentopt.compat.trace.modules import Module, model
from agentopt.compat.trace.nodes import ExceptionNode, MessageNode, Node, ParameterNode, node
from agentopt.compat.trace.propagation import TraceGraph
from agentopt.compat.trace.tracing import GRAPH, stop_tracing

__all__ = [
    "GRAPH",
    "ExceptionNode",
    "ExecutionError",
    "FunModule",
    "Map",
    "MessageNode",
    "Module",
    "Node",
    "NodeContainer",
    "ParameterContainer",
    "ParameterNode",
    "Seq",
    "TraceGraph",
    "TraceMissingInputsError",
    "apply_op",
    "bundle",
    "model",
    "node",
    "operators",
    "stop_tracing",
    "to_data",
]
