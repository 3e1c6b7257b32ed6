"""How fast updates went: per second of elapsed and of process time, from what trials reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...trainables.events import Progress
from ..journal.state import SweepState, TrialState


@dataclass(frozen=True)
class Pace:
    """Updates of a stage and what they took; an update that trains several seeds at once counts for each.

    Attributes:
        updates: how many were reported.
        cpu_s: process time they took.
        wall_s: elapsed time they took, evaluations not counted; 0 where a version did not record it.
    """

    updates: int
    cpu_s: float
    wall_s: float

    @property
    def cpu_s_per_update(self) -> float | None:
        """Process time of one update of one seed; None where none was reported."""
        return self.cpu_s / self.updates if self.updates else None

    @property
    def updates_per_s(self) -> float | None:
        """Updates of one seed per second of elapsed time; None where that is not on record."""
        return self.updates / self.wall_s if self.wall_s else None


def pace(trial: TrialState, stage: str) -> Pace:
    """The pace of one trial's stage."""
    return _of(report for report in trial.progress_reports if report.stage == stage)


def paces(record: SweepState) -> dict[str, Pace]:
    """By stage, over all trials that trained it."""
    found: dict[str, Pace] = {}
    for trial in record.trials.values():
        if trial.repeats:  # it was the other trial that took them
            continue
        for stage in dict.fromkeys(report.stage for report in trial.progress_reports):
            one, sum_ = pace(trial, stage), found.get(stage, Pace(0, 0.0, 0.0))
            found[stage] = Pace(sum_.updates + one.updates, sum_.cpu_s + one.cpu_s, sum_.wall_s + one.wall_s)
    return found


def _of(reports: Iterable[Progress]) -> Pace:
    """Reports come at fixed marks, again at the same ones after a restart: each covers what lies below its mark."""
    updates, cpu_s, wall_s, marks = 0, 0.0, 0.0, {}
    for report in reports:
        below = marks.setdefault(report.seeds, [0])
        updates += (report.step - max(mark for mark in below if mark < report.step)) * len(report.seeds)
        below.append(report.step)
        cpu_s, wall_s = cpu_s + report.cpu_s, wall_s + report.wall_s
    return Pace(updates, cpu_s, wall_s)
