"""An MLflow server over the embedded store: for browsing, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def server_command(uri: str, artifacts: Path, host: str, port: int) -> list[str]:
    """The command that serves a tracking store; one worker is enough to browse and takes a fifth of the memory."""
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri, "--artifacts-destination", str(artifacts)),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def server_environment() -> dict[str, str]:
    """This process's environment with MLflow's job runners off: they take 20 CPU-seconds to start and serve nothing here."""
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
