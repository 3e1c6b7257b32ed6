"""What a trial is judged by: its objectives and its limits, read from what it reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...trainables.config import parse
from ...trainables.names import MetricName
from .search_spec import Constraint, Goal, Objective

BEHIND = 1e30
"""Worse than any objective: where judged values of trials begin that break a limit."""
MOST_BEYOND = 1e6
"""Times its limit beyond which a broken limit counts no worse."""


@dataclass(frozen=True)
class Goals:
    """The objectives, the leading one first, and the constraints of a sweep. All are metrics of one stage."""

    objectives: tuple[Goal, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, spec: Any) -> Goals:
        """Those of a sweep file."""
        return cls(spec.objective.goals, spec.constraints)

    @classmethod
    def recorded(cls, spec: Mapping[str, Any]) -> Goals:
        """Those of a sweep file on record; older ones know one objective and no constraint."""
        constraints = tuple(parse(Constraint, given) for given in spec.get("constraints", ()))
        return cls(parse(Objective, spec["objective"]).goals, constraints)

    @property
    def single(self) -> bool:
        """Whether one objective and nothing else is looked at."""
        return len(self.objectives) == 1 and not self.constraints

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric looked at, as ``stage/metric``, objectives first."""
        found = [goal.metric for goal in self.objectives] + [limit.metric for limit in self.constraints]
        return tuple(dict.fromkeys(found))

    def read(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics looked at among those that a stage reports, given by bare name."""
        names = {metric: MetricName(metric).bare for metric in self.metrics}
        return {metric: means[bare] for metric, bare in names.items() if bare in means}

    def values(self, known: Mapping[str, float]) -> tuple[float, ...] | None:
        """The objectives in order; None while one is missing."""
        found = tuple(known[goal.metric] for goal in self.objectives if goal.metric in known)
        return found if len(found) == len(self.objectives) else None

    def excess(self, known: Mapping[str, float]) -> dict[str, float]:
        """By constraint, how far its metric lies beyond the limit: 0 or below where kept, NaN where it is not known."""
        return {limit.text: limit.excess(known.get(limit.metric, math.nan)) for limit in self.constraints}

    def judged(self, known: Mapping[str, float]) -> float | None:
        """What a stop rule compares: the leading objective, and behind all of those whatever breaks a limit.

        Where a limit is broken, by how far takes the place of the objective, so that a trial on its way to feasible
        comes before one that is further from it. None while the objective or a limited metric is not known.
        """
        value = known.get(self.objectives[0].metric)
        if value is None or not self.constraints or not math.isfinite(value):
            return value
        excess = self.excess(known)
        if any(map(math.isnan, excess.values())):
            return None
        if is_feasible(excess):
            return value
        worst = BEHIND * (1 + min(share_beyond(self, excess), MOST_BEYOND))
        return -worst if self.objectives[0].direction == "maximize" else worst

    def broken(self, known: Mapping[str, float]) -> list[str]:
        """The limits that are not kept, with the value that breaks each (``train/cost 31.2 > 25``)."""
        return [
            limit.breach(known.get(limit.metric, math.nan))
            for limit in self.constraints
            if not limit.excess(known.get(limit.metric, math.nan)) <= 0
        ]

    def losses(self, values: tuple[float, ...]) -> tuple[float, ...]:
        """Objectives turned so that smaller is better."""
        return tuple(
            -value if goal.direction == "maximize" else value
            for goal, value in zip(self.objectives, values, strict=True)
        )


def share_beyond(goals: Goals, excess: Mapping[str, float]) -> float:
    """How far all limits together are broken, each in units of its own limit (of one where that is 0)."""
    scale = {limit.text: abs(limit.bound) or 1.0 for limit in goals.constraints}
    return sum(max(0.0, beyond) / scale[text] for text, beyond in excess.items())


def is_feasible(excess: Mapping[str, float]) -> bool:
    """Whether every limit is kept; one whose metric is not known is not."""
    return all(beyond <= 0 for beyond in excess.values())
