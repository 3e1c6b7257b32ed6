"""list, show, best, report, sync, ui: commands that read what is on record."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from ..journal.journal import read
from ..paths import Home, SweepPaths
from .cluster import Address, Cluster, Insecure
from .incidents import tell_refusals
from .leaderboards import best_json, goals_json, print_best, score_text
from .outcome import show_sweep
from .shared import Json, SweepName, console, grid, numbers, print_json, styled

if TYPE_CHECKING:
    from ..record.results import SweepState, TrialState

app = typer.Typer()


@app.command("list")
def list_(
    cluster: Cluster = None, address: Address = None, allow_insecure: Insecure = False, as_json: Json = False
) -> None:
    """List every recorded sweep, newest first: those of this home, or of a cluster's when one is named."""
    from ..record.results import SweepSummary, list_sweeps

    if cluster or address:
        from ...cluster.attach import sweeps_on
        from ...cluster.target import target

        sweeps = [SweepSummary(**one) for one in sweeps_on(target(cluster, address, allow_insecure))]
    else:
        sweeps = list_sweeps(Home.default())
    if as_json:
        print_json([asdict(sweep) for sweep in sweeps])
        return
    if not sweeps:
        console.print("No sweeps yet. Try: flowsweep quickstart")
        return
    rows = [
        [s.name, s.status, ", ".join(f"{n} {status}" for status, n in (s.trials or {}).items()), s.metric,
         "" if s.best is None else f"{s.best:.4g}", s.best_trial or "", _when(s.started), s.note]
        for s in sweeps
    ]  # fmt: skip
    columns = ["sweep", "status", "trials", "objective", "best", "by", "started", "note"]
    console.print(grid(None, columns, rows, {4}))


