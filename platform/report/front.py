"""Several objectives and limits in a report: the Pareto front as picture and table, and what the outcome must mention."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from ...trainables.names import MetricName
from ..record.results import LeaderboardRow, SweepState
from ..sweep.goals import Goals
from . import plots
from .limits import limit_pictures
from .page import Column, Picture, Row, Section, Table, embedded
from .text import counted, number

LABEL_ROOM = 40
"""Pixels between two trials below which only the first of them is named."""
MOST_PLANES = 3
"""Pairs of objectives that are drawn; the leading one against each of the others."""


def trade_off(record: SweepState, rows: list[LeaderboardRow]) -> Section | None:
    """The search trials by everything they are judged by; nothing where that is one objective.

    Args:
        rows: the search trials of the leaderboard.
    """
    goals = Goals.recorded(record.spec)
    ended = [row for row in rows if row.rank]
    if goals.single or not ended:
        return None
    names = list(dict.fromkeys(name for row in ended for name in row.params))
    shown = [row for row in ended if row.front] if len(goals.objectives) > 1 else ended
    heads = [
        Column("trial"), *(Column(metric, number=True) for metric in goals.metrics),
        *(Column(limit.text) for limit in goals.constraints), *(Column(name, number=True) for name in names),
    ]  # fmt: skip
    body = [
        Row(
            [
                row.trial,
                *(number(row.metrics.get(metric)) for metric in goals.metrics),
                *(_kept(row.excess.get(limit.text, math.nan)) for limit in goals.constraints),
                *(number(row.params.get(name)) for name in names),
            ],
            first=row.rank == 1,
        )
        for row in shown
    ]
    title = "Trade-off" if len(goals.objectives) > 1 else "Limits"
    pictures = [*front_pictures(goals, ended), *limit_pictures(goals, ended)]
    return Section(title, _words(goals, ended), pictures, [Table(heads, body)])


def noted(record: SweepState, first: LeaderboardRow) -> str:
    """What must be said beside the first trial: the front it leads, the limits it breaks."""
    text = ""
    goals = Goals.recorded(record.spec)
    if len(goals.objectives) > 1:
        others = ", ".join(
            f"{MetricName(goal.metric).bare} {number(first.metrics.get(goal.metric))}"
            for goal in goals.objectives[1:]
        )
        text = f" It leads a Pareto front ({others}): none is better in everything."
    if not first.feasible:
        broken = [limit for limit, beyond in first.excess.items() if not beyond <= 0]
        text += f" It does not keep {' and '.join(broken)}."
    return text


def front_pictures(goals: Goals, rows: Sequence[LeaderboardRow]) -> list[Picture]:
    """The front in the planes of the leading objective and each other one."""
    if len(goals.objectives) < 2:
        return []
    first, pictures = goals.objectives[0], []
    for other in goals.objectives[1 : 1 + MOST_PLANES]:
        known = [row for row in rows if _finite(row, first.metric) and _finite(row, other.metric)]
        if not known:
            continue
        steps = other.direction, first.direction
        image = plots.svg(draw_front, known, (other.metric, first.metric), steps, height=3.6)
        caption = "Joined: the Pareto front, where none is better in everything. Crosses break a limit."
        pictures.append(embedded(image, ".svg", f"{first.metric} over {other.metric}", caption))
    return pictures


def draw_front(
    axes: Axes, rows: Sequence[LeaderboardRow], metrics: tuple[str, str], directions: tuple[str, str]
) -> None:
    """Trials in the plane of two objectives; the front joined, the first named, infeasible ones as crosses."""
    places = {row.trial: (row.metrics[metrics[0]], row.metrics[metrics[1]]) for row in rows}
    groups = {
        "behind": [row for row in rows if row.feasible and not row.front],
        "infeasible": [row for row in rows if not row.feasible],
        "Pareto front": sorted((row for row in rows if row.front), key=lambda row: places[row.trial]),
    }
    looks = {
        "behind": {"marker": "o", "s": 36, "color": plots.QUIET},
        "infeasible": {"marker": "x", "s": 32, "color": plots.QUIET},
        "Pareto front": {"marker": "o", "s": 64, "color": plots.SECOND, "zorder": 3},
    }
    for name, members in groups.items():
        if members:
            x, y = zip(*(places[row.trial] for row in members), strict=True)
            axes.scatter(x, y, label=name, linewidths=1.2, **looks[name])
            if name == "Pareto front":
                axes.plot(x, y, color=plots.SECOND, linewidth=1.2, alpha=0.6)
    axes.margins(0.1)
    labelled: list[tuple[float, float]] = []
    for row in sorted(groups["Pareto front"], key=lambda row: row.rank or 0):
        place = axes.transData.transform(places[row.trial])
        if row.rank == 1:
            axes.scatter(*places[row.trial], s=170, facecolors="none", edgecolors=plots.FIRST, linewidths=1.8)
        if all(math.dist((place[0], place[1]), other) > LABEL_ROOM for other in labelled):
            labelled.append((float(place[0]), float(place[1])))
            axes.annotate(
                plots.literal(row.trial), places[row.trial], xytext=(6, 5), textcoords="offset points",
                fontsize=7, color=plots.FIRST if row.rank == 1 else plots.INK,
            )  # fmt: skip
    axes.set_xlabel(plots.literal(f"{metrics[0]} ({_better(directions[0])})"))
    axes.set_ylabel(plots.literal(f"{metrics[1]} ({_better(directions[1])})"))
    axes.legend(loc="best", fontsize=8)
    axes.grid(which="major")


def _words(goals: Goals, rows: Sequence[LeaderboardRow]) -> list[str]:
    said = []
    if len(goals.objectives) > 1:
        count = sum(row.front for row in rows)
        said.append(
            f"{counted(count, 'trial')} of {len(rows)} that ran to their end lie on the Pareto front. They are in the "
            "order in which they would be confirmed: the best in the first objective, the other ends of the "
            "front, then those with the most room around them."
        )
    if goals.constraints:
        kept = sum(row.feasible for row in rows)
        said.append(
            f"{counted(kept, 'trial')} of {len(rows)} keep every limit; the others are ranked after them."
        )
    return said


def _kept(beyond: float) -> str:
    if math.isnan(beyond):
        return "not known"
    return "kept" if beyond <= 0 else f"broken by {number(beyond)}"


def _better(direction: str) -> str:
    return "larger is better" if direction == "maximize" else "smaller is better"


def _finite(row: LeaderboardRow, metric: str) -> bool:
    return math.isfinite(row.metrics.get(metric, math.nan))
