"""What a rig's head says of its nodes, and waiting for it to say so."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..platform.errors import Unreachable
from .local import ask
from .rig_network import Namespaces
from .rig_record import Node, Rig

POLL_S, ANSWER_S = 0.5, 5.0


@dataclass(frozen=True)
class NodeStatus:
    """One node as it is now.

    Attributes:
        state: ``up``; ``joining``: it runs, and the head does not count on it; ``cut off``; ``off``: nothing runs there.
    """

    name: str
    address: str
    state: str
    head: bool
    cpus: int
    gpus: int
    custom: Mapping[str, float]
    labels: Mapping[str, str]
    pid: int


def statuses(rig: Rig, token: str) -> list[NodeStatus]:
    """Every node of the rig."""
    counted = _alive_addresses(rig, token)
    return [_status(rig, node, counted) for node in rig.nodes]


def await_nodes(rig: Rig, token: str, within_s: float, folder: Path) -> None:
    """Wait until the head counts on every node that runs.

    Raises:
        Unreachable: it does not in time, or the newest node has ended.
    """
    newest, until_s = max(rig.nodes, key=lambda node: node.started), time.monotonic() + within_s
    while not _all_in(rig, token):
        if not newest.alive or time.monotonic() > until_s:
            how = "did not come up in time" if newest.alive else "has ended by itself"
            raise Unreachable(f"{newest.name} {how}: {_last_line(folder, newest)}", key="rig")
        time.sleep(POLL_S)


def settled(rig: Rig, name: str, token: str, steady_s: float, within_s: float) -> bool:
    """Wait until a node that was cut off is counted on again, or has ended; whether it goes on as it was.

    Args:
        steady_s: how long it must be counted on; a head that has missed it may still be about to give it up.
        within_s: how long that may take to begin.
    """
    address, began_s, since_s = rig.network.address(rig.node(name).number), time.monotonic(), None
    while rig.node(name).alive:
        now_s, counted = time.monotonic(), address in _alive_addresses(rig, token)
        since_s = (since_s or now_s) if counted else None
        if since_s is not None and now_s - since_s >= steady_s:
            return True
        if since_s is None and now_s - began_s > within_s:
            return False
        time.sleep(POLL_S)
    return False


def _all_in(rig: Rig, token: str) -> bool:
    counted = _alive_addresses(rig, token)
    return all(rig.network.address(node.number) in counted for node in rig.nodes if node.alive)


def _status(rig: Rig, node: Node, counted: set[str]) -> NodeStatus:
    address, network = rig.network.address(node.number), rig.network
    state = "joining" if address not in counted else "up"
    if not node.alive:
        state = "off"
    elif isinstance(network, Namespaces) and network.is_cut(node.number):
        state = "cut off"
    shape = node.shape
    return NodeStatus(
        node.name,
        address,
        state,
        node.number == 1,
        shape.cpus,
        shape.gpus,
        shape.custom,
        shape.labels,
        node.pid,
    )


def _alive_addresses(rig: Rig, token: str) -> set[str]:
    return {node["node_ip"] for node in _reported(rig, token) or () if node["state"] == "ALIVE"}


def _reported(rig: Rig, token: str) -> list[dict[str, Any]] | None:
    """What the head's dashboard says; None while it does not answer."""
    import requests

    with contextlib.suppress(requests.RequestException, ValueError, KeyError, TypeError):
        reply = ask(
            f"{rig.dashboard}/api/v0/nodes",
            ANSWER_S,
            params={"limit": 1000},
            headers={"Authorization": f"Bearer {token}"},
        )
        return reply.json()["data"]["result"]["result"]
    return None


def _last_line(folder: Path, node: Node) -> str:
    log = folder / f"{node.name}.log"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
