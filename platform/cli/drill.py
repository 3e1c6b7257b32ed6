"""drill: bring faults about on purpose, on this machine or cluster, and see what holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .shared import Json, console, grid, print_json, styled

app = typer.Typer()

STYLES = {"held": "green", "skipped": "cyan", "missed": "yellow", "not held": "red"}


@app.command()
def drill(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this fault; may be repeated.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say what there is, and leave.")] = False,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", help="Ray cluster to run on (`auto` on one of its nodes); here when absent."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where to work; the flowsweep home when absent. On a cluster, a folder all nodes share."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random moments.")] = 0,
    patience: Annotated[
        float,
        typer.Option(
            min=1, help="Seconds that anything may take that is waited for; more on a busy machine."
        ),
    ] = 300,
    as_json: Json = False,
) -> None:
    """Disturb small sweeps in every way known to us, and show what held.

    Kills drivers, workers and a tracking server of its own, locks databases, fills a disk, damages files. Works in a
    folder that it deletes at the end, and ends only what it has started. Each disturbed sweep is held against an
    undisturbed one: same trials, every value once and equal to the last bit, the same in journal, study and MLflow.

    Takes 19 minutes on two cores that are shared, less where they are free. Exits with 1 unless everything held.

    Example: `flowsweep drill --only driver-killed --only disk-full`
    """
    from ..drill.drill import chosen, default_folder
    from ..drill.drill import drill as bring_about

    faults = chosen(only or ())
    if list_:
        _list(faults, as_json)
        return
    verdicts = []
    for verdict in bring_about(faults, _checked(folder) or default_folder(), address, _say, seed, patience):
        verdicts.append(verdict)
        _say(f"{verdict.name}: {verdict.verdict}")
    if as_json:
        print_json({"verdicts": [asdict(verdict) for verdict in verdicts], "address": address})
    else:
        _tell(verdicts)
    whole = len(verdicts) == len(faults)
    if not whole or any(verdict.verdict in ("not held", "missed") for verdict in verdicts):
        raise typer.Exit(1)


def _say(doing: str) -> None:
    typer.secho(f"... {doing}", err=True, dim=True)


def _checked(folder: Path | None) -> Path | None:
    from ..errors import UserError

    if folder is not None and not folder.is_dir():
        raise UserError(
            "is no folder", key="--folder", value=str(folder), fix="Make it first, or leave it out."
        )
    return folder and folder.resolve()


def _list(faults, as_json: bool) -> None:
    if as_json:
        print_json([{"name": f.name, "does": f.does, "holds": f.holds} for f in faults])
    else:
        rows = [[fault.name, fault.does, fault.holds] for fault in faults]
        console.print(
            grid(None, ["fault", "what is done", "what must hold beside that nothing is lost"], rows)
        )


def _tell(verdicts) -> None:
    rows = [
        [verdict.name, verdict.does, verdict.holds, styled((verdict.verdict, STYLES[verdict.verdict])),
         f"{verdict.seconds:.0f}"]
        for verdict in verdicts
    ]  # fmt: skip
    columns = ["fault", "what was done", "checked, beside that nothing is lost", "verdict", "seconds"]
    console.print(grid(None, columns, rows, {4}))
    for verdict in verdicts:
        for wrong in verdict.wrong[:10]:
            console.print(f"  {verdict.name}: {wrong}", markup=False, soft_wrap=True)
        if len(verdict.wrong) > 10:
            console.print(f"  {verdict.name}: and {len(verdict.wrong) - 10} more")
    held = sum(verdict.verdict == "held" for verdict in verdicts)
    skipped = sum(verdict.verdict == "skipped" for verdict in verdicts)
    console.print(
        f"\n{held} of {len(verdicts) - skipped} held" + (f", {skipped} skipped." if skipped else ".")
    )
