"""An MLflow server over the embedded store: for browsing, on this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from ..errors import Unreachable


def check_port(host: str, port: int) -> None:
    """See that a server could listen there.

    Raises:
        Unreachable: the port is taken, or the address is not one of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise Unreachable(
            f"nothing can listen there: {error.strerror or error}",
            key="--port",
            value=f"{host}:{port}",
            fix="Choose another with `--port`, or end what holds it.",
        ) from None


def server_command(uri: str, artifacts: Path, host: str, port: int) -> list[str]:
    """The command that serves a tracking store; one worker is enough to browse and takes a fifth of the memory."""
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--artifacts-destination", str(artifacts)),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def server_environment() -> dict[str, str]:
    """This process's environment with MLflow's job runners off: they take 20 CPU-seconds to start and serve nothing here."""
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
