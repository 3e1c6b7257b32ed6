"""Commands for a Ray cluster that is already there: submit, status, attach, logs, stop, clusters."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Json, console, grid, print_json, settings

if TYPE_CHECKING:
    from ...cluster.jobs import Job
    from ...cluster.profiles import Profile
    from ...cluster.submit import Submitted
    from ...cluster.target import Target

app = typer.Typer()

Cluster = Annotated[
    str | None,
    typer.Option(help="A cluster of your profiles (see `flowsweep clusters`); else $FLOWSWEEP_CLUSTER."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="The cluster's dashboard, http://HOST:8265; else $FLOWSWEEP_ADDRESS, your default cluster, or Ray's own variables."
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--allow-insecure",
        envvar="FLOWSWEEP_ALLOW_INSECURE",
        help="Speak to another machine in plain http without a token.",
    ),
]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a sweep's name: its newest job.")]


@app.command()
def submit(
    sweep: Annotated[
        str, typer.Argument(metavar="SWEEP", help="A sweep file, or the name of a shipped sweep.")
    ],
    cluster: Cluster = None,
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
            metavar="KEY=VALUE",
            help="Environment variable there; repeatable. No secrets: its dashboard shows it.",
        ),
    ] = None,
    package: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A package of yours that goes along (a project, a package's folder or a wheel), its systems "
            "included; repeatable. Its code runs here and there.",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="The Python on the head node that has the requirements; `python` if nobody says."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is on record there, whatever the file says now.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the cluster's own checks.")
    ] = 30.0,
    allow_insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Run a sweep on a Ray cluster, detached from this machine. Submitting it again goes on with it.

    Example: `flowsweep submit sweep.yaml --address http://HEAD:8265 --home /shared/flowsweep`
    """
    from ...cluster.ordering import Wishes, ordered
    from ...cluster.submit import submit as send
    from ...cluster.variables import variables_of
    from ..sweep.yaml_file import Text

    to = _target(cluster, address, allow_insecure)
    changes = settings(list(set_ or [])) | ({} if name is None else {"name": Text(name)})
    wishes = Wishes(
        sweep, changes, home, python, variables_of(env or []), tuple(package or ()), resume, allow_insecure
    )
    with ordered(wishes, to.profile) as (order, unchecked):
        if unchecked and not as_json:
            typer.echo(f"Not checked here: {unchecked}", err=True)
        done = send(order, to.at, wait_s=wait)
    if as_json:
        print_json(asdict(done))
    else:
        _tell_submitted(done, to, order.spec.get("tracking", {}).get("uri"))


@app.command()
def status(
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="A job's id or a sweep's name; all when left out.")
    ] = None,
    cluster: Cluster = None,
    address: Address = None,
    allow_insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """What became of submitted sweeps."""
    from ...cluster import jobs
    from ...cluster.connection import connected

    with connected(_target(cluster, address, allow_insecure).at) as client:
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
    cluster: Cluster = None,
    address: Address = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    allow_insecure: Insecure = False,
) -> None:
    """What a submitted sweep has printed."""
    from ...cluster import jobs
    from ...cluster.connection import connected

    to = _target(cluster, address, allow_insecure)
    with connected(to.at) as client:
        found = jobs.find(client, job)
        if not follow:
            _write(jobs.logs(client, found))
            return
        try:
            over = jobs.follow(client, found, _write)
        except KeyboardInterrupt:
            typer.echo(f"\n{found.job} goes on. End it with: flowsweep stop {found.job}{to.option}", err=True)
            return
    typer.echo(f"{over.job}: {over.status}", err=True)
    raise typer.Exit(0 if over.status == "succeeded" else 1)


@app.command()
def stop(
    job: JobName,
    cluster: Cluster = None,
    address: Address = None,
    allow_insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """End a submitted sweep: its trials store their state, and what it has recorded stays."""
    from ...cluster import jobs
    from ...cluster.connection import connected

    with connected(_target(cluster, address, allow_insecure).at) as client:
        found = jobs.find(client, job)
        stopping = jobs.stop(client, found)
    if as_json:
        print_json({**asdict(found), "stopping": stopping})
    else:
        typer.echo(f"{found.job}: stopping." if stopping else f"{found.job}: already {found.status}.")


@app.command()
def clusters(
    check: Annotated[
        bool, typer.Option("--check", help="Ask each whether it answers and lets you in.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the clusters you have described, and where you describe them."""
    from ...cluster.profiles import profile_file, read_profiles

    profiles = read_profiles()
    rows, unusable = [], False
    for name, profile in profiles.clusters.items():
        asked = {}
        if check:
            asked["answer"], usable = _answer(profile)
            unusable |= not usable
        rows.append(
            {"name": name, "default": name == profiles.default, **profile.model_dump(mode="json"), **asked}
        )
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(f"No cluster is described in {profile_file()}. What goes there: docs/cluster.md.")
    else:
        columns = ["cluster", "address", "home", "tracker", *(["answer"] if check else [])]
        named = [row["name"] + (" (default)" if row["default"] else "") for row in rows]
        cells = [
            [first, *(str(row[column] or "") for column in columns[1:])]
            for first, row in zip(named, rows, strict=True)
        ]
        console.print(grid(str(profile_file()), columns, cells), soft_wrap=True, markup=False)
    if unusable:
        raise typer.Exit(4)


def _answer(profile: Profile) -> tuple[str, bool]:
    """What a cluster says when it is asked, its version or why it cannot be used; and whether it can."""
    from ...cluster.endpoint import ray_version
    from ...cluster.target import at_profile
    from ..errors import UserError

    try:
        return f"Ray {ray_version(at_profile(profile))}", True
    except UserError as error:
        return str(error), False


def _target(cluster: str | None, address: str | None, allow_insecure: bool) -> Target:
    from ...cluster.target import target

    return target(cluster, address, allow_insecure)


def _tell_submitted(done: Submitted, to: Target, tracker: str | None) -> None:
    import ray

    typer.echo(f"{done.sweep} was submitted to {done.address} as {done.job}.")
    for package, systems in done.packages.items():
        registered = f", which registers {', '.join(systems)}" if systems else ""
        typer.echo(f"With it went {package}{registered}: its code runs there.")
    if done.ray != ray.__version__:
        typer.echo(
            f"The cluster runs Ray {done.ray}, this machine {ray.__version__}; the sweep runs on the cluster's."
        )
    if not done.ready:
        typer.echo("The cluster has not begun with it yet; `flowsweep status` says what becomes of it.")
    if tracker:
        typer.echo(f"Runs will be at {tracker}.")
    for command in ("attach {}", "status {}", "logs {} --follow", "stop {}"):
        typer.echo(f"  flowsweep {command.format(done.sweep)}{to.option}")


def _print_table(found: Sequence[Job]) -> None:
    rows = [[job.job, job.sweep, job.status, job.started or "", job.ended or ""] for job in found]
    console.print(grid(None, ["job", "sweep", "status", "started", "ended"], rows), soft_wrap=True)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
