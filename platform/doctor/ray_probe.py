"""Does Ray work here? One task on an embedded Ray or on a cluster, in a process of its own.

``python -m flowsweep.platform.doctor.ray_probe [ADDRESS]`` prints one line of JSON. Ray ends the whole process on some
failures (an unreadable token file, a daemon that cannot start), so whoever asks must not be that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from ..running.ray_start import running_ray

START_TIMEOUT_S, CONNECT_TIMEOUT_S, TASK_TIMEOUT_S = 120.0, 60.0, 45.0

UNAUTHENTICATED = (
    "none or another was sent: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as the cluster has them"
)
"""Ray sends the token it finds to a cluster only when that mode is set; the client's own error does not say so."""


@dataclass(frozen=True)
class RayAnswer:
    """What came of a task.

    Attributes:
        failure: why it did not run; empty when it did.
        python: version of the worker that ran it.
    """

    failure: str = ""
    ray: str = ""
    python: str = ""
    cpus: float = 0.0
    gpus: float = 0.0


def ask_ray(address: str | None) -> RayAnswer:
    """Start an embedded Ray, or connect to the cluster at ``address``, and run one task there."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "flowsweep.platform.doctor.ray_probe",
        *([address] if address else []),
    ]
    return answer_of(command, CONNECT_TIMEOUT_S if address else START_TIMEOUT_S)


def answer_of(command: list[str], timeout_s: float) -> RayAnswer:
    """The answer a probing process prints; everything it started ends with it."""
    probe = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    failure = ""
    try:
        out, err = probe.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        failure = f"no answer within {timeout_s:.0f} s"
        out, err = _end(probe)
    answer = RayAnswer(failure) if failure else _answer(out, err, probe.returncode)
    if answer.failure and "InvalidAuthToken" in err:
        return RayAnswer(f"it asks for a token, and {UNAUTHENTICATED}")
    return answer


def _answer(out: str, err: str, status: int) -> RayAnswer:
    for line in reversed(out.splitlines()):
        with suppress(ValueError, TypeError):
            return RayAnswer(**json.loads(line))
    said = [line for line in err.splitlines() if line.strip()]
    return RayAnswer(said[-1].strip()[:300] if said else f"it ended with exit status {status}")


def _end(probe: subprocess.Popen[str]) -> tuple[str, str]:
    """End a process with all it has started; returns what it had printed."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(probe.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    probe.kill()
    return probe.communicate()


def probe(address: str | None) -> dict[str, Any]:
    """Run the task in this process."""
    import ray

    with running_ray(address):  # as the driver starts it, so that what hinders one hinders the other
        task = ray.remote(num_cpus=1)(_python)
        resources = ray.cluster_resources()
        return {
            "ray": ray.__version__,
            "python": ray.get(task.remote(), timeout=TASK_TIMEOUT_S),
            "cpus": float(resources.get("CPU", 0)),
            "gpus": float(resources.get("GPU", 0)),
        }


def _python() -> str:
    return sys.version.split()[0]


def main(arguments: list[str]) -> None:
    """Entry of the probing process: [ADDRESS]."""
    try:
        print(json.dumps(probe(arguments[0] if arguments else None)))
    except Exception as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        print(json.dumps({"failure": f"{type(error).__name__}: {lines[0][:300] if lines else ''}"}))


if __name__ == "__main__":
    main(sys.argv[1:])
