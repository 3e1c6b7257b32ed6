"""How many trials fit the nodes of a cluster, whatever comes to lie where, with room kept for the workers of a stage."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MOST = 4096
"""More trials at once are not reckoned with where room is kept."""
_EPS = 1e-6
_OWN = re.compile(r"node:|memory$|object_store_memory$")
"""What Ray counts beside what a node was said to have."""


@dataclass(frozen=True)
class Node:
    """What one node has, as Ray names it."""

    resources: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, wanted: Demand, beside: Demand | None = None, count: int = 0) -> int:
        """How often ``wanted`` fits, beside ``count`` of another demand."""
        if not all(matches(self.labels.get(key), value) for key, value in wanted.labels.items()):
            return 0
        fits = [
            _fits(kind, self._left(kind, beside, count), amount)
            for kind, amount in wanted.bundle.items()
            if amount > 0
        ]
        return max(0, min(fits, default=0))

    def _left(self, kind: str, beside: Demand | None, count: int) -> float:
        have, each = self.resources.get(kind, 0.0), beside.bundle.get(kind, 0.0) if beside else 0.0
        if kind == "GPU" and 0 < each < 1:  # those that share GPUs fill one after the other
            return have - math.ceil(count / _on_one_gpu(each))
        return have - count * each


@dataclass(frozen=True)
class Demand:
    """What a process asks a node for.

    Attributes:
        bundle: amounts by kind of resource, as Ray names it.
        labels: what the node's labels must be, as Ray writes it: ``a``, ``!a``, ``in(a,b)``, ``!in(a,b)``.
    """

    bundle: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return _words(self.bundle, self.labels)


def trials_that_fit(trial: Demand, nodes: Sequence[Node]) -> int:
    """How many fit when nothing else runs."""
    return sum(node.fits(trial) for node in nodes)


def trials_beside(trial: Demand, worker: Demand, count: int, nodes: Sequence[Node], limit: int = MOST) -> int:
    """How many trials can run so that ``count`` workers still fit, however the trials come to lie.

    Args:
        limit: no more than these are of interest.
    """
    most = min(limit, MOST, trials_that_fit(trial, nodes))
    room = np.zeros(most + 1)  # at least so many workers fit beside n trials, over the nodes seen so far
    for node in nodes:
        beside = [node.fits(worker, trial, number) for number in range(min(most, node.fits(trial)) + 1)]
        worst = np.full(most + 1, np.inf)
        for number, fit in enumerate(beside):
            worst[number:] = np.minimum(worst[number:], room[: most + 1 - number] + fit)
        room = worst
    enough = np.flatnonzero(room >= count)
    return int(enough[-1]) if len(enough) else 0


def fits_somehow(trial: Demand, worker: Demand, count: int, nodes: Sequence[Node]) -> bool:
    """Whether one trial and ``count`` workers fit, were the trial put where it is least in the way."""
    in_all = sum(node.fits(worker) for node in nodes)
    lost = [node.fits(worker) - node.fits(worker, trial, 1) for node in nodes if node.fits(trial)]
    return bool(lost) and in_all - min(lost) >= count


def matches(label: str | None, wanted: str) -> bool:
    """Whether a node's label is what is wanted; one it does not have is only ever not something."""
    negated, text = wanted.startswith("!"), wanted.removeprefix("!")
    several = re.fullmatch(r"in\((.*)\)", text)
    values = [value.strip() for value in several[1].split(",")] if several else [text]
    return (label in values) != negated


def described(nodes: Sequence[Node]) -> str:
    """What nodes have, in words; equal ones together."""
    kinds = Counter(_words(node.resources, node.labels) for node in nodes)
    return "; ".join(f"{count} x {words}" for words, count in sorted(kinds.items())) or "no nodes"


def _fits(kind: str, have: float, each: float) -> int:
    if kind == "GPU" and each < 1:
        return math.floor(have + _EPS) * _on_one_gpu(each)
    return math.floor(have / each + _EPS)


def _on_one_gpu(each: float) -> int:
    return math.floor(1 / each + _EPS)


def _words(resources: Mapping[str, float], labels: Mapping[str, str]) -> str:
    shown = {kind: amount for kind, amount in resources.items() if amount and not _OWN.match(kind)}
    kinds = [f"{shown.pop(kind, 0):g} {kind}" for kind in ("CPU", "GPU") if kind in shown or kind == "CPU"]
    kinds += [f"{amount:g} {kind}" for kind, amount in sorted(shown.items())]
    kinds += [f"{key}={value}" for key, value in sorted(labels.items()) if key != "ray.io/node-id"]
    return "(" + ", ".join(kinds) + ")"
