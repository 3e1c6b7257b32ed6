"""plan, run, quickstart: commands that check and carry out sweeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..paths import Home
from .output import optional
from .shadows import check_shadows
from .shared import Json, ProgressBar, console, gib, grid, learnt_from, print_json, settings, styled

if TYPE_CHECKING:
    from ..going_on.taking_up import Going

app = typer.Typer()

SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a shipped one (`quickstart`).")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the sweep, instead of the file's.")]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray cluster to run on (`auto` on one of its nodes); here when absent."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing until the end.")]


def read_plan(sweep: str, assignments: list[str] | None, name: str | None, address: str | None = None):
    """The plan of a sweep file with command-line changes in place."""
    from ..sweep.plan import make_plan
    from ..sweep.spec import load_spec, sweep_file
    from ..sweep.yaml_file import Text, placed

    check_shadows()
    overrides = settings(assignments or [])
    if name is not None:
        overrides["name"] = Text(name)
    spec = load_spec(sweep, overrides)
    with placed(sweep_file(sweep), overrides):
        return make_plan(spec, Home.default(), elsewhere=address is not None)


@app.command()
def plan(sweep: SweepArgument, set_: Set = None, name: Name = None, as_json: Json = False) -> None:
    """Check a sweep and show what it would do: trials, reuse, disk, hours. Starts nothing.

    Example: `flowsweep plan quickstart --set search.trials=32`
    """
    made = read_plan(sweep, set_, name)
    if as_json:
        print_json(made.to_json())
    else:
        show_plan(made)


def show_plan(made) -> None:
    """Print a plan for a person."""
    from ...trainables.user_code.code import label_of
    from ..report.text import counted

    spec = made.spec
    console.print(styled((spec.name, "bold"), f"  {label_of(spec.system)}{learnt_from(spec.source)}"))
    for goal in spec.objective.goals:
        console.print(f"  objective  {goal.direction} {goal.metric}")
    for limit in spec.constraints:
        console.print(f"  limit      {limit.text}", markup=False)
    if spec.search.from_:
        console.print(f"  learns of  {', '.join(spec.search.from_)}", markup=False)
    for finding in made.source.get("findings", ()):
        console.print(f"  {spec.source.kind:<11}{finding['level']}: {finding['text']}", markup=False)
    for text in made.warnings:
        console.print(f"  warning    {text}", markup=False)
    searched = [
        [f"  {key}", _range(parameter), parameter.reason] for key, parameter in made.resolved.space.items()
    ]
    console.print(grid(None, ["  searched", "range", "why"], searched))
    columns = [
        "  phase",
        "stage",
        "steps",
        "workers",
        "needed",
        "computed",
        "stored",
        "core-hours",
        "saved by sharing",
        "disk",
    ]
    console.print(grid(None, columns, [_stage_cells(row) for row in made.stages], range(2, 10)))
    rungs = f", judged at {', '.join(f'{step:,}' for step in made.rungs)} steps" if made.rungs else ""
    if spec.constraints and (spec.stop.rule != "none" or spec.stop.patience):
        rungs += f", nobody stopped before step {spec.stop.first_step:,}"
    console.print(
        f"  {counted(made.trials, 'trial')} on {len(spec.seeds.tune)} seed(s), {made.concurrent} at once{rungs}"
    )
    hours = f"at most {_hours(made.core_h)} core-hours of training (about {_hours(made.hours)} hours)"
    if not made.core_h:
        hours = "how long a trial takes is known once one has run"
    console.print(f"  {hours}, {made.episodes:,} evaluation episodes, {gib(made.disk_bytes)} of disk")
    _show_budget(made)


def _show_budget(made) -> None:
    for name, beside in made.budget.items():
        limit, estimate = beside["limit"], beside["estimate"]
        enough = "" if estimate <= limit else f": enough for about {limit / estimate:.0%} of it"
        console.print(
            f"  budget     {name} {limit:,g}; the search is expected to take {estimate:,.3g}{enough}"
        )


def _stage_cells(row) -> list[str]:
    counts = [f"{row.steps:,}", str(row.workers), str(row.needed), str(row.computed), str(row.stored)]
    return [
        f"  {row.phase}",
        row.stage,
        *counts,
        _hours(row.core_h),
        _hours(row.saved_core_h),
        gib(row.disk_bytes),
    ]


def _range(parameter) -> str:
    needs = " and ".join(f"{parent} {_either(wanted)}" for parent, wanted in parameter.when.items())
    when = f" with {needs}" if needs else ""
    if parameter.type == "choice":
        return " | ".join(map(str, parameter.values)) + when
    return f"{parameter.low:g} .. {parameter.high:g}{' (log)' if parameter.log else ''}" + when


def _either(wanted) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, tuple) else str(wanted)


def _hours(hours: float) -> str:
    return f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"


@app.command()
def run(
    sweep: SweepArgument, set_: Set = None, name: Name = None, address: Address = None, quiet: Quiet = False
) -> None:
    """Run a sweep here, or on a Ray cluster. Ctrl-C once: store everything and stop; `resume` continues.

    Example: `flowsweep run quickstart --name first --set search.trials=4`
    """
    carry_out(read_plan(sweep, set_, name, address), address=address, quiet=quiet)


def carry_out(
    made,
    *,
    address: str | None = None,
    quiet: bool = False,
    going: Going | None = None,
) -> None:
    """Run a plan with a live view, then tables, report and what to do next; it goes on where nobody looks any more."""
    name = made.spec.name
    with optional(f"The sweep goes on. See it with: flowsweep attach {name}"):
        _carry_out(made, address, quiet, going)


def _carry_out(made, address: str | None, quiet: bool, going: Going | None) -> None:
    from ...cluster.joining import check_joining
    from ..driver import run_sweep
    from ..going_on.taking_up import Going
    from ..journal.journal import read
    from ..running.live import LiveView
    from .outcome import show_sweep

    check_joining(address)
    home = Home.default()
    journal = home.sweep(made.spec.name).journal
    with LiveView(made, console, quiet, read(journal) if going else ()) as view:
        try:
            outcome = run_sweep(made, home, address=address, going=going or Going(), watch=view)
        except KeyboardInterrupt:
            console.print(
                f"Left at once; what was reported is on record. Continue with: flowsweep resume {made.spec.name}"
            )
            raise typer.Exit(130) from None
    paths = home.sweep(made.spec.name)
    finished = show_sweep(paths)
    if outcome.no_report:
        console.print(f"The report page could not be written ({outcome.no_report}).", markup=False)
    if outcome.unsent:
        console.print(
            f"The tracker has not taken {outcome.unsent:,} events yet; nothing is lost. "
            f"Send them when it is back: flowsweep sync {paths.name}"
        )
    if outcome.broken_off:
        console.print(
            "Interrupted while the results were being written; every trial is on record. "
            f"Write the page with: flowsweep report {paths.name}"
        )
        raise typer.Exit(130)
    if outcome.status == "interrupted":
        console.print(f"Stopped; everything is stored. Continue with: flowsweep resume {paths.name}")
        raise typer.Exit(130)
    if not finished:
        raise typer.Exit(1)


@app.command()
def quickstart(
    smallest: Annotated[
        bool, typer.Option("--smallest", help="The shortest run that still goes the whole way.")
    ] = False,
) -> None:
    """Make a real dataset, run a small sweep on it, and show what came out."""
    from ..quickstart import quickstart_plan

    home = Home.default()
    with ProgressBar("making a dataset", "steps") as bar:
        made = quickstart_plan(home, smallest, progress=bar)
    show_plan(made)
    carry_out(made)
    name = made.spec.name
    console.print("\nWhat to try next:")
    for command, why in (
        (f"flowsweep rerun {name}", "train the best trial again here and see whether it is reproduced"),
        ("flowsweep ui", "browse every run in MLflow"),
        (f"flowsweep show {name}", "the table again"),
        ("flowsweep data make pointmaze-large-detour", "the dataset of a full-size sweep"),
        ("flowsweep plan pointmaze-large", "that sweep, before it starts"),
        ("flowsweep submit pointmaze-large --address http://HEAD:8265", "the same on a Ray cluster"),
    ):
        console.print(f"  {command}\n      {why}", markup=False)
