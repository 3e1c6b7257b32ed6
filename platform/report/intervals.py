"""How sure a score is: intervals for a mean or a rate, and the comparison of two policies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

LEVEL = 0.95
EPISODE_VALUES: Mapping[str, str] = {"success_rate": "success", "episode_length": "length"}
"""Metric to the per-episode value it is the mean of, where the two have different names."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        method: what the interval treats as the random draws, in words a table can show.
        count: how many of them.
    """

    mean: float
    low: float
    high: float
    method: str
    count: int


@dataclass(frozen=True)
class Comparison:
    """Whether a first policy is better than a second.

    Attributes:
        difference: first minus second, turned so that positive is better.
        low, high: its 95 % interval.
        p_value: two-sided, of a difference at least this large where there is none.
        method: what was paired.
        verdict: the same in one sentence.
    """

    difference: float
    low: float
    high: float
    p_value: float
    method: str
    verdict: str


def student_t(values: Sequence[float], method: str) -> Interval:
    """Student's t interval of the mean of independent draws; no width can be given for a single one."""
    mean, count = fmean(values), len(values)
    if count < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, "one value, no interval", count)
    half = _t_quantile(count - 1) * _deviation(values, mean) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, method, count)


def _deviation(values: Sequence[float], mean: float) -> float:
    """Return the standard deviation; :func:`statistics.stdev` counts in fractions, at twenty times the price."""
    if min(values) == max(values):
        return 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def wilson(successes: float, trials: int, method: str) -> Interval:
    """Wilson's score interval of a rate (Wilson 1927), sensible also when none or all succeeded."""
    z, rate = NormalDist().inv_cdf(0.5 + LEVEL / 2), successes / trials
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return Interval(rate, max(0.0, centre - half), min(1.0, centre + half), method, trials)


def interval(
    metric: str, lanes: Sequence[float], episodes: Sequence[Mapping[str, Sequence[float]]]
) -> Interval:
    """The interval of a score.

    From two seeds on the seeds are the random draws: another training may come out differently, however many episodes
    are played. With one seed only the episodes can be judged, and the interval says nothing about another training.

    Args:
        metric: its name without the stage (``success_rate``).
        lanes: one value per seed.
        episodes: per seed, the values of every episode by name.
    """
    if len(lanes) >= 2:
        found = student_t(lanes, f"t over {len(lanes)} seeds")
        return _within_rate(found) if _is_rate(metric, episodes) else found
    values = episode_values(metric, episodes)
    if not values:
        return student_t(lanes, "")
    if _is_rate(metric, episodes):
        return wilson(sum(values), len(values), f"Wilson over {len(values)} episodes, one seed")
    return student_t(values, f"t over {len(values)} episodes, one seed")


def compare(
    metric: str,
    first: tuple[Sequence[int], Sequence[float], Sequence[Mapping[str, Sequence[float]]]],
    second: tuple[Sequence[int], Sequence[float], Sequence[Mapping[str, Sequence[float]]]],
    maximize: bool = True,
) -> Comparison | None:
    """Is the first better than the second, judged pair by pair?

    Seeds both have are paired from two on (paired t). Otherwise episodes of the one common seed are paired, since they
    start alike: exact McNemar for rates, paired t for the rest. Scores of a search are chosen for being high, so only
    a comparison on test seeds is without that bias.

    Args:
        metric: its name without the stage.
        first, second: seeds, one value per seed, and the episodes per seed.
        maximize: whether larger is better.

    Returns:
        None where nothing can be paired.
    """
    sign = 1.0 if maximize else -1.0
    common = [seed for seed in first[0] if seed in second[0]]
    if len(common) >= 2:
        ours, theirs = (dict(zip(side[0], side[1], strict=True)) for side in (first, second))
        pairs = [sign * (ours[seed] - theirs[seed]) for seed in common]
        return _paired(pairs, f"paired t over {len(pairs)} seeds")
    if not common:
        return None
    ours, theirs = (
        episode_values(metric, [side[2][list(side[0]).index(common[0])]]) if side[2] else []
        for side in (first, second)
    )
    if len(ours) != len(theirs) or len(ours) < 2:
        return None
    pairs = [sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
    if _is_rate(metric, [*first[2], *second[2]]):
        return _paired(pairs, f"exact McNemar over {len(pairs)} episodes, one seed", _mcnemar(pairs))
    return _paired(pairs, f"paired t over {len(pairs)} episodes, one seed")


def episode_values(metric: str, episodes: Sequence[Mapping[str, Sequence[float]]]) -> list[float]:
    """The per-episode values behind a metric, of all seeds together; empty where they were not recorded."""
    key = EPISODE_VALUES.get(metric, metric)
    return [float(value) for lane in episodes for value in lane.get(key, ())]


def _paired(pairs: Sequence[float], method: str, p_value: float | None = None) -> Comparison:
    if not all(map(math.isfinite, pairs)):
        nothing = math.nan
        return Comparison(
            nothing, nothing, nothing, nothing, method, "not comparable: a score is not a number"
        )
    found, count, spread = student_t(pairs, method), len(pairs), _deviation(pairs, fmean(pairs))
    if p_value is None:
        # Differences that are equal up to rounding leave a spread that means nothing.
        if spread > 1e-9 * max(map(abs, pairs)):
            p_value = 2 * _t_tail(abs(found.mean) / (spread / math.sqrt(count)), count - 1)
        else:
            p_value = 1.0 if found.mean == 0 else 2.0 ** (1 - count)  # All alike: the exact sign test.
    if p_value >= 1 - LEVEL:
        word = "not distinguishable"
    else:
        word = "really better" if found.mean > 0 else "really worse"
    text = f"{found.mean:+.3g}, 95 % interval {found.low:+.3g} to {found.high:+.3g}, p = {p_value:.2g}"
    return Comparison(found.mean, found.low, found.high, p_value, method, f"{word}: {text} ({method})")


def _mcnemar(pairs: Sequence[float]) -> float:
    """Two-sided exact test on the episodes only one of the two solved."""
    better, worse = sum(pair > 0 for pair in pairs), sum(pair < 0 for pair in pairs)
    discordant = better + worse
    tail = sum(math.comb(discordant, k) for k in range(min(better, worse) + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def _is_rate(metric: str, episodes: Sequence[Mapping[str, Sequence[float]]]) -> bool:
    values = episode_values(metric, episodes)
    return metric.endswith("_rate") and all(value in (0.0, 1.0) for value in values)


def _within_rate(found: Interval) -> Interval:
    return Interval(found.mean, max(0.0, found.low), min(1.0, found.high), found.method, found.count)


def _t_quantile(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + LEVEL / 2))


def _t_tail(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, -t))
