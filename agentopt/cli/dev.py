"""agentopt dev: what people who work on agentopt, or on parts for it, need beside tests"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Tools for those who build and test optimizers.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def dev() -> None:
    """Tools for those who build and test optimizers."""


@app.command("fake-llm")
def fake_llm(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any free one.")] = 0,
    script: Annotated[Path | None, typer.Option(help="JSON list of steps, one per request; the last one repeats.")] = None,
) -> None:
    """Serve a model that does what a script says: answers, refuses, stalls, breaks. Prints its base URL, then how often it was asked."""
    from agentopt.testing.fake_llm import FakeLLM, Step, read_script

    steps = read_script(script) if script else [Step()]
    stop = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    try:
        with FakeLLM(steps, port) as server:
            typer.echo(server.url)
            signal.sigwait(stop)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    typer.echo(f"{len(server.requests)} requests")
