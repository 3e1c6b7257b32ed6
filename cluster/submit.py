"""Send a sweep, and the code that runs it, to a Ray cluster as a detached job."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..platform.errors import Refused, Unreachable
from .endpoint import Endpoint, ray_version
from .package import pack

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SWEEP = "flowsweep.sweep"
"""The job's metadata key that holds the sweep's name."""
SWEEP_FILE = "sweep.yaml"
"""The sweep file's name in the job's working directory."""
STOP_WAIT_S = 180
"""How long a stopped sweep may take to store its trials, write its report and feed its tracker before it is killed."""


@dataclass(frozen=True)
class Order:
    """What to run on the cluster.

    Attributes:
        name: the sweep's name.
        file: its sweep file.
        arguments: what the command line gets there, before ``--address auto``; the file is ``SWEEP_FILE``.
        python: the interpreter on the head node; a bare name is looked up on its PATH.
        home: ``FLOWSWEEP_HOME`` there, a folder that every node sees; the node's own setting when not given.
        variables: more environment variables for the sweep and its trials.
    """

    name: str
    file: Path
    arguments: tuple[str, ...]
    python: str = "python"
    home: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def entrypoint(self) -> str:
        """The command line on the cluster."""
        return shlex.join(
            (self.python, "-m", "flowsweep.cluster.entry", *self.arguments, "--address", "auto")
        )

    def environment(self) -> dict[str, str]:
        """Variables of the job and of everything it starts."""
        home = {"FLOWSWEEP_HOME": self.home} if self.home else {}
        return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), **self.variables, **home}


@dataclass(frozen=True)
class Submitted:
    """A sweep that was handed over."""

    job: str
    sweep: str
    address: str
    ray: str


@contextmanager
def connected(at: Endpoint) -> Iterator[JobSubmissionClient]:
    """Ray's client for jobs, talking to ``at`` whatever the environment says.

    Raises:
        Unreachable: the cluster does not answer, or no longer.
        Refused: it does not let us in.
    """
    ray_version(at)
    import requests
    from ray.job_submission import JobSubmissionClient

    for chatty in (
        "dashboard.modules.dashboard_sdk",
        "dashboard.modules.job.sdk",
        "_private.runtime_env.packaging",
    ):
        logging.getLogger(f"ray.{chatty}").setLevel(logging.WARNING)
    # Ray lets RAY_API_SERVER_ADDRESS and RAY_ADDRESS win over the address it is given.
    variable, before = "RAY_API_SERVER_ADDRESS", os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ[variable] = at.url
    try:
        client = JobSubmissionClient(at.url, headers=dict(at.headers))
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
    try:
        yield client
    except requests.exceptions.RequestException as error:
        raise Unreachable(f"the cluster stopped answering: {error}", key="--address", value=at.url) from None


def submit(order: Order, at: Endpoint, now: datetime | None = None) -> Submitted:
    """Start ``order`` on the cluster and return at once.

    Raises:
        Unreachable: the cluster does not answer.
        Refused: it does not let us in, or a job of this sweep runs there already.
    """
    with connected(at) as client, tempfile.TemporaryDirectory(prefix="flowsweep-") as scratch:
        _refuse_second(client, order.name, at)
        job = client.submit_job(
            entrypoint=order.entrypoint(),
            submission_id=job_name(order.name, now or datetime.now(UTC)),
            metadata={SWEEP: order.name},
            runtime_env={
                "working_dir": str(_working_dir(Path(scratch), order.file)),
                "py_modules": [str(folder) for folder in pack(Path(scratch))],
                "env_vars": order.environment(),
            },
        )
    return Submitted(job, order.name, at.url, ray_version(at))


def job_name(sweep: str, when: datetime) -> str:
    """The job's id: the sweep's name and the second it was handed over."""
    return f"flowsweep-{sweep}-{when:%Y%m%dT%H%M%S}"


def _refuse_second(client: JobSubmissionClient, name: str, at: Endpoint) -> None:
    for job in client.list_jobs():
        if (job.metadata or {}).get(SWEEP) == name and not job.status.is_terminal():
            raise Refused(
                f"is already running there as {job.submission_id}", key="name", value=name,
                fix=f"Follow it (`flowsweep logs {name} --follow`), stop it, or choose another --name.",
            )  # fmt: skip


def _working_dir(scratch: Path, file: Path) -> Path:
    folder = scratch / "work"
    folder.mkdir()
    shutil.copyfile(file, folder / SWEEP_FILE)
    return folder
