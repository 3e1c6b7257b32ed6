"""rerun, export: a recorded trial trained again here, or written out for elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ..paths import Home
from .records import recorded
from .shared import Code, Json, SweepName, console, gib, name_code, print_json, styled

app = typer.Typer()

EXIT_CODES = {"reproduced": 0, "within noise": 0, "not reproduced": 5}


@app.command()
def rerun(
    name: SweepName,
    trial: Annotated[
        str,
        typer.Option("--trial", help="Which trial; `best` is the best finished one, confirmed if any was."),
    ] = "best",
    reuse_stages: Annotated[
        bool,
        typer.Option(
            "--reuse-stages", help="Take earlier stages from the store instead of training them anew."
        ),
    ] = False,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread", help="Compute stages by as many workers as the sweep asked for; by one when absent."
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Another torch device than the recorded one.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although the sweep's own code has changed since it was run.")
    ] = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Train a trial again here, same configuration, seeds and data, and compare with the record.

    Exits with 0 when reproduced or within noise, 5 when not.

    Example: `flowsweep rerun quickstart`
    """
    from ...trainables.events import Evaluated, Event, StageComputed
    from ..rerun import RULE
    from ..rerun import rerun as run_again
    from ..running.live import duration

    def show(event: Event) -> None:
        if as_json:
            return
        if isinstance(event, Evaluated):
            means = "  ".join(f"{key} {value:.4g}" for key, value in event.means().items())
            console.print(f"  {event.stage} step {event.step:,}/{event.steps:,}  {means}")
        elif isinstance(event, StageComputed):
            console.print(
                f"  {event.stage} computed for seed {event.seed} ({duration(event.cpu_s)} of CPU time)"
            )

    home = Home.default()
    name_code(name, code)
    verdict = run_again(
        recorded(name), home, trial, reuse_stages=reuse_stages, spread=spread, device=device, anyway=anyway,
        watch=show,
    )  # fmt: skip
    if as_json:
        print_json(asdict(verdict))
    else:
        _tell(verdict, RULE)
    raise typer.Exit(EXIT_CODES[verdict.verdict])


def _tell(verdict, rule: str) -> None:
    style = {"reproduced": "green", "within noise": "yellow", "not reproduced": "red"}[verdict.verdict]
    console.print(styled(f"\n{verdict.trial}: ", (verdict.verdict, f"bold {style}")))
    if verdict.recorded is not None:
        step = "" if verdict.step is None else f" at step {verdict.step:,}, the last evaluation"
        console.print(f"  {verdict.metric}{step}: {verdict.recorded!r} recorded, {verdict.rerun!r} now")
    console.print(f"  {verdict.equal} of {verdict.compared} recorded values equal to the last bit")
    if verdict.first_difference:
        console.print(f"  first difference: {verdict.first_difference}", markup=False)
    if verdict.margin is not None and verdict.verdict != "reproduced":
        console.print(f"  95 % interval of the difference: ±{verdict.margin:.3g}")
    for change in verdict.changes:
        console.print(f"  changed since: {change}", markup=False)
    console.print(f"  {rule}", style="dim")


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
