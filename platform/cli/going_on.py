"""resume, extend, retry: commands that go on with a sweep on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ...trainables.failures import CLASSES
from ..errors import UserError
from ..paths import Home
from .shared import Code, Json, SweepName, console, name_code, print_json, settings
from .sweeps import Address, Quiet, Set, carry_out

if TYPE_CHECKING:
    from ..going_on.retrying import Chosen

app = typer.Typer()

Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway", help="Go on although the data or the code of a stage changed; that is put on record."
    ),
]


@app.command()
def resume(
    name: SweepName, address: Address = None, quiet: Quiet = False, anyway: Anyway = False, code: Code = None
) -> None:
    """Continue a sweep that was stopped or died; nothing that finished runs again.

    Trials go on from their last checkpoints. Over changed data, or with changed code of a stage, it is refused.
    """
    name_code(name, code)
    carry_on(name, {}, address, quiet, anyway=anyway)


@app.command()
def extend(
    name: SweepName,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Trials in all, the old ones counted.")
    ] = None,
    set_: Set = None,
    address: Address = None,
    quiet: Quiet = False,
    anyway: Anyway = False,
    code: Code = None,
) -> None:
    """Take a sweep further: more trials, more steps, another stop rule, budget or range. Its history is kept.

    With more steps of the last stage, finished trials go on from their last checkpoints.

    Examples: `flowsweep extend quickstart --trials 16 --set confirm.top=2` ·
    `flowsweep extend quickstart --set stages.refine.steps=8000` ·
    `flowsweep extend quickstart --trials 24 --set space.refine.kl_radius.high=0.1`
    """
    from ..going_on.extension import checked_extension

    changes = settings(set_ or []) | ({"search.trials": str(trials)} if trials is not None else {})
    name_code(name, code)
    checked_extension(changes, Home.default().sweep(name))
    carry_on(name, changes, address, quiet, anyway=anyway)


@app.command()
def retry(
    name: SweepName,
    failed: Annotated[bool, typer.Option("--failed", help="All trials that failed.")] = False,
    classes: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS,…",
            help=f"Only failures of these classes: {', '.join(CLASSES)}.",
        ),
    ] = None,
    trial: Annotated[
        list[str] | None, typer.Option("--trial", help="This failed trial; may be repeated.")
    ] = None,
    address: Address = None,
    quiet: Quiet = False,
    anyway: Anyway = False,
    code: Code = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show which trials it would be; run none.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run failed trials again under their names, then continue as `resume` does. Their history is kept.

    They go on from their last checkpoint; one that diverged begins anew. Exits with 3 when no trial failed like that.

    Example: `flowsweep retry quickstart --failed --class out_of_memory,preempted`
    """
    from ..going_on.retrying import Chosen, failed_trials
    from ..journal.state import read_sweep
    from .records import recorded

    if not (failed or classes or trial):
        raise UserError(
            "which trials?", key="retry", fix="Give `--failed` for all, `--class` or `--trial` for some."
        )
    chosen = Chosen(tuple(part.strip() for part in classes.split(",")) if classes else (), tuple(trial or ()))
    meant = failed_trials(read_sweep(recorded(name), keep_reports=False), chosen)
    if as_json:
        print_json({"name": name, "dry_run": dry_run, "trials": meant})
    else:
        for each, why in meant.items():
            console.print(f"  {each}  {why}")
    if not dry_run:
        name_code(name, code)
        carry_on(name, {}, address, quiet or as_json, anyway=anyway, retry=chosen)


def carry_on(
    name: str,
    changes: dict[str, str],
    address: str | None,
    quiet: bool,
    *,
    anyway: bool = False,
    retry: Chosen | None = None,
) -> None:
    """Run a recorded sweep again from where it is, with some settings changed."""
    from ..going_on.taking_up import Going
    from ..sweep.plan import make_plan
    from ..sweep.spec import read_spec

    paths = Home.default().sweep(name)
    if not paths.spec.exists():
        raise UserError("there is no sweep of this name", key="NAME", value=name, fix="See `flowsweep list`.")
    spec = read_spec(paths.spec, changes)
    _look_for_tracker(spec.tracking.uri, name)
    made = make_plan(spec, Home.default(), elsewhere=address is not None, ask_tracker=False)
    carry_out(made, address=address, quiet=quiet, going=Going(resume=True, retry=retry, anyway=anyway))


def _look_for_tracker(uri: str | None, name: str) -> None:
    """Warn where the tracker does not answer: a sweep that is under way does not wait for it."""
    from ..errors import Refused, Unreachable
    from ..tracking.check import check_tracker

    try:
        if uri:
            check_tracker(uri)
    except (Refused, Unreachable) as error:
        console.print(
            f"{error.key}: {error.problem}. The sweep goes on without it; it gets everything once it is back, "
            f"at the latest by: flowsweep sync {name}",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip
