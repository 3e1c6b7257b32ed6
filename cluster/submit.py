"""Send a sweep, and the code that runs it, to a Ray cluster as a detached job."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..platform.errors import Refused, UserError
from ..platform.sweep.yaml_file import dump_yaml
from ..trainables.user_code.code import Code
from .connection import connected
from .endpoint import Endpoint, ray_version
from .entry import FAILED, JOB, PACKAGES, READY
from .package import pack
from .plugins import Plugin
from .sameness import difference_text, differences

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SWEEP = "flowsweep.sweep"
"""The job's metadata key that holds the sweep's name."""
SPEC = "flowsweep.spec"
"""The job's metadata key that holds the whole sweep as JSON, so that another of the same name can be told apart."""
HOME, PYTHON = "flowsweep.home", "flowsweep.python"
"""The job's metadata keys that say where its record is and what reads it."""
SWEEP_FILE = "sweep.yaml"
"""The sweep file's name in the job's working directory."""
NOT_STARTED = (126, 127)
"""How a shell ends that could not run what it was told to."""
STOP_WAIT_S = 180
"""How long a stopped sweep may take to store its trials, write its report and feed its tracker before it is killed."""


@dataclass(frozen=True)
class Order:
    """What to run on the cluster.

    Attributes:
        name: the sweep's name; empty for a job that only answers a question.
        arguments: what ``flowsweep.cluster.entry`` gets there.
        content: the sweep file's, with everything asked for in place.
        spec: the same as plain JSON of the typed sweep.
        python: the interpreter on the head node; a bare name is looked up on its PATH.
        home: ``FLOWSWEEP_HOME`` there, a folder that every node sees; the node's own setting when not given.
        variables: more environment variables for the sweep and its trials.
        packages: packages of the user's own that go along, laid out.
        code: the file that the sweep's system is, with what it imports; they lie beside the sweep file there.
    """

    name: str
    arguments: tuple[str, ...]
    content: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    python: str = "python"
    home: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[Plugin, ...] = ()
    code: Code | None = None

    def entrypoint(self) -> str:
        """The command line on the cluster."""
        return shlex.join((self.python, "-m", "flowsweep.cluster.entry", *self.arguments))

    def environment(self) -> dict[str, str]:
        """Variables of the job and of everything it starts."""
        # An interrupt lets trials store their state, however long that takes; a termination leaves them seconds.
        stop = (
            {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
            if self.name
            else {}
        )
        home = {"FLOWSWEEP_HOME": self.home} if self.home else {}
        return {**stop, **self.variables, **home}


@dataclass(frozen=True)
class Submitted:
    """A sweep that was handed over.

    Attributes:
        ready: whether the cluster has said within the time allowed that the sweep can start.
        packages: name of every package of the user's own that went along, with the systems it registers.
    """

    job: str
    sweep: str
    address: str
    ray: str
    ready: bool = False
    packages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Rejected(UserError):
    """The cluster looked at what it was sent and would not start it; the code is what it said itself."""

    def __init__(self, said: str, code: int | None):
        super().__init__("the cluster did not start it", fix=said)
        self.exit_code = code or 1


def submit(order: Order, at: Endpoint, now: datetime | None = None, wait_s: float = 0.0) -> Submitted:
    """Start ``order`` on the cluster.

    Until the last request nothing has happened there but that packages lie ready, which Ray drops by itself.

    Args:
        wait_s: how long to wait for the cluster's own checks.

    Raises:
        Unreachable: the cluster does not answer.
        Refused: it does not let us in, or a job of this sweep runs there already.
        Rejected: its checks have failed.
    """
    with tempfile.TemporaryDirectory(prefix="flowsweep-") as scratch, connected(at) as client:
        _refuse_second(client, order, at)
        job = job_name(order.name, now or datetime.now(UTC))
        metadata = {
            SWEEP: order.name,
            SPEC: json.dumps(order.spec),
            PYTHON: order.python,
            HOME: order.home or "",
        }
        start(client, order, job, metadata, Path(scratch))
        ready = _checked_in(client, order, job, wait_s)
    sent = {plugin.name: plugin.systems for plugin in order.packages}
    return Submitted(job, order.name, at.url, ray_version(at), ready, sent)


def start(
    client: JobSubmissionClient, order: Order, job: str, metadata: Mapping[str, str], scratch: Path
) -> None:
    """Upload what the job needs and start it."""
    own = [part for plugin in order.packages for part in plugin.parts]
    parts = [*pack(scratch), *(part for part in own if part.is_dir())]
    named = {PACKAGES: ",".join(plugin.name for plugin in order.packages)} if order.packages else {}
    work = scratch / "work"
    work.mkdir()
    for module in (
        part for part in own if part.is_file()
    ):  # Ray takes folders; this one is on the path as well
        shutil.copy2(module, work)
    if order.code:
        order.code.write(work)
    if order.content:
        (work / SWEEP_FILE).write_text(dump_yaml(order.content), encoding="utf-8")
    client.submit_job(
        entrypoint=order.entrypoint(),
        submission_id=job,
        metadata=dict(metadata),
        runtime_env={
            "working_dir": str(work),
            "py_modules": [str(folder) for folder in parts],
            "env_vars": {**order.environment(), **named, JOB: job},
        },
    )


def job_name(sweep: str, when: datetime) -> str:
    """The job's id: the sweep's name and the second it was handed over."""
    return f"flowsweep-{sweep}-{when:%Y%m%dT%H%M%S}"


def _refuse_second(client: JobSubmissionClient, order: Order, at: Endpoint) -> None:
    for job in client.list_jobs():
        metadata = job.metadata or {}
        if metadata.get(SWEEP) != order.name or job.status.is_terminal():
            continue
        there = _spec_of(metadata)
        found = differences(there, order.spec) if there and order.spec else []
        if found:
            raise Refused(
                f"another sweep of this name is running there as {job.submission_id}: {difference_text(found)}",
                key="name", value=order.name, fix="Choose another --name, or stop that one.",
            )  # fmt: skip
        raise Refused(
            f"is already running there as {job.submission_id}", key="name", value=order.name,
            fix=f"Watch it with `flowsweep attach {order.name}`, or stop it.",
        )  # fmt: skip


def _spec_of(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        return dict(json.loads(metadata.get(SPEC, "{}")))
    except ValueError:
        return {}


def _checked_in(client: JobSubmissionClient, order: Order, job: str, wait_s: float) -> bool:
    """Wait for the job's own checks, for so long at most; whether they are passed."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        info = client.get_job_info(job)
        said = client.get_job_logs(job)
        if READY in said:
            return True
        if info.status.is_terminal():
            if info.driver_exit_code in NOT_STARTED:
                raise Refused(
                    "no such program can be run on the head node", key="--python", value=order.python,
                    fix="Name the Python there that has flowsweep's requirements.",
                )  # fmt: skip
            reason = (
                said[said.rfind(FAILED) :].removeprefix(FAILED) if FAILED in said else info.message or said
            )
            raise Rejected(reason.strip(), info.driver_exit_code)
        time.sleep(0.3)
    return False
