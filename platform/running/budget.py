"""What a sweep has spent, counted from its events, so that a resumed sweep knows it before its first step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...trainables.events import Continued, Pulse, Report, StageComputed, StageReused, Waiting
from ..journal.events import (
    Entry,
    Recovered,
    SessionBegan,
    StudyRenewed,
    TrialEnded,
    TrialExtended,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
)
from ..sweep.stop_spec import Budget

HOUR_S = 3600.0
BETWEEN_SESSIONS = (SessionBegan, Recovered, TrialRetried, TrialExtended, StudyRenewed)
"""Events that may come first after a pause; the time up to them was not spent."""
SIGNS_OF_WORK = (Report, TrialPlaced, Pulse, StageComputed, StageReused, Continued)
SIGNS_OF_REST = (Waiting, TrialEnded, TrialRetried)
SWEEP_LIMITS = {
    "steps": "updates",
    "core_hours": "core-hours",
    "gpu_hours": "GPU-hours",
    "wall_clock_h": "hours",
}
TRIAL_LIMITS = {"trial_core_hours": "core-hours", "trial_wall_clock_h": "hours at work"}


@dataclass(frozen=True)
class Spent:
    """A limit that has been reached.

    Attributes:
        rule: its place in the sweep file (``budget.core_hours``).
        reason: in words with numbers.
    """

    rule: str
    reason: str


class Meter:
    """Counts what the search spends. Show it every entry; of these it keeps sums only.

    Durations come from a monotonic clock while the sweep runs. What earlier drivers spent is read from the times of their
    entries, of which only steps forward count: a clock that was set back costs nothing.

    Args:
        budget: the limits.
        gpus: set aside per trial.
        recorded: the journal so far.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        budget: Budget,
        gpus: float = 0.0,
        recorded: Iterable[Entry] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self._budget, self._gpus, self._clock = budget, gpus, clock
        self._searched: set[str] = set()
        self._steps: dict[tuple, int] = {}
        self._all_steps = 0
        self._cpu_s: dict[str, float] = defaultdict(float)
        self._stage_s: dict[tuple[str, str], tuple[float, float]] = {}
        self._worked_s: dict[str, float] = defaultdict(float)
        self._since_s: dict[str, float] = {}
        self._elapsed_s = 0.0
        last_time = None
        for entry in recorded:
            if last_time is not None and not isinstance(entry.event, BETWEEN_SESSIONS):
                self._elapsed_s += max(0.0, entry.time - last_time)
            last_time = entry.time
            self._take(entry, self._elapsed_s)
        self._rest(self._elapsed_s)
        self._before_s, self._began_s = self._elapsed_s, clock()

    def take(self, entry: Entry) -> None:
        """Count an event, or a pulse, that has just come."""
        self._take(entry, self._now_s())

    def sweep_limit(self) -> Spent | None:
        """The first limit of the sweep that has been reached."""
        return self._reached(SWEEP_LIMITS, self.spent)

    def trial_limit(self, trial: str) -> Spent | None:
        """The first limit of a trial that has been reached."""
        if trial not in self._searched:
            return None
        now_s = self._now_s()
        return self._reached(
            TRIAL_LIMITS,
            lambda: {
                "trial_core_hours": self._cpu_s[trial] / HOUR_S,
                "trial_wall_clock_h": self._work_s(trial, now_s) / HOUR_S,
            },
        )

    def spent(self) -> dict[str, float]:
        """What the search has spent, in the units of the sweep's limits."""
        now_s = self._now_s()
        return {
            "steps": self._all_steps,
            "core_hours": sum(self._cpu_s[trial] for trial in self._searched) / HOUR_S,
            "gpu_hours": self._gpus * sum(self._work_s(trial, now_s) for trial in self._searched) / HOUR_S,
            "wall_clock_h": now_s / HOUR_S,
        }

    def _reached(self, limits: dict[str, str], spent: Callable[[], dict[str, float]]) -> Spent | None:
        given = {name: limit for name in limits if (limit := getattr(self._budget, name)) is not None}
        amounts = spent() if given else {}
        for name, limit in given.items():
            if amounts[name] >= limit:
                return Spent(f"budget.{name}", f"{amounts[name]:,.4g} of {limit:,g} {limits[name]} spent")
        return None

    def _now_s(self) -> float:
        return self._before_s + self._clock() - self._began_s

    def _work_s(self, trial: str, now_s: float) -> float:
        return self._worked_s[trial] + now_s - self._since_s.get(trial, now_s)

    def _take(self, entry: Entry, now_s: float) -> None:
        trial, event = entry.trial, entry.event
        if isinstance(event, SessionBegan):
            self._rest(now_s)
        if trial is None:
            return
        match event:
            case TrialProposed():
                if event.phase == "search":
                    self._searched.add(trial)
            case Report():
                self._work(trial, event.stage, event.cpu_s, 0.0)
                self._step(trial, event)
            case StageComputed():
                self._work(trial, event.stage, 0.0, event.cpu_s)
        if isinstance(event, SIGNS_OF_WORK):
            self._since_s.setdefault(trial, now_s)
        elif isinstance(event, SIGNS_OF_REST) and trial in self._since_s:
            self._worked_s[trial] += now_s - self._since_s.pop(trial)

    def _work(self, trial: str, stage: str, reported_s: float, computed_s: float) -> None:
        # The figure at publishing includes the reports before it, but only those since the last restart.
        before = self._stage_s.get((trial, stage), (0.0, 0.0))
        after = self._stage_s[trial, stage] = (before[0] + reported_s, before[1] + computed_s)
        self._cpu_s[trial] += max(after) - max(before)

    def _step(self, trial: str, report: Report) -> None:
        series, steps = (trial, report.stage, *report.seeds), report.step * len(report.seeds)
        if trial in self._searched and steps > self._steps.get(series, 0):
            self._all_steps += steps - self._steps.get(series, 0)
            self._steps[series] = steps

    def _rest(self, now_s: float) -> None:
        for trial in list(self._since_s):
            self._worked_s[trial] += now_s - self._since_s.pop(trial)


def estimates(
    budget: Budget, rows: Iterable[Any], gpus: float, concurrent: int
) -> dict[str, dict[str, float]]:
    """Each limit of the sweep beside what the plan expects the search to take.

    Args:
        rows: of the plan, as ``StageRow``.
        concurrent: trials at once.
    """
    searched = [row for row in rows if row.phase == "search"]
    core_h = sum(row.core_h for row in searched)
    expected = {
        "steps": sum(row.steps * row.computed for row in searched),
        "core_hours": core_h,
        "gpu_hours": gpus * core_h,
        "wall_clock_h": core_h / max(1, concurrent),
    }
    limits = {name: getattr(budget, name) for name in SWEEP_LIMITS}
    return {
        name: {"limit": limit, "estimate": expected[name]}
        for name, limit in limits.items()
        if limit is not None
    }
