"""Follow and stop what was submitted: jobs found by their id or by the sweep's name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..platform.errors import Unreachable, UserError, nearest
from .connection import printed
from .submit import HOME, PYTHON, SWEEP

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails
    from ray.job_submission import JobSubmissionClient


@dataclass(frozen=True)
class Job:
    """One submitted sweep, as the cluster knows it.

    Attributes:
        status: pending, running, stopped, succeeded or failed.
        message: the cluster's own words on it; the end of the log when it failed.
        started, ended: ISO 8601 in UTC.
        exit_code: of the command line there, once it has ended.
        home: the folder its record is in, as it was submitted with; None: the node's own.
        python: the interpreter it was submitted with.
    """

    job: str
    sweep: str
    status: str
    message: str | None
    started: str | None
    ended: str | None
    exit_code: int | None = None
    home: str | None = None
    python: str = "python"

    @property
    def over(self) -> bool:
        """Whether it will not run on."""
        return self.status in {"stopped", "succeeded", "failed"}


def list_jobs(client: JobSubmissionClient) -> list[Job]:
    """Every sweep submitted to the cluster, the newest first."""
    ours = [job for job in client.list_jobs() if SWEEP in (job.metadata or {})]
    return [_job(job) for job in sorted(ours, key=lambda job: job.start_time or 0, reverse=True)]


def find(client: JobSubmissionClient, name: str) -> Job:
    """The job of that id, or the newest of the sweep of that name.

    Raises:
        UserError: there is none.
    """
    jobs = list_jobs(client)
    for job in jobs:
        if name in {job.job, job.sweep}:
            return job
    known = {job.sweep for job in jobs} | {job.job for job in jobs}
    raise UserError(
        "no such job or sweep on this cluster", key="JOB", value=name,
        fix=nearest(name, known) if known else "Nothing was submitted to it yet.",
    )  # fmt: skip


def logs(client: JobSubmissionClient, job: Job) -> str:
    """All it has printed so far."""
    return client.get_job_logs(job.job)


def follow(client: JobSubmissionClient, job: Job, write: Callable[[str], object]) -> Job:
    """Pass on what it prints, from the start, until it is over; the job as it then is.

    Raises:
        Unreachable: the connection was lost; the job itself goes on.
        BrokenPipeError: of ``write``.
    """

    async def pass_on() -> None:
        async for text in printed(client, job.job):
            write(text)

    try:
        asyncio.run(pass_on())
    except BrokenPipeError:  # whoever reads what is passed on has enough
        raise
    except (OSError, RuntimeError) as error:
        raise Unreachable(
            f"the connection was lost: {error}", key=job.job, fix="The job goes on; follow it again."
        ) from None
    return find(client, job.job)


def stop(client: JobSubmissionClient, job: Job) -> bool:
    """Ask it to end as a Ctrl-C would: its trials store their state first. Whether it was running."""
    return not job.over and client.stop_job(job.job)


def _job(details: JobDetails) -> Job:
    metadata = details.metadata or {}
    return Job(
        job=details.submission_id or details.job_id or "",
        sweep=metadata[SWEEP],
        status=details.status.value.lower(),
        message=details.message,
        started=_time(details.start_time),
        ended=_time(details.end_time),
        exit_code=details.driver_exit_code,
        home=metadata.get(HOME) or None,
        python=metadata.get(PYTHON) or "python",
    )


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
