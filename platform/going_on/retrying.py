"""Trials that failed, tried again because somebody asked for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ...trainables.events import Event
from ..errors import Refused, UserError, nearest
from ..journal.events import TrialRetried
from ..journal.state import SweepState, TrialState
from ..paths import SweepPaths
from ..running.failures import CLASSES


@dataclass(frozen=True)
class Chosen:
    """Which failures to try again.

    Attributes:
        classes: of failures; all when empty.
        trials: by name; all when empty.
    """

    classes: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.classes:
            if name not in CLASSES:
                raise UserError("no class of failures", key="--class", value=name, fix=nearest(name, CLASSES))


def failed_trials(state: SweepState, chosen: Chosen) -> dict[str, str]:
    """Return the failed trials that are meant, and the class each failed with.

    Raises:
        UserError: a trial does not exist.
        Refused: a named trial has not failed, or no trial is meant.
    """
    known = state.trials
    for name in chosen.trials:
        if name not in known:
            raise UserError(
                "no such trial in this sweep", key="--trial", value=name, fix=nearest(name, known)
            )
        if known[name].failure is None:
            raise Refused(
                f"has not failed: it {_state(known[name])}",
                key="--trial",
                value=name,
                fix="Only failed trials are tried again; `flowsweep resume` continues unfinished ones.",
            )
    meant = {
        name: failed
        for name, trial in known.items()
        if (failed := trial.failure)
        and (not chosen.trials or name in chosen.trials)
        and (not chosen.classes or failed in chosen.classes)
    }
    if not meant:
        there = sorted({trial.failure for trial in known.values() if trial.failure})
        raise Refused(
            "no trial of this sweep failed like that" if there else "no trial of this sweep has failed",
            key="--class" if chosen.classes else None,
            fix=f"There are: {', '.join(there)}." if there else "See `flowsweep show`.",
        )
    return meant


def reopen_failed(
    meant: Mapping[str, str],
    state: SweepState,
    paths: SweepPaths,
    record: Callable[[Event, str], Any],
    code_changed: bool,
) -> None:
    """Put on record that failed trials are tried again; the next to take up the sweep runs them.

    They go on from their last checkpoint. One that diverged begins anew, as do all whose code has changed since: what is
    left of them is put away first.

    Args:
        record: puts an event of a trial on record.
    """
    for name, failed in meant.items():
        trial = state.trials[name]
        afresh = code_changed or failed == "diverged"
        if afresh:
            _forget(paths, name)
        lanes = trial.request.lanes if trial.request else None
        if failed == "out_of_memory" and len(trial.seeds) > 1:
            lanes = 1
        event = TrialRetried(failure=failed, reason=trial.reason, lanes=lanes, asked=True, afresh=afresh)
        record(event, name)


def _state(trial: TrialState) -> str:
    if not trial.status.has_ended:
        return "has not ended"
    return {"finished": "ran to its end", "pruned": "was stopped early"}.get(
        trial.status, f"is {trial.status}"
    )


def _forget(paths: SweepPaths, trial: str) -> None:
    folder = paths.trials / trial
    stale: Collection[Any] = [*folder.glob("*/step-*"), *folder.glob("*/best.json"), folder / "unheard.jsonl"]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
