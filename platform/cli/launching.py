"""The `flowsweep cluster` group: what a cluster is made from and stands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import rig, tracking_server
from .shared import Json, print_json, settings

app = typer.Typer(
    no_args_is_help=True,
    help="Files that start a cluster, the tracking server it reports to, and a cluster of several nodes on this machine.",
)
app.add_typer(rig.app, name="rig")
app.add_typer(tracking_server.app, name="tracker")


@app.command(
    epilog="Examples: `flowsweep cluster init --kind slurm --set nodes.max=4 --set gpus=2 "
    "--set activate='source ~/flowsweep/bin/activate'` · `flowsweep cluster init --config cluster.yaml --into lab`"
)
def init(
    kind: Annotated[
        str | None, typer.Option(help="aws, gcp, onprem, kuberay or slurm; else as the description says.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A description, such as the cluster.yaml of an earlier time.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting of the description; may be repeated."),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="NAME-cluster")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write nothing; check the files there, as you edited them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the files that start a cluster, from one small description of it. Starts nothing.

    Ray cluster YAML, Kubernetes manifests or an sbatch script, a Dockerfile, the tracking server, and a README.md
    with the commands in order. No secret is in any of them. docs/launching.md lists the settings.
    """
    from ...cluster.launch.description import read_description
    from ...cluster.launch.rendering import render
    from ...cluster.launch.writing import check_folder, write_files

    if check is not None:
        looked_at = check_folder(check)
        _tell(looked_at, {"checked": looked_at}, f"Nothing is wrong with {check}:", as_json)
        return
    if kind is None and config is None:
        raise UserError(
            "which kind of cluster?", key="--kind", fix="Give one of aws, gcp, onprem, kuberay and slurm."
        )
    described = read_description(config, kind, settings(set_ or []))
    folder = into or Path(f"{described.name}-cluster")  # a name that no module can have
    written = [str(path) for path in write_files(folder, render(described), force=force)]
    _tell(
        written, {"folder": str(folder), "written": written}, f"{described.name} ({described.kind}):", as_json
    )
    if not as_json:
        typer.echo(f"What to do with them, in order: {folder / 'README.md'}")


def _tell(paths: list[str], answer: dict, title: str, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        typer.echo("\n".join([title, *(f"  {path}" for path in paths)]))
