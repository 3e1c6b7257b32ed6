"""cluster rig: several Ray nodes on this machine, to try a cluster on: add, kill, cut off, end."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Json, console, grid, print_json

if TYPE_CHECKING:
    from ...cluster.rig import Rigging
    from ...cluster.rig_record import Node, Rig, Shape

app = typer.Typer(
    invoke_without_command=True,
    help="Several Ray nodes on this machine, to try a cluster on. Alone: start them.",
)

Cpus = Annotated[int, typer.Option(min=0, help="CPU cores each node says it has.")]
Gpus = Annotated[int, typer.Option(min=0, help="GPUs each node says it has; none need be there.")]
Custom = Annotated[
    list[str] | None,
    typer.Option("--resource", metavar="NAME=COUNT", help="A resource of your own; repeatable."),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")
]
NodeName = Annotated[str, typer.Argument(metavar="NODE", help="A node's name, as `rig status` shows it.")]


@app.callback()
def rig(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, max=250, help="Nodes in all, the head among them.")] = 3,
    cpus: Cpus = 1,
    gpus: Gpus = 0,
    resource: Custom = None,
    label: Labels = None,
    namespaces: Annotated[
        bool | None,
        typer.Option(
            "--namespaces/--no-namespaces",
            help="A network of their own, so that a node can be cut off; takes root. Where it can be had, when not said.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start separate Ray nodes on this machine, reachable from this machine only, with a token.

    Example: `flowsweep cluster rig --nodes 3 --gpus 2`
    """
    if context.invoked_subcommand:
        return
    rigging = _rigging()
    kind = None if namespaces is None else "namespaces" if namespaces else "loopback"
    found = rigging.up(_shape(cpus, gpus, resource, label), nodes, kind)
    if as_json:
        print_json(_as_json(rigging, found))
    else:
        _tell(rigging, found)


@app.command()
def status(as_json: Json = False) -> None:
    """Its nodes, and how to use it."""
    rigging = _rigging()
    found = rigging.read()
    if as_json:
        print_json(_as_json(rigging, found))
    else:
        _tell(rigging, found)


@app.command()
def down(as_json: Json = False) -> None:
    """End all its nodes and whatever runs on them; nothing else."""
    ended = _rigging().down()
    if as_json:
        print_json({"ended": ended})
    else:
        typer.echo(f"The rig is down; {ended} processes were ended.")


@app.command()
def add(
    cpus: Cpus = 1, gpus: Gpus = 0, resource: Custom = None, label: Labels = None, as_json: Json = False
) -> None:
    """Let one node more join."""
    _tell_node(_rigging().add(_shape(cpus, gpus, resource, label)), "has joined", as_json)


@app.command()
def kill(node: NodeName, as_json: Json = False) -> None:
    """Kill a node and all that runs on it, as a machine that loses power; `rig start` brings it back."""
    ended = _rigging().kill(node)
    if as_json:
        print_json({"node": node, "ended": ended})
    else:
        typer.echo(f"{node} is off; {ended} processes were killed.")


@app.command()
def start(node: NodeName, as_json: Json = False) -> None:
    """Start a node again that is off."""
    _tell_node(_rigging().revive(node), "has joined", as_json)


@app.command("kill-head")
def kill_head(as_json: Json = False) -> None:
    """Kill the head and all that runs on it, drivers of submitted sweeps too. The other nodes leave by themselves."""
    kill("node-1", as_json)


@app.command("restart-head")
def restart_head(as_json: Json = False) -> None:
    """Start the head again, at the same address with the same token, and all other nodes anew."""
    _tell_node(_rigging().revive("node-1"), "and the others have joined", as_json)


@app.command()
def cut(
    node: NodeName,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: `30s`, `2m`.")] = "30s",
    as_json: Json = False,
) -> None:
    """Take a node off the network for a while and put it back. Without namespaces its processes are stopped instead.

    A node that Ray has given up meanwhile leaves when it is back; it is then started anew. Whether it has is known only a while
    later, for which this waits.
    """
    from ...cluster.rig_view import settled

    rigging, pause_s = _rigging(), _seconds(for_)
    rigging.cut(node)
    try:
        time.sleep(pause_s)
    finally:
        rigging.mend(node)
    # Connections that were silent try again at growing intervals, as long as the silence at most.
    same = settled(rigging.read(), node, rigging.token, min(pause_s, 60.0) + STEADY_S, SETTLE_S)
    if not same:
        rigging.renew(node)
    if as_json:
        print_json({"node": node, "cut_s": pause_s, "started_anew": not same})
    else:
        how = "goes on" if same else "had been given up and was started anew"
        typer.echo(f"{node} was off the network for {pause_s:g} s and {how}.")


