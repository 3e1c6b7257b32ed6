"""Why the best trial is the best, in one line: among whom, who scored higher and does not count, what stands above it."""

from __future__ import annotations

from ..journal.state import SweepState
from ..sweep.goals import Goals
from .leaderboard import LeaderboardRow, leaderboard
from .text import counted, number

MOST_NAMED = 2
"""Trials named that scored higher and broke a limit; the others are counted."""


def why_best(record: SweepState, row: LeaderboardRow) -> str:
    """What makes a trial the best of its sweep.

    Args:
        row: the best one, as :func:`.leaderboard.best` gives it.
    """
    rows = [other for other in leaderboard(record) if other.rank is not None]
    confirmed = [other for other in rows if other.phase == "confirm"]
    # Of a single confirmation, what it was chosen among is what makes it the best.
    alone = len(confirmed) == 1 and row.phase == "confirm" and row.feasible
    judged = next((other for other in rows if other.trial == row.confirms), row) if alone else row
    group = [other for other in rows if other.phase == judged.phase]
    where = " on the test seeds" if judged.phase == "confirm" else ""
    parts = [_among(record, judged, group) + where, *_higher(record, judged, group)]
    parts += ["confirmed on the test seeds"] if judged is not row else []
    if row.phase == "search":
        refuted = [
            f"{o.trial}: {_broken(record, o)}" for o in rows if o.phase == "confirm" and not o.feasible
        ]
        parts += (
            [f"on the test seeds no confirmed trial kept every limit ({', '.join(refuted)})"]
            if refuted
            else []
        )
    parts += [
        f"the {_called(other)} is above it with {number(other.score.mean)}" for other in above(record, row)
    ]
    return "; ".join(parts)


def above(record: SweepState, row: LeaderboardRow) -> list[LeaderboardRow]:
    """The baselines that are ranked before a confirmed trial."""
    if row.phase != "confirm" or row.rank is None:
        return []
    return [
        other
        for other in leaderboard(record)
        if other.phase == "baseline" and other.rank is not None and other.rank < row.rank
    ]


def _among(record: SweepState, row: LeaderboardRow, group: list[LeaderboardRow]) -> str:
    kept = sum(other.feasible for other in group)
    if Goals.recorded(record.spec).constraints and not row.feasible:
        return f"closest to its limits: none of {counted(len(group), 'trial')} keeps them, here {_broken(record, row)}"
    kind = "feasible trial" if Goals.recorded(record.spec).constraints else "trial"
    if len(Goals.recorded(record.spec).objectives) > 1:
        on_front = sum(other.front for other in group)
        return f"leads the {on_front} on the Pareto front of {counted(kept, kind)}"
    return f"best of {counted(kept, kind)}"


def _higher(record: SweepState, row: LeaderboardRow, group: list[LeaderboardRow]) -> list[str]:
    """The trials with a better objective that break a limit, the best of them first."""
    if not row.feasible:
        return []
    sign = 1 if record.direction == "maximize" else -1
    ahead = [o for o in group if not o.feasible and sign * (o.score.mean - row.score.mean) > 0]
    ahead.sort(key=lambda other: -sign * other.score.mean)
    word = "higher" if sign > 0 else "lower"
    said = [f"{other.trial} scored {word} but {_broken(record, other)}" for other in ahead[:MOST_NAMED]]
    left = len(ahead) - MOST_NAMED
    return [*said, f"so did {left} more"] if left > 0 else said


def _broken(record: SweepState, row: LeaderboardRow) -> str:
    return " and ".join(Goals.recorded(record.spec).broken(row.metrics))


def _called(row: LeaderboardRow) -> str:
    return row.trial.replace("baseline-", "baseline ", 1)
