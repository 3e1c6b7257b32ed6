"""Watching a sweep from anywhere: its events, from the folder where that is seen, else through the cluster's own interface."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Literal, cast

from ..platform.errors import Unreachable, UserError
from ..platform.journal.events import Entry
from ..platform.paths import Home, SweepPaths
from ..trainables.lossless_json import loads
from ..trainables.redaction import redacted
from . import jobs
from .connection import connected, printed
from .entry import FAILED
from .jobs import Job
from .relay import LIFE_S, MARK, answers
from .submit import Order, start
from .target import Target

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

SIDE = "flowsweep.side"
"""The metadata key of jobs that only answer a question."""
PATIENCE_S = 60.0
"""How long a sweep that was just submitted may take to begin its record."""
SILENT_S = LIFE_S + PATIENCE_S
"""How long a job that answers may print nothing: no longer than it lives."""
AGAIN_S = 2.0


@dataclass(frozen=True)
class Mark:
    """Between entries: ``now``, all that had happened is told; ``over``, no more come; ``left``, its driver is gone."""

    kind: Literal["now", "over", "left"]
    job: Job | None = None
    """The sweep's job as it ended, where it has one."""


def watch_here(paths: SweepPaths) -> Generator[Entry | Mark, None, None]:
    """Yield the entries of a sweep whose folder is seen from here, until it is over."""
    for said in answers(paths, -1, float("inf")):
        yield _entry(said["entry"]) if "entry" in said else Mark(said["mark"])


def watch(to: Target, name: str) -> Generator[Entry | Mark, None, None]:
    """Yield the entries of a sweep on a cluster, until it is over.

    Args:
        name: the sweep's, or one of its jobs'.

    Raises:
        UserError: nothing of that name was submitted there, or nothing is on record.
        Unreachable: the connection was lost; the sweep itself goes on.
    """
    with connected(to.at) as client:
        job = jobs.find(client, name)
        seen = seen_here(job)
    if seen:
        yield from watch_here(seen)
        return
    after = -1
    while True:
        mark = ""
        with connected(to.at) as client:
            patience = 0.0 if job.over else PATIENCE_S
            question = ("relay", job.sweep, "--after", str(after), "--patience-s", f"{patience:g}")
            with contextlib.closing(_asked(client, to, question, job.home, job.python)) as said:
                for answer in said:
                    if "entry" in answer:
                        entry = _entry(answer["entry"])
                        after = max(after, entry.seq)
                        yield entry
                    elif (mark := answer["mark"]) == "now":
                        yield Mark("now")
            job = jobs.find(client, job.job)
        if mark in ("over", "left") and job.over:
            yield Mark("over" if mark == "over" else "left", job)
            return
        time.sleep(AGAIN_S)  # its job goes on: the record is about to


def _entry(values: Mapping[str, Any]) -> Entry:
    return Entry.model_validate(values, strict=False)


def seen_here(job: Job) -> SweepPaths | None:
    """The sweep's folder, if it is seen from here; known by the job's id, which the job has left in it."""
    if job.home is None:
        return None
    paths = Home(Path(job.home)).sweep(job.sweep)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if (paths.root / "job").read_text(encoding="utf-8").strip() == job.job and paths.journal.exists():
            return paths
    return None


def sweeps_on(to: Target) -> list[dict[str, Any]]:
    """Every sweep on record in the cluster's home, newest first, as `list --json` has them.

    Raises:
        Unreachable: the cluster does not answer.
    """
    with connected(to.at) as client:
        newest = next(iter(jobs.list_jobs(client)), None) if to.name is None else None
        home, python = (newest.home, newest.python) if newest else (to.profile.home, to.profile.python)
        with contextlib.closing(_asked(client, to, ("list",), home, python)) as said:
            return list(next(said))


def _asked(
    client: JobSubmissionClient, to: Target, question: tuple[str, ...], home: str | None, python: str
) -> Generator[Any, None, None]:
    """What a small job on the cluster answers, line by line; it is ended when nobody listens any more."""
    job, answered = f"flowsweep-{question[0]}-{secrets.token_hex(6)}", False
    order = Order("", question, python=python, home=home, variables=dict(to.profile.env))
    with tempfile.TemporaryDirectory(prefix="flowsweep-") as scratch:
        start(client, order, job, {SIDE: question[0]}, Path(scratch))
    try:
        with contextlib.closing(lines_of(client, job)) as lines:
            for line in lines:
                if line.startswith(MARK):
                    answered = True
                    yield loads(line.removeprefix(MARK))
                elif line.startswith(FAILED):
                    raise UserError("the cluster could not answer", fix=line.removeprefix(FAILED))
        if not answered:
            raise _no_answer(client, job, to)
    except (OSError, RuntimeError, Empty) as error:
        raise Unreachable(
            f"the connection was lost: {error or 'nothing came for too long'}", key="--address", value=to.at.url,
            fix="The sweep goes on; attach again.",
        ) from None  # fmt: skip
    finally:
        _end(client, job)


def _no_answer(client: JobSubmissionClient, job: str, to: Target) -> Unreachable:
    """Why a job has ended without a word of ours: mostly the cluster could not even start it."""
    said = next(reversed((client.get_job_info(job).message or "").strip().splitlines()), "no reason is given")
    return Unreachable(
        f"its job ended without an answer: {redacted(said)[:300]}", key="--address", value=to.at.url,
        fix="The Python that answers is the profile's `python`, or the one the sweep was submitted with.",
    )  # fmt: skip


def lines_of(client: JobSubmissionClient, job: str) -> Generator[str, None, None]:
    """What a job prints, line by line, from its start until it is over; pieces of the log end anywhere.

    Raises:
        OSError, RuntimeError: the connection was lost.
        Empty: nothing came for longer than any side job lives.
    """
    received: Queue[str | Exception | None] = Queue()
    handle: list[tuple[asyncio.AbstractEventLoop, asyncio.Task]] = []

    async def pass_on() -> None:
        handle.append((asyncio.get_running_loop(), cast("asyncio.Task", asyncio.current_task())))
        async for piece in printed(client, job):
            received.put(piece)

    def listen() -> None:
        try:
            asyncio.run(pass_on())
            received.put(None)
        except asyncio.CancelledError:
            received.put(None)
        except Exception as error:
            received.put(error)

    # In a thread of its own, so that an interrupt never hits the loop half-way through something.
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        rest = ""
        while (piece := received.get(timeout=SILENT_S)) is not None:
            if isinstance(piece, Exception):
                raise piece
            *whole, rest = (rest + piece).split("\n")
            yield from whole
        yield from filter(None, [rest])
    finally:
        for loop, task in handle:
            with contextlib.suppress(RuntimeError):  # the loop may have ended by itself
                loop.call_soon_threadsafe(task.cancel)
        listener.join(timeout=5)


def _end(client: JobSubmissionClient, job: str) -> None:
    """End a side job and forget it; whatever goes wrong, it ends by itself."""
    with contextlib.suppress(Exception):
        client.stop_job(job)
        for _ in range(20):
            if client.get_job_status(job).is_terminal():
                client.delete_job(job)
                return
            time.sleep(0.1)
