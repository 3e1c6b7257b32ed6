"""The `flowsweep cluster` group: what a cluster is made from and stands on."""

from __future__ import annotations

import typer

from . import rig, tracking_server

app = typer.Typer(
    no_args_is_help=True,
    help="Files that start a Ray cluster, and the tracking server it reports to.",
)
app.add_typer(rig.app, name="rig")
app.add_typer(tracking_server.app, name="tracker")


@app.callback()
def group() -> None:
    """Nothing by itself; keeps the group a group while it has a single command."""
