"""`flowsweep cluster tracker`: a tracking server to share, started, looked at and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..paths import Home
from .shared import Json, print_json

if TYPE_CHECKING:
    from ...cluster.tracker import TrackerStatus

app = typer.Typer(
    no_args_is_help=True, help="A tracking server to share: MLflow over PostgreSQL, with a login."
)


@app.command(
    epilog="Examples: `flowsweep cluster tracker up` · "
    "`flowsweep cluster tracker up --database postgresql://mlflow@db.example.org/mlflow --artifacts s3://bucket/mlflow`"
)
def up(
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; others than loopback open it to the network.", show_default="127.0.0.1"),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", show_default="5000")] = None,
    database: Annotated[
        str | None,
        typer.Option(help="An existing `postgresql://USER@HOST/DATABASE`, password from PGPASSWORD or ~/.pgpass."),
    ] = None,
    database_port: Annotated[
        int | None, typer.Option(help="Port of its own PostgreSQL on 127.0.0.1.", show_default="a free one")
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(help="Folder, s3://... or gs://... for artifacts.", show_default="its own folder")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that answer.", show_default="1")] = None,
    allowed_hosts: Annotated[
        str | None, typer.Option(help="Names it is reached under, separated by commas.")
    ] = None,
    tls_certificate: Annotated[str | None, typer.Option(help="PEM file; it then speaks https.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM file with the certificate's key.")] = None,
    postgres_bin: Annotated[str | None, typer.Option(help="Folder with PostgreSQL's programs.")] = None,
    database_only: Annotated[
        bool, typer.Option("--database-only", help="Start PostgreSQL alone, for a restore or an upgrade.")
    ] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Start the tracking server and wait until it serves. What is not given is as at the last start ('' for the default).

    Everybody who uses it needs a login. The administrator's password is made on the first start and lies in a file
    that only you can read.
    """
    from ...cluster.tracker import TrackerSettings
    from ...cluster.tracker import up as start

    given = {name: value for name, value in locals().items() if name in TrackerSettings.model_fields}
    say = (lambda text: None) if as_json else (lambda text: typer.echo(f"{text} ...", err=True))
    _tell(start(Home.default(), given, database_only=database_only, say=say), as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """How the tracking server stands. Ends with 4 unless it serves."""
    from ...cluster import tracker

    found = tracker.status(Home.default())
    if found is None:
        print_json({"state": "absent"}) if as_json else typer.echo(
            "There is none here. Start one: flowsweep cluster tracker up"
        )
    else:
        _tell(found, as_json)
    if found is None or found.state != "running":
        raise typer.Exit(4)


@app.command()
def down(as_json: Json = False) -> None:
    """End the tracking server. All it has recorded stays, and `up` takes it up again."""
    from ...cluster import tracker

    ended = tracker.down(Home.default())
    if as_json:
        print_json({"ended": ended})
    else:
        typer.echo(f"Ended: {', '.join(ended)}." if ended else "Nothing of it runs.")


def _tell(found: TrackerStatus, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    rows: Mapping[str, Any] = {
        "state": found.state if found.problem is None else f"{found.state}: {found.problem}",
        "address": found.uri,
        "login": f"{found.login}, password in {found.password_file}",
        "database": found.database,
        "studies": found.studies,
        "artifacts": found.artifacts,
    }
    for name, value in rows.items():
        if value is not None:
            typer.echo(f"{name:<10} {value}")
    if found.state == "running":
        _tell_how_to_use(found)


def _tell_how_to_use(found: TrackerStatus) -> None:
    typer.echo(
        f"\nIn a sweep file `tracking: {{uri: {found.uri}}}`; in the shell, for MLflow's clients and for sweeps:"
    )
    typer.echo(f"  export MLFLOW_TRACKING_USERNAME={found.login}")
    typer.echo(f'  export MLFLOW_TRACKING_PASSWORD="$(cat {Path(found.password_file)})"')
    if found.studies is not None:
        typer.echo(f"For `search: {{storage: {found.studies}}}` also:")
        typer.echo(f"  export PGPASSFILE={found.database_password_file}")
    if not found.loopback:
        typer.secho(
            "It listens to the network and asks everybody for a login. "
            + (
                "It speaks https."
                if found.tls
                else "It speaks plain http: whoever is on the way reads the passwords. "
                "Give it a certificate (--tls-certificate, --tls-key), or put a TLS proxy before it."
            ),
            err=True,
            fg=None if found.tls else "yellow",
        )
