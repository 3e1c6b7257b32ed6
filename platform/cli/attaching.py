"""attach: the table of a sweep that runs elsewhere, or in another terminal."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ...trainables.events import Event
from ..errors import UserError
from ..journal.events import SessionBegan, SweepEnded, TrialEnded
from ..paths import Home
from .cluster import Address, Cluster, Insecure, JobName
from .shared import console

if TYPE_CHECKING:
    from ...cluster.attach import Mark
    from ...cluster.target import Target
    from ..journal.events import Entry

app = typer.Typer()

Stream: TypeAlias = "Generator[Entry | Mark, None, None]"


@app.command()
def attach(
    job: JobName,
    cluster: Cluster = None,
    address: Address = None,
    allow_insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Watch a sweep as `run` shows it, from any machine. Ctrl-C leaves; the sweep goes on.

    Without a cluster: one of this machine's home, run in another terminal.
    """
    entries, option = _entries(job, cluster, address, allow_insecure)
    try:
        with closing(entries):
            end, finished = _print(entries) if as_json else _show(entries)
    except KeyboardInterrupt:
        typer.echo(f"\n{job} goes on without you. Back to it: flowsweep attach {job}{option}", err=True)
        return
    if end == "left" and not as_json:
        typer.echo(
            f"Nobody runs {job} any more, and it has not ended. Go on with it: flowsweep resume, or submit it again."
        )
    raise typer.Exit(0 if finished else 1)


def _entries(job: str, cluster: str | None, address: str | None, allow_insecure: bool) -> tuple[Stream, str]:
    """Return where the entries come from: the cluster that is meant, or else the home of this machine."""
    from ...cluster.attach import watch, watch_here

    to = _cluster_meant(cluster, address, allow_insecure)
    if to is not None:
        return watch(to, job), to.option
    from .records import recorded

    return watch_here(recorded(job)), ""


def _cluster_meant(cluster: str | None, address: str | None, allow_insecure: bool) -> Target | None:
    from ...cluster.target import target

    try:
        return target(cluster, address, allow_insecure)
    except UserError as error:
        if error.key == "--address" and not address and Home.default().sweeps.exists():  # none is meant
            return None
        raise


def _show(entries: Stream) -> tuple[str, bool]:
    """The table, and lines where there is no terminal, until the sweep is over; how it ended, and whether a trial finished."""
    from ...cluster.attach import Mark
    from ..running.live import LiveView, Shown, table

    finished, told, started = False, False, 0.0
    with ExitStack() as stack:
        view: LiveView | None = None
        for entry in entries:
            if isinstance(entry, Mark):
                if view and not told and not console.is_terminal:
                    console.print(table(view.board))
                told = True
                if entry.kind == "now":
                    continue
                return entry.kind, finished
            event = entry.event
            if view is None and isinstance(event, SessionBegan):
                view = stack.enter_context(LiveView(Shown.recorded(event.spec), console))
            if view is None:
                continue
            if isinstance(event, SessionBegan):
                view.board.clock = time.monotonic
                view.board.started_s = time.monotonic() - max(0.0, time.time() - entry.time)
                started = entry.time
            elif isinstance(event, SweepEnded):
                ended_s = view.board.started_s + entry.time - started
                view.board.clock = partial(float, ended_s)
            finished |= _finishes(event)
            if told:
                view(entry)
            else:
                view.board.take(entry)
    return "left", finished


def _print(entries: Stream) -> tuple[str, bool]:
    from ...cluster.attach import Mark
    from ...trainables.lossless_json import dumps

    finished = False
    for entry in entries:
        if not isinstance(entry, Mark):
            finished |= _finishes(entry.event)
            typer.echo(dumps(entry.model_dump(exclude_unset=True)))
        elif entry.kind != "now":
            return entry.kind, finished
    return "left", finished


def _finishes(event: Event) -> bool:
    return isinstance(event, TrialEnded) and event.status == "finished"