@app.command()
def show(
    name: SweepName,
    every_trial: Annotated[
        bool, typer.Option("--all", help="Every trial, not only the first 20 of each table.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a sweep's leaderboard, its confirmation on test seeds, and what sharing saved."""
    from ..record.findings import findings
    from ..record.incidents import incidents
    from ..record.results import best as best_row
    from ..record.results import leaderboard, savings, why_best
    from ..tracking.tracker import tracker_status

    paths = recorded(name)
    if as_json:
        record = _record(paths)
        first = best_row(record)
        print_json(
            {
                "name": record.name,
                "status": record.status,
                "objective": {"metric": record.metric, "direction": record.direction},
                **goals_json(record),
                "best": {"trial": first.trial, "why": why_best(record, first)} if first else None,
                "leaderboard": [asdict(row) for row in leaderboard(record)],
                "budget_spent": record.spent,
                "trials": {t.trial: _facts_of(t) for t in record.trials.values()},
                "findings": [asdict(finding) for finding in findings(record)],
                "savings": asdict(savings(record)),
                "tracker": asdict(tracker_status(paths)),
                "incidents": [asdict(incident) for incident in incidents(read(paths.journal))],
            }
        )
    else:
        show_sweep(paths, every_trial)


@app.command()
def best(name: SweepName, as_json: Json = False) -> None:
    """Show the best trial: its parameters, its score with an interval, and its full configuration."""
    from ..export import RULE, best_checkpoint
    from ..record.results import best as best_row
    from ..record.results import front_rows, why_best
    from ..sweep.yaml_file import dump_yaml

    record = _record(recorded(name))
    members = front_rows(record)
    row = best_row(record)
    if row is None:
        raise UserError("no trial of this sweep has finished", fix=f"See `flowsweep show {name}`.")
    trial = record.trials[row.trial]
    policies = [str(record.paths.root / a.path) for a in trial.artifacts if a.role == "policy"]
    found = {
        "trial": row.confirms or row.trial,
        "confirmed_by": row.trial if row.confirms else None,
        "params": dict(row.params),
        record.metric: asdict(row.score),
        "why": why_best(record, row),
        **best_json(row, members),
        "seeds": list(row.seeds),
        "configs": trial.configs,
        "policies": policies,
        "policy_step": row.step,
        "best_checkpoint": best_checkpoint(record.paths, trial),
    }
    if as_json:
        print_json(found)
    else:
        console.print(styled((found["trial"], "bold"), f"  {numbers(row.params)}"))
        console.print(
            f"  {record.metric} {score_text(row)}  on seeds {list(row.seeds)}  ({row.score.method})",
            markup=False,
        )
        console.print(f"  {found['why']}", markup=False)
        print_best(record, row, members)
        console.print(dump_yaml({"stages": found["configs"]}), markup=False)
        for path in policies:
            console.print(f"  policy  {path}", markup=False, soft_wrap=True)
        console.print(f"  the policies of step {row.step:,}: {RULE}", markup=False, soft_wrap=True)
        if way := found["best_checkpoint"]:
            said = f"  best on the way: step {way['step']:,}, {way['value']:.4g}  {way['path']}"
            console.print(said, markup=False, soft_wrap=True)


@app.command()
def report(
    name: SweepName,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also write every figure of it as a file of its own."),
    ] = None,
) -> None:
    """Write the report page of a sweep anew and print its path.

    Example: `flowsweep report quickstart --figures pictures`
    """
    from ..report.report import write_figures, write_report

    paths = recorded(name)
    typer.echo(write_report(paths))
    for path in write_figures(paths, figures) if figures else ():
        typer.echo(path)


@app.command()
def sync(
    name: SweepName,
    uri: Annotated[str | None, typer.Option("--uri", help="Another MLflow.")] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Send all of it, also what was refused before; nothing is doubled."),
    ] = False,
) -> None:
    """Send everything the tracker has not got yet, or has lost since."""
    from ...trainables.user_code.code import short_name
    from ..tracking.tracker import catch_up

    home = Home.default()
    paths = recorded(name)
    spec = _record(paths).spec
    target = uri or spec["tracking"]["uri"] or home.mlflow_uri
    artifacts = home.mlflow_artifacts if target == home.mlflow_uri else None
    experiment = spec["tracking"]["experiment"] or f"flowsweep/{short_name(spec['system'])}"
    sent = catch_up(paths, target, experiment, artifacts, again=again)
    console.print(f"{sent:,} events sent to {target}", soft_wrap=True)
    tell_refusals(paths)


@app.command()
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")] = 5000,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others can then read everything.")
    ] = "127.0.0.1",
) -> None:
    """Browse every recorded run in MLflow. Ctrl-C ends it."""
    import subprocess

    from ..tracking.server import check_port, server_command, server_environment

    home = Home.default()
    check_port(host, port)
    console.print(
        f"MLflow over {home.mlflow_uri}: http://{host}:{port}  (experiments are named flowsweep/SYSTEM)",
        soft_wrap=True,
    )
    home.root.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        server_command(home.mlflow_uri, home.mlflow_artifacts, host, port), env=server_environment()
    )
    raise typer.Exit(done.returncode)


def recorded(name: str) -> SweepPaths:
    """The paths of a sweep that is on record.

    Raises:
        UserError: there is none of that name.
    """
    paths = Home.default().sweep(name)
    if not paths.journal.exists():
        from ..errors import nearest

        known = [p.name for p in Home.default().sweeps.glob("*")] if Home.default().sweeps.exists() else []
        hint = nearest(name, known) if known else "None is on record yet; try `flowsweep quickstart`."
        raise UserError("there is no sweep of this name", key="NAME", value=name, fix=hint)
    return paths


def _facts_of(trial: TrialState) -> dict[str, Any]:
    from ..record.pace import pace

    speed = pace(trial, trial.through)
    return {
        "status": trial.status,
        "reason": trial.reason,
        "failure": trial.failure,
        "retries": trial.retries,
        "continued": [{"stage": event.stage, "step": event.step} for event in trial.continued],
        "updates_per_s": speed.updates_per_s,
        "cpu_s_per_update": speed.cpu_s_per_update,
    }


def _record(paths: SweepPaths) -> SweepState:
    from ..record.results import read_sweep

    return read_sweep(paths)


def _when(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
