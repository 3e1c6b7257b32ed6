"""export, delete: take a sweep's result elsewhere, or the sweep away."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..paths import Home
from .records import recorded
from .shared import Json, SweepName, console, gib, print_json

app = typer.Typer()


@app.command()
def export(
    name: SweepName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must not exist yet.")],
    trial: Annotated[
        str,
        typer.Option("--trial", help="Which trial; `best` is the best finished one, confirmed if any was."),
    ] = "best",
    as_json: Json = False,
) -> None:
    """Write a trial out: policies (safetensors and JSON), configuration, metrics (Parquet), where it comes from.

    The policies are those of the last evaluation. A README in the folder says how to load them.

    Example: `flowsweep export quickstart best-policy`
    """
    from ..export import RULE
    from ..export import export as write_out

    done = write_out(recorded(name), Home.default(), folder, trial)
    if as_json:
        print_json(asdict(done))
        return
    value = "not scored" if done.value is None else f"{done.value:.4g}"
    console.print(f"{done.trial} of {done.sweep}, step {done.step:,} ({value}): {RULE}.", markup=False)
    for file, size in done.files.items():
        console.print(f"  {done.folder / file}  {gib(size)}", markup=False, soft_wrap=True)


@app.command()
def delete(
    name: SweepName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it nothing is touched.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a sweep: its record, checkpoints, policies and tables. Shows what would go; deletes with `--yes`.

    Refused while it runs. Stage outputs it shares, datasets and what MLflow has stay.

    Example: `flowsweep delete quickstart --yes`
    """
    from ..record.deletion import delete_sweep, plan_deletion

    home, paths = Home.default(), recorded(name)
    plan = plan_deletion(paths, home)
    freed = delete_sweep(paths) if yes else 0
    if as_json:
        print_json({**asdict(plan), "dry_run": not yes, "freed_bytes": freed})
        return
    trials = ", ".join(f"{count} {status}" for status, count in plan.trials.items()) or "no trial"
    console.print(f"{plan.folder}: {gib(plan.bytes)}; {plan.status}; {trials}", markup=False, soft_wrap=True)
    for stays in plan.stays:
        console.print(f"  stays: {stays}", markup=False, soft_wrap=True)
    if plan.freeable:
        console.print(
            f"  {plan.freeable} stage outputs ({gib(plan.freeable_bytes)}) are used by no other sweep here; "
            "`flowsweep gc --budget SIZE` may free them afterwards."
        )
    console.print(
        f"{gib(freed)} freed." if yes else "Nothing was touched; delete with --yes.", highlight=False
    )
