"""The command and the environment a rig's node is started with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ..trainables.handed import hand_on
from ..trainables.redaction import secrets_of
from . import rig_processes as processes
from .rig_record import Rig, Shape

OBJECT_STORE_BYTES = 80_000_000


def ray_start(rig: Rig, number: int, shape: Shape) -> list[str]:
    """Ray's own command for the node of that number; it ends when the node does."""
    command = [str(Path(sys.executable).parent / "ray"), "start", "--block"]
    options: dict[str, object] = {
        "node-ip-address": rig.network.address(number),
        "num-cpus": shape.cpus,
        "num-gpus": shape.gpus,
        "resources": json.dumps(dict(shape.custom)),
        "labels": ",".join(f"{key}={value}" for key, value in shape.labels.items()),
        # A folder each: sockets are named by counting those that are there, which nodes that start at once would share.
        "temp-dir": f"{rig.scratch}/{number}",
        "object-store-memory": OBJECT_STORE_BYTES,
        "include-log-monitor": "false",
        "min-worker-port": 0,
        "max-worker-port": 0,
        "dashboard-agent-listen-port": 0,
    }
    if number == 1:
        command += ["--head"]
        ray, dashboard, client = rig.ports
        options |= {
            "port": ray,
            "dashboard-port": dashboard,
            "dashboard-host": rig.network.address(1),
            "ray-client-server-port": client,
        }
    else:
        options |= {"address": rig.address}
    return [*command, *(f"--{key}={value}" for key, value in options.items() if value != "")]


def environment(rig: Rig, number: int, token_file: Path) -> dict[str, str]:
    """This process' own, less its secrets and what it says about other clusters, and with the rig's mark.

    Nodes would log secrets; sweeps that run on them find them in a file of the rig's own folder.
    """
    hidden = secrets_of(os.environ)
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("RAY_") and key != "FLOWSWEEP_ADDRESS" and key not in hidden
    }
    handed = {key: value for key, value in hidden.items() if not key.startswith("RAY_")}
    return kept | {
        **hand_on(handed, Path(rig.scratch) / "handed.json"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        processes.MARK: rig.mark,
        processes.NODE: f"node-{number}",
        **processes.READABLE,
    }
