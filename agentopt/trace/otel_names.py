"""The names of one version of OpenTelemetry's conventions for GenAI, and what they are called here.

Names that the conventions lack are our own and begin with ``agentopt.``: ``agentopt.kind``, ``agentopt.inputs.*``, ``agentopt.param.*``.
"""

from __future__ import annotations

from agentopt.trace.graph import Kind

__all__ = [
    "ARGUMENTS",
    "CONVENTION",
    "EVALUATION",
    "FACTS",
    "FORMER",
    "INPUT",
    "KINDS_OF",
    "MESSAGES",
    "MODEL",
    "OPERATION",
    "OUTPUT",
    "RESULT",
    "SETTINGS",
    "TOOL",
]

CONVENTION = "0.66b2"
"""The version of opentelemetry-semantic-conventions whose ``gen_ai`` names are written and read."""
OPERATION, MODEL = "gen_ai.operation.name", "gen_ai.request.model"
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
TOOL, ARGUMENTS, RESULT = "gen_ai.tool.name", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"
EVALUATION = "gen_ai.evaluation.result"
FACTS = {
    "provider": "gen_ai.provider.name",
    "served_by": "gen_ai.response.model",
    "tokens_in": "gen_ai.usage.input_tokens",
    "tokens_out": "gen_ai.usage.output_tokens",
}
"""What a node's meta calls it -> the convention's name."""
SETTINGS = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
FORMER = {
    "gen_ai.system": "gen_ai.provider.name",
    "gen_ai.usage.prompt_tokens": "gen_ai.usage.input_tokens",
    "gen_ai.usage.completion_tokens": "gen_ai.usage.output_tokens",
    "gen_ai.prompt": INPUT,
    "gen_ai.completion": OUTPUT,
}
"""Names that older programs still write."""
KINDS_OF: dict[str, Kind] = {
    "chat": "llm",
    "text_completion": "llm",
    "generate_content": "llm",
    "embeddings": "tool",
    "retrieval": "tool",
    "execute_tool": "tool",
}
MESSAGES = ("messages", "input", "prompt")
"""Arguments of a model's call that hold what was said."""
