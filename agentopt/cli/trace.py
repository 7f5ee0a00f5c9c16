"""agentopt trace show FILE"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentopt.core.errors import ConfigError, StoreError, UserError

if TYPE_CHECKING:
    from agentopt.trace.graph import Graph

__all__ = ["app"]

app = typer.Typer(help="What a workflow did: recorded traces.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def trace() -> None:
    """What a workflow did: recorded traces."""


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A trace (.jsonl), spans of OpenTelemetry (OTLP as JSON), or a run folder.")],
    candidate: Annotated[str, typer.Option(help="Of a run: best, seed, an id or the beginning of one.")] = "best",
    case: Annotated[str, typer.Option(help="Of a run: the case; default the first that was traced.")] = "",
    span_trace: Annotated[str, typer.Option("--trace", help="Of a file with several traces: the beginning of its id.")] = "",
    depth: Annotated[int | None, typer.Option(min=1, help="So many levels of calls are opened.")] = None,
    most: Annotated[int, typer.Option("--steps", min=1, help="About so many steps are shown; the rest is counted.")] = 40,
    svg: Annotated[Path | None, typer.Option(help="Write a picture to this file.")] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a flowchart for mermaid.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all of the trace as one JSON object.")] = False,
) -> None:
    """Draw a trace: calls, times, tokens, parameters, the way of a failure, and what was said of the outcome."""
    title, graph = _read(file, candidate, case, span_trace)
    if svg is not None:
        from agentopt.cli.writing import replace_files
        from agentopt.trace.svg import to_svg

        replace_files({svg: to_svg(graph, most, depth)})
        typer.echo(f"written: {svg}", err=True)
    if json:
        from agentopt.cli.common import print_json
        from agentopt.trace.export import to_json

        print_json(to_json(graph))
    elif mermaid:
        from agentopt.trace.export import to_mermaid

        typer.echo(to_mermaid(graph, most, depth), nl=False)
    elif svg is None:
        from agentopt.cli.terminal import stdout_console
        from agentopt.cli.trace_tree import print_trace

        print_trace(title, graph, stdout_console(), most, depth)


def _read(file: Path, candidate: str, case: str, span_trace: str) -> tuple[str, Graph]:
    if file.is_dir():
        if span_trace:
            raise ConfigError(f"--trace names a trace in a file of spans; of the run {file} give --candidate and --case")
        return _of_run(file, candidate, case)
    if case or candidate != "best":
        raise ConfigError(f"--candidate and --case are for run folders, and {file} is none")
    from agentopt.trace.jsonl import load
    from agentopt.trace.otel_reading import from_otlp
    from agentopt.trace.otlp import is_otlp

    try:
        data = file.read_bytes()
        return file.name, from_otlp(data, span_trace) if is_otlp(data) else load(data)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}); give a trace, a file of spans or a run folder") from None
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _of_run(folder: Path, candidate: str, case: str) -> tuple[str, Graph]:
    from agentopt.cli.reading import open_log
    from agentopt.cli.traces import saved_trace, traced_rollouts

    with open_log(folder) as log:
        key = log.resolve(candidate)
        rollouts = traced_rollouts(log, key)
        if not rollouts:
            raise StoreError(f"{folder}: no trace of candidate {key} was kept; only workflows given to agentopt.optimize are traced")
        found = [rollout for rollout in rollouts if not case or rollout.case == case]
        if not found:
            some = ", ".join(dict.fromkeys(rollout.case for rollout in rollouts[:5]))
            raise ConfigError(f"{folder}: no trace of candidate {key} on case {case!r} was kept; there is {some}")
        return f"candidate {key} on {found[0].case}", saved_trace(log, key, found[0])