@app.command(
    "exec",
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def exec_(context: typer.Context) -> None:
    """Run a command as a driver on the head: `rig exec flowsweep run SWEEP.yaml --address auto`."""
    from ..errors import UserError

    rigging = _rigging()
    found = rigging.read()
    if not context.args:
        raise UserError("is required", key="COMMAND", fix="Example: `rig exec ray status`.")
    command = [*found.network.join(1), *context.args]
    try:
        os.execvpe(command[0], command, {**os.environ, **rigging.environment(found)})
    except OSError as error:
        raise UserError(
            f"cannot be started: {error.strerror}", key="COMMAND", value=context.args[0]
        ) from None


STEADY_S, SETTLE_S = 10.0, 90.0
"""How long a node that is back must be counted on again beside that, and how long that may take to begin."""


def _rigging() -> Rigging:
    from ...cluster.rig import Rigging
    from ..paths import Home

    return Rigging(Home.default().root / "rig")


def _shape(cpus: int, gpus: int, resources: list[str] | None, labels: list[str] | None) -> Shape:
    from ...cluster.rig_record import Shape

    custom = {name: _count(count, name) for name, count in _pairs("--resource", resources)}
    return Shape(cpus=cpus, gpus=gpus, custom=custom, labels=dict(_pairs("--label", labels)))


def _pairs(option: str, texts: list[str] | None) -> list[tuple[str, str]]:
    from ..errors import UserError

    found = []
    for text in texts or ():
        name, _, value = text.partition("=")
        if not (name and value):
            raise UserError(
                "must look like NAME=VALUE", key=option, value=text, fix=f"Example: {option} a100=1."
            )
        found.append((name, value))
    return found


def _count(text: str, name: str) -> float:
    from ..errors import UserError

    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not count > 0:
        raise UserError("must be a number above 0", key=f"--resource {name}", value=text)
    return count


def _seconds(text: str) -> float:
    import re

    from ..errors import UserError

    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m)?", text.strip())
    if not found:
        raise UserError("is no length of time", key="--for", value=text, fix="Example: --for 30s.")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def _tell_node(node: Node, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"node": node.name, "pid": node.pid})
    else:
        typer.echo(f"{node.name} {what}.")


def _as_json(rigging: Rigging, found: Rig) -> dict:
    from ...cluster.rig_view import statuses

    return {
        "address": found.address,
        "dashboard": found.dashboard,
        "network": found.kind,
        "token_file": str(rigging.token_file),
        "environment": rigging.environment(found),
        "nodes": [asdict(node) for node in statuses(found, rigging.token)],
    }


def _tell(rigging: Rigging, found: Rig) -> None:
    from ...cluster.rig_view import statuses

    rows = [
        [
            f"{node.name} (head)" if node.head else node.name,
            node.state,
            node.address,
            str(node.cpus),
            str(node.gpus),
            " ".join(f"{key}={value}" for key, value in (*node.custom.items(), *node.labels.items())),
        ]
        for node in statuses(found, rigging.token)
    ]
    console.print(
        grid(None, ["node", "state", "address", "cpus", "gpus", ""], rows, right={3, 4}), soft_wrap=True
    )
    if found.kind == "loopback":
        typer.echo("\nNodes share this machine's network: `cut` stops a node's processes in its place.")
    typer.echo("\nA sweep that runs on, whatever becomes of this terminal:")
    for name, value in rigging.environment(found).items():
        if name != "RAY_ADDRESS":
            typer.echo(f"  export {name}={value}")
    typer.echo("  flowsweep submit SWEEP.yaml")
    typer.echo("One that is watched here:")
    typer.echo("  flowsweep cluster rig exec flowsweep run SWEEP.yaml --address auto")
