"""Commands for a Ray cluster that is already there: submit, status, logs, stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Json, console, grid, print_json, settings

if TYPE_CHECKING:
    from ...cluster.endpoint import Endpoint
    from ...cluster.jobs import Job
    from ...cluster.submit import Order, Submitted

app = typer.Typer()

Address = Annotated[
    str | None,
    typer.Option(
        help="The cluster's dashboard, http://HOST:8265; else $FLOWSWEEP_ADDRESS or Ray's own variables."
    ),
]
Insecure = Annotated[
    bool, typer.Option("--allow-insecure", help="Speak to another machine in plain http without a token.")
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a sweep's name: its newest job.")]


@app.command()
def submit(
    sweep: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a shipped sweep.")
    ],
    address: Address = None,
    name: Annotated[str | None, typer.Option(help="Another name for the sweep.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override, as KEY=VALUE; repeatable.")
    ] = None,
    home: Annotated[
        str | None, typer.Option(help="FLOWSWEEP_HOME on the cluster: a folder that every node sees.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Environment variable there; repeatable. Its dashboard shows it."
        ),
    ] = None,
    python: Annotated[
        str, typer.Option(help="The Python on the head node that has the requirements.")
    ] = "python",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the sweep stored there under this name.")
    ] = False,
    allow_insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Run a sweep on a Ray cluster, detached from this machine.

    Example: `flowsweep submit sweep.yaml --address http://HEAD:8265 --home /shared/flowsweep`
    """
    from ...cluster import submit as cluster

    order = replace(
        _order(sweep, name, set_ or [], resume), python=python, home=home, variables=_variables(env or [])
    )
    done = cluster.submit(order, _endpoint(address, allow_insecure))
    if as_json:
        print_json(asdict(done))
    else:
        _tell_submitted(done, address, allow_insecure)


@app.command()
def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="A job's id or a sweep's name; all when left out.")
    ] = None,
    address: Address = None,
    allow_insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """What became of submitted sweeps."""
    from ...cluster import jobs
    from ...cluster.submit import connected

    with connected(_endpoint(address, allow_insecure)) as client:
        found = jobs.list_jobs(client) if job is None else [jobs.find(client, job)]
    if as_json:
        print_json([asdict(one) for one in found] if job is None else asdict(found[0]))
    elif not found:
        typer.echo("Nothing was submitted to this cluster.")
    else:
        _print_table(found)
        if job is not None and found[0].message:
            typer.echo(found[0].message)


@app.command()
def logs(
    job: JobName,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    allow_insecure: Insecure = False,
) -> None:
    """What a submitted sweep has printed."""
    from ...cluster import jobs
    from ...cluster.submit import connected

    with connected(_endpoint(address, allow_insecure)) as client:
        found = jobs.find(client, job)
        if not follow:
            _write(jobs.logs(client, found))
            return
        try:
            over = jobs.follow(client, found, _write)
        except KeyboardInterrupt:
            typer.echo(f"\n{found.job} goes on. End it with: flowsweep stop {found.job}", err=True)
            return
    typer.echo(f"{over.job}: {over.status}", err=True)
    raise typer.Exit(0 if over.status == "succeeded" else 1)


@app.command()
def stop(
    job: JobName, address: Address = None, allow_insecure: Insecure = False, as_json: Json = False
) -> None:
    """End a submitted sweep; what it has recorded stays."""
    from ...cluster import jobs
    from ...cluster.submit import connected

    with connected(_endpoint(address, allow_insecure)) as client:
        found = jobs.find(client, job)
        stopping = jobs.stop(client, found)
    if as_json:
        print_json({**asdict(found), "stopping": stopping})
    else:
        typer.echo(f"{found.job}: stopping." if stopping else f"{found.job}: already {found.status}.")


def _endpoint(address: str | None, allow_insecure: bool) -> Endpoint:
    from ...cluster.endpoint import endpoint

    return endpoint(address, allow_insecure=allow_insecure)


def _order(sweep: str, name: str | None, assignments: Sequence[str], resume: bool) -> Order:
    """Check the sweep here, so that a mistake in it never reaches the cluster; data and cores are checked there."""
    from ...cluster.submit import SWEEP_FILE, Order
    from ..sweep.resolve import resolve
    from ..sweep.spec import load_spec, sweep_file

    overrides = settings(list(assignments)) | ({} if name is None else {"name": name})
    spec = resolve(load_spec(sweep, overrides)).spec
    if resume:
        arguments = ["resume", spec.name]
    else:
        arguments = ["run", SWEEP_FILE, *(part for text in assignments for part in ("--set", text))]
        arguments += [] if name is None else ["--name", name]
    return Order(spec.name, sweep_file(sweep), tuple(arguments))


def _variables(assignments: Sequence[str]) -> dict[str, str]:
    from ..errors import UserError

    pairs = [text.partition("=") for text in assignments]
    for text, (name, sign, _) in zip(assignments, pairs, strict=True):
        if not (sign and name.isidentifier()):
            raise UserError(
                "must look like KEY=VALUE", key="--env", value=text, fix="Example: --env HF_HOME=/shared/hf."
            )
    return {name: value for name, _, value in pairs}


def _tell_submitted(done: Submitted, address: str | None, allow_insecure: bool) -> None:
    import ray

    typer.echo(f"{done.sweep} was submitted to {done.address} as {done.job}.")
    if done.ray != ray.__version__:
        typer.echo(
            f"The cluster runs Ray {done.ray}, this machine {ray.__version__}; the sweep runs on the cluster's."
        )
    where = (f" --address {address}" if address else "") + (" --allow-insecure" if allow_insecure else "")
    for command in ("status {}", "logs {} --follow", "stop {}"):
        typer.echo(f"  flowsweep {command.format(done.sweep)}{where}")


def _print_table(found: Sequence[Job]) -> None:
    rows = [[job.job, job.sweep, job.status, job.started or "", job.ended or ""] for job in found]
    console.print(grid(None, ["job", "sweep", "status", "started", "ended"], rows), soft_wrap=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
