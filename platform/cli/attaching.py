"""attach: the table of a sweep that runs elsewhere, or in another terminal."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from ..errors import UserError
from ..paths import Home
from .cluster import Address, Cluster, Insecure, JobName
from .shared import console

if TYPE_CHECKING:
    from ...cluster.attach import Mark
    from ...cluster.target import Target
    from ..record.journal import Fact

app = typer.Typer()

Stream: TypeAlias = "Generator[Fact | Mark, None, None]"


@app.command()
def attach(
    job: JobName,
    cluster: Cluster = None,
    address: Address = None,
    allow_insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every fact as a line of JSON.")] = False,
) -> None:
    """Watch a sweep as `run` shows it, from any machine. Ctrl-C leaves; the sweep goes on.

    Without a cluster: one of this machine's home, run in another terminal.
    """
    facts, option = _facts(job, cluster, address, allow_insecure)
    try:
        with closing(facts):
            end, finished = _print(facts) if as_json else _show(facts)
    except KeyboardInterrupt:
        typer.echo(f"\n{job} goes on without you. Back to it: flowsweep attach {job}{option}", err=True)
        return
    if end == "left" and not as_json:
        typer.echo(
            f"Nobody runs {job} any more, and it has not ended. Go on with it: flowsweep resume, or submit it again."
        )
    raise typer.Exit(0 if finished else 1)


def _facts(job: str, cluster: str | None, address: str | None, allow_insecure: bool) -> tuple[Stream, str]:
    """Where the facts come from: the cluster that is meant, or else the home of this machine."""
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


def _show(facts: Stream) -> tuple[str, bool]:
    """The table, and lines where there is no terminal, until the sweep is over; how it ended, and whether a trial finished."""
    from ...cluster.attach import Mark
    from ..running.live import LiveView, Shown, table

    finished, told, started = False, False, 0.0
    with ExitStack() as stack:
        view: LiveView | None = None
        for fact in facts:
            if isinstance(fact, Mark):
                if view and not told and not console.is_terminal:
                    console.print(table(view.board))
                told = True
                if fact.kind == "now":
                    continue
                return fact.kind, finished
            begins = fact.kind in ("sweep_started", "sweep_resumed")
            if view is None and begins:
                view = stack.enter_context(LiveView(Shown.recorded(fact.data["spec"]), console))
            if view is None:
                continue
            if begins:
                view.board.clock = time.monotonic
                view.board.started_s = time.monotonic() - max(0.0, time.time() - fact.time)
                started = fact.time
            elif fact.kind == "sweep_ended":
                ended_s = view.board.started_s + fact.time - started
                view.board.clock = partial(float, ended_s)
            finished |= _finishes(fact)
            if told:
                view(fact)
            else:
                view.board.take(fact)
    return "left", finished


def _print(facts: Stream) -> tuple[str, bool]:
    from ...cluster.attach import Mark
    from ...trainables.lossless_json import dumps

    finished = False
    for fact in facts:
        if not isinstance(fact, Mark):
            finished |= _finishes(fact)
            typer.echo(dumps(asdict(fact)))
        elif fact.kind != "now":
            return fact.kind, finished
    return "left", finished


def _finishes(fact: Fact) -> bool:
    return fact.kind == "trial_ended" and fact.data["status"] == "finished"
