"""What came out of sweeps: the door to records, leaderboard, intervals and tables, and the list of all sweeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..journal.journal import writer_of
from ..journal.state import WRONG_FORM, SweepState, TrialState, read_sweep
from ..paths import Home, SweepPaths
from ..report.intervals import Comparison, Interval
from ..report.leaderboard import (
    LeaderboardRow,
    Savings,
    best,
    first_against,
    front_rows,
    leaderboard,
    savings,
)
from ..report.tables import tables, write_tables
from ..report.why import above, why_best

__all__ = [
    "Comparison",
    "Interval",
    "LeaderboardRow",
    "Savings",
    "SweepState",
    "SweepSummary",
    "TrialState",
    "above",
    "best",
    "first_against",
    "front_rows",
    "leaderboard",
    "list_sweeps",
    "read_sweep",
    "savings",
    "summarize",
    "tables",
    "why_best",
    "write_tables",
]


@dataclass(frozen=True)
class SweepSummary:
    """One line of the list of sweeps.

    Attributes:
        status: ``running``, ``finished``, ``interrupted`` (asked to stop), ``died`` (nobody runs it and nobody ended
            it; it can be resumed), or ``damaged`` with the reason in ``note``.
        dataset, environment, problem: what it learns from, under its kind; the others are empty.
        trials: how many of each status, all phases.
        best: the objective of the best trial, its confirmation where there is one.
        started, ended: unix seconds of the first start and the last end.
        episodes_spent: evaluation episodes.
    """

    name: str
    status: str
    system: str = ""
    dataset: str = ""
    environment: str = ""
    problem: str = ""
    metric: str = ""
    trials: Mapping[str, int] | None = None
    best: float | None = None
    best_trial: str | None = None
    started: float | None = None
    ended: float | None = None
    episodes_spent: int = 0
    note: str = ""


def list_sweeps(home: Home) -> list[SweepSummary]:
    """Every sweep of this home, newest first; starts nothing and asks nobody."""
    folders = home.sweeps.iterdir() if home.sweeps.exists() else ()
    found = [summarize(SweepPaths(folder)) for folder in folders if SweepPaths(folder).journal.exists()]
    return sorted(found, key=lambda summary: -(summary.started or 0))


def summarize(paths: SweepPaths) -> SweepSummary:
    """One sweep in one line; a damaged record is said, not raised."""
    try:
        record = read_sweep(paths)
        return _summary(record)
    except (UserError, *WRONG_FORM) as error:
        return SweepSummary(paths.name, "damaged", note=str(error))


def _summary(record: SweepState) -> SweepSummary:
    paths = record.paths
    if not record.started:
        return SweepSummary(paths.name, "died", note="it was recorded no further than its name")
    status = record.status
    if status == "running" and writer_of(paths.journal) is None:
        status = "died"
    first, spec = best(record), record.spec
    return SweepSummary(
        name=paths.name,
        status=status,
        system=spec["system"],
        **record.source.named,
        metric=record.metric,
        trials=dict(Counter(str(trial.status) for trial in record.trials.values())),
        best=first.score.mean if first else None,
        best_trial=first.trial if first else None,
        started=record.sessions[0][0],
        ended=record.sessions[-1][1],
        episodes_spent=sum(trial.episodes_spent for trial in record.trials.values()),
        note=record.reason,
    )
