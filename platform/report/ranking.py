"""Who comes before whom: feasible before infeasible, by value, or by Pareto front where there are several objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..journal.state import TrialState, TrialStatus
from ..sweep.goals import Goals, is_feasible

Losses = tuple[float, ...]


@dataclass(frozen=True)
class Scored:
    """What a trial is ranked by.

    Attributes:
        values: the objectives in order.
        excess: by constraint, how far beyond the limit.
    """

    values: tuple[float, ...]
    excess: Mapping[str, float]


def ranked_trials(goals: Goals, scored: Mapping[str, Scored]) -> list[str]:
    """Trials, best first; equal ones keep the order of their names.

    Feasible ones come first. One objective: by its value. Several: front after front (no trial of a front is better
    in everything than another of it), and within a front by crowding distance (Deb et al. 2002, NSGA-II), so that the
    first few of a front are its ends and then those with the most room around them; the best in the leading objective
    comes first. Infeasible ones follow by how far they are beyond their limits in all.
    """
    names = sorted(scored)
    feasible = [name for name in names if is_feasible(scored[name].excess)]
    losses = {name: _finite(goals.losses(scored[name].values)) for name in names}
    ordered = _by_front({name: losses[name] for name in feasible}) if len(goals.objectives) > 1 else None
    if ordered is None:
        ordered = sorted(feasible, key=lambda name: losses[name])
    kept = set(feasible)
    beyond = {name: _beyond(scored[name].excess) for name in names if name not in kept}
    return [*ordered, *sorted(beyond, key=lambda name: (beyond[name], losses[name]))]


def front(goals: Goals, scored: Mapping[str, Scored]) -> list[str]:
    """The feasible trials that no feasible trial is better than in everything, in the order of :func:`ranked_trials`."""
    losses = {
        name: goals.losses(each.values)
        for name, each in scored.items()
        if is_feasible(each.excess) and all(map(math.isfinite, each.values))
    }
    first = _fronts(losses)[0] if losses else []
    return ranked_trials(goals, {name: scored[name] for name in first})


def _by_front(losses: Mapping[str, Losses]) -> list[str]:
    found = []
    for names in _fronts(losses):
        room = _crowding([losses[name] for name in names])
        found += [name for _, _, name in sorted((-room[i], losses[n], n) for i, n in enumerate(names))]
    return found


def _fronts(losses: Mapping[str, Losses]) -> list[list[str]]:
    """Trials by front. In the order of their losses, nobody is dominated by one who comes later."""
    fronts: list[list[str]] = []
    for name in sorted(losses, key=lambda name: (losses[name], name)):
        for members in fronts:
            if not any(_dominates(losses[other], losses[name]) for other in members):
                members.append(name)
                break
        else:
            fronts.append([name])
    return fronts


def _dominates(one: Losses, other: Losses) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _crowding(points: Sequence[Losses]) -> list[float]:
    """The sum over objectives of the distance between a point's neighbours, each in units of the front's width."""
    room = [0.0] * len(points)
    for axis in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda i: (points[i][axis], points[i]))
        low, high = points[order[0]][axis], points[order[-1]][axis]
        room[order[0]] = room[order[-1]] = math.inf
        for before, here, after in zip(order, order[1:], order[2:], strict=False):
            if high > low:
                room[here] += (points[after][axis] - points[before][axis]) / (high - low)
    return room


def _finite(losses: Losses) -> Losses:
    return tuple(math.inf if math.isnan(loss) else loss for loss in losses)


def _beyond(excess: Mapping[str, float]) -> float:
    return sum(math.inf if math.isnan(beyond) else max(0.0, beyond) for beyond in excess.values())


def finished_score(goals: Goals, trial: TrialState) -> Scored | None:
    """Return what a trial is ranked by; None unless it ran to its end, scored, with a configuration of its own."""
    if trial.status is not TrialStatus.FINISHED or trial.value is None or trial.repeats:
        return None
    found = goals.values(trial.values or {goals.objectives[0].metric: trial.value})
    return Scored(found, trial.excess) if found else None
