"""agentopt evolve TASK"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["evolve"]


def evolve(
    task: Annotated[str, typer.Argument(help="A task file, a folder (docs/adapters.md), module:attr, or a bundled task's name.")],
    budget: Annotated[
        str | None, typer.Option(help='Like "60s,500evals" (s, m, h, evals, rollouts, calls, tokens, $); the first spent ends the run.')
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="auto, evolve, reevo, optoprime, mutate, tune, memetic, package:Name")] = None,
    workers: Annotated[int | None, typer.Option(help="Candidates evaluated at once; default: the usable cores.")] = None,
    rng_seed: Annotated[int | None, typer.Option(help="Where all random numbers come from.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make; default runs/<task>-<time>.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One setting, like optimizer.options.sigma=0.3; may be repeated.")] = None,
    target: Annotated[float | None, typer.Option(help="Stop when the best's first objective is this good.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many evaluations without a better best.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="Take a run's best, or a file, as the seed.")] = None,
    select: Annotated[str | None, typer.Option(help="The objective (or several, by commas) that decides which is the best.")] = None,
    sandbox: Annotated[str | None, typer.Option(help="The walls around candidates: auto (the best there are), L2 or L1.")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="No walls at all (level L0); the run is stamped with it.")] = False,
    allow_weak_sandbox: Annotated[bool, typer.Option("--allow-weak-sandbox", help="Let code from elsewhere run below level L2.")] = False,
    python: Annotated[
        str | None, typer.Option(help="An interpreter or virtual environment with the packages of a task that runs a Python.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="What proposes edits: openai:NAME, litellm:PROVIDER/NAME, relay:DIR, command:CMD; several by commas.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Where openai: models answer, such as http://127.0.0.1:8000/v1.")] = None,
    price: Annotated[str | None, typer.Option(help="USD per million tokens of input and output, like 0.15,0.60.")] = None,
    record: Annotated[Path | None, typer.Option(help="Add every reply of a model to this cassette.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Take replies from this cassette: short for --model replay:FILE.")] = None,
    agent_allow: Annotated[list[str] | None, typer.Option(help="A path that command: may read, or write as PATH:rw; repeat it.")] = None,
    agent_env: Annotated[list[str] | None, typer.Option(help="A variable that command: gets, like ANTHROPIC_API_KEY; repeat it.")] = None,
    unsafe_agent: Annotated[bool, typer.Option("--unsafe-agent", help="Run command: without a box; the run is stamped with it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Search for better candidates of TASK until the budget is spent."""
    from agentopt.api import evolve as run_evolve
    from agentopt.cli.common import exit_with, print_json, print_result, with_consent
    from agentopt.cli.progress import Progress
    from agentopt.core.errors import ConfigError

    given: dict[str, Any] = {
        "budget": budget,
        "optimizer": optimizer,
        "workers": workers,
        "rng_seed": rng_seed,
        "out": out,
        "config": config,
        "set": set_,
        "target": target,
        "patience": patience,
        "from_": from_,
        "select": select,
        "sandbox": sandbox,
        "unsafe": unsafe or None,
        "allow_weak_sandbox": allow_weak_sandbox or None,
        "model": model,
    }
    calling: dict[str, Any] = {"base_url": base_url, "price": price, "record": record and str(record)}
    calling |= {"agent_allow": agent_allow, "agent_env": agent_env, "unsafe_agent": unsafe_agent or None}
    given["llm"] = {key: value for key, value in calling.items() if value is not None} or None
    given["box"] = None if python is None else {"python": python}
    if replay is not None:
        if model is not None:
            raise ConfigError("--replay names what answers, and so does --model; give one of them")
        given["model"] = f"replay:{replay}"
    options = {key: value for key, value in given.items() if value is not None}
    with Progress() as progress:
        result = with_consent(lambda consent: run_evolve(task, on_event=progress, **options | consent))
    if json:
        print_json(result.summary)
    else:
        print_result(result)
    exit_with(result.status)
