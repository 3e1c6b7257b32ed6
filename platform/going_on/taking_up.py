"""Before a sweep runs: whether it may, and its record brought up to what is wanted now."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...trainables.events import Event
from ..errors import Refused
from ..journal.events import Entry, Warned
from ..journal.journal import Journal, read, writer_of
from ..journal.state import SweepState, read_sweep
from ..paths import SweepPaths
from ..search.storages import open_storage, study_name
from ..sweep.plan import Plan
from .continuity import changes_since, check_unchanged
from .extension import take_further
from .renewal import renewed_study
from .retrying import Chosen, failed_trials, reopen_failed


@dataclass(frozen=True)
class Going:
    """How a sweep is taken up.

    Attributes:
        resume: go on with the one of that name instead of starting it.
        retry: failed trials to try again, when resuming.
        anyway: go on over other data or with other code.
    """

    resume: bool = False
    retry: Chosen | None = None
    anyway: bool = False


def check_going(plan: Plan, paths: SweepPaths, going: Going) -> None:
    """Refuse what can be seen to fail before Ray is started for it.

    Raises:
        Refused: the name is taken, there is nothing to go on with, somebody else runs it, or data or code changed.
        UserError: a trial to be tried again does not exist.
    """
    there = paths.journal.exists()
    # A driver that died, or found too little to run on, before the first fact has begun nothing.
    if there and paths.journal.stat().st_size > 0 and not going.resume:
        raise Refused(
            "a sweep of this name exists",
            key="name",
            value=paths.name,
            fix=f"Continue it with `flowsweep resume {paths.name}`, or choose another with `--name`.",
        )
    if going.resume and not there:
        raise Refused(
            "there is no sweep of this name to resume",
            key="name",
            value=paths.name,
            fix="See `flowsweep list`.",
        )
    if there:
        _check_alone(paths)
        before = read_sweep(paths, keep_reports=False)
        check_unchanged(changes_since(plan, before.started), plan, going.anyway)
        if going.retry:
            failed_trials(before, going.retry)


def take_up(
    plan: Plan, paths: SweepPaths, journal: Journal, going: Going, watch: Callable[[Entry], None]
) -> tuple[Sequence[Entry], dict[str, Any]]:
    """Reopen what is to go on: failed trials, finished ones with more steps, a study whose space has changed.

    Returns:
        What is on record then, and what ``sweep_resumed`` should say of changes it goes on over.
    """

    def record(event: Event, trial: str | None = None) -> None:
        entries.append(journal.append(event, trial))
        state.apply(entries[-1])
        watch(entries[-1])

    entries = list(read(paths.journal))
    state = SweepState.of(entries, paths, keep_reports=False)
    changes = changes_since(plan, state.started)
    check_unchanged(changes, plan, going.anyway)
    for text in changes.packages:
        warned = Warned(text=f"changed since the sweep was last run: {text}")
        watch(Entry(seq=-1, time=time.time(), event=warned))
    if going.retry:
        reopen_failed(failed_trials(state, going.retry), state, paths, record, bool(changes.code))
    take_further(plan, state, record)
    storage = plan.spec.search.storage
    renewed_study(
        lambda: open_storage(storage, paths),
        study_name(storage, paths),
        plan.resolved.space,
        state,
        record,
    )
    despite = [*(f"{plan.spec.source.kind}: {text}" for text in changes.data), *changes.code]
    return entries, {"despite": tuple(despite)} if despite else {}


def _check_alone(paths: SweepPaths) -> None:
    if other := writer_of(paths.journal):
        raise Refused(
            f"this sweep is being run by {other}",
            key=paths.name,
            fix="Watch it with `flowsweep show`, or stop that process before you start it here.",
        )
