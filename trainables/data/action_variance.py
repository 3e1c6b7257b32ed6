"""How much actions differ where states are alike: the room a dataset leaves around its own actions.

Legend: M states looked at, G groups of them, Q queries, K neighbours, O observation size, A action size.
"""

from __future__ import annotations

import math

import numpy as np

from ..config import FrozenConfig
from ..errors import UserError
from .dataset import FlatDataset

_CONSTANT = 1e-6
_AT_ONCE = 50
"""Queries compared with all states at once; 100,000 states then take 20 MB."""


class ActionVariance(FrozenConfig):
    """Variance of actions over nearest states, in squared units of actions scaled to [-1, 1]."""

    per_dimension: tuple[float, ...]
    """Of every action entry."""
    mean: float
    """Over the action entries: a mean squared deviation per entry, the unit of a trust-region radius."""
    std_error: float | None
    """Of `mean`, with the episodes that neighbours come from as independent draws. None where they come from one."""
    sparser_mean: float | None
    """`mean` with neighbours from every other episode only (from every other state, where episodes do not matter).
    Well above `mean`, neighbours are too far apart to be alike, and `mean` is itself too large. None where half is
    too few."""
    neighbours: int
    queries: int
    """States whose neighbours were looked at."""
    other_episodes: bool
    seed: int


def action_variance(
    dataset: FlatDataset,
    *,
    neighbours: int = 5,
    queries: int = 2_000,
    states: int = 100_000,
    other_episodes: bool = True,
    seed: int = 0,
) -> ActionVariance:
    """Estimate how much actions vary at a state (DeFlow's intrinsic action variance, arXiv 2601.10471).

    At every query the unbiased variance of the actions taken in the K nearest states, on observations scaled to unit
    variance; then the mean over queries. It holds the noise of the behaviour and its different ways of going on, and,
    as far as neighbours are apart, the change of the mean action from one to the next, which vanishes only on dense
    data: the estimate errs upwards.

    Nearest states are mostly runs of moments of one episode, the query's own or another. They share one goal, one way
    of going on and often one slowly changing noise, and so hide what makes actions differ at a state. Hence
    ``other_episodes``: K different episodes are asked, each for its one nearest state.

    Args:
        dataset: what is looked at; its actions are in [-1, 1].
        neighbours: K, at least 2.
        queries: Q, states whose neighbourhood is looked at, or all where there are fewer.
        states: M, states that neighbours are taken from, or all where there are fewer.
        other_episodes: one neighbour from each of K other episodes; else the K nearest other states of any.
        seed: decides which states are looked at.

    Raises:
        UserError: there are not K others to compare a state with.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(dataset.rows))[:states])
    asked = np.sort(random.permutation(len(chosen))[:queries])
    observations = _standardised(dataset.states[dataset.rows[chosen]])
    actions, episodes = dataset.actions[chosen].astype(np.float64), dataset.episode_of[chosen]
    groups = np.unique(episodes, return_inverse=True)[1] if other_episodes else np.arange(len(chosen))
    if groups[-1] < neighbours:
        raise UserError(
            f"is too small to see how much actions vary: it takes {neighbours + 1} "
            f"{'episodes' if other_episodes else 'transitions'}",
            key="dataset",
            value=dataset.name,
        )
    near, sparser = _nearest(observations, groups, asked, neighbours)
    found, halved = _squared_deviations(actions, near), _squared_deviations(actions, sparser)
    return ActionVariance(
        per_dimension=tuple(found.sum(axis=1).mean(axis=0).tolist()),
        mean=_mean(found),
        std_error=_std_error(found.mean(axis=2), episodes[near]),
        sparser_mean=_mean(halved) if len(halved) else None,
        neighbours=neighbours,
        queries=len(asked),
        other_episodes=other_episodes,
        seed=seed,
    )


def _squared_deviations(actions: np.ndarray, near: np.ndarray) -> np.ndarray:
    """[Q, K, A], whose sums over K are the unbiased variances of actions [M, A] among neighbours [Q, K]."""
    taken = actions[near]
    return np.square(taken - taken.mean(axis=1, keepdims=True)) / (near.shape[1] - 1)


def _mean(deviations: np.ndarray) -> float:
    return float(deviations.sum(axis=1).mean())


def _std_error(deviations: np.ndarray, episodes: np.ndarray) -> float | None:
    """Standard error of the mean variance, clustered by episode.

    Args:
        deviations: [Q, K], what each neighbour adds to the variance of its query.
        episodes: [Q, K] that the neighbours come from.
    """
    sums = np.bincount(episodes.ravel(), weights=(deviations - deviations.mean()).ravel())
    count = len(np.unique(episodes))
    return math.sqrt(count / (count - 1) * np.square(sums).sum()) / len(deviations) if count > 1 else None


def _standardised(observations: np.ndarray) -> np.ndarray:
    """[M, O] float32 with zero mean and unit variance; a constant entry keeps its scale."""
    observations = observations.astype(np.float64)
    std = observations.std(axis=0)
    centred = observations - observations.mean(axis=0)
    return (centred / np.where(std < _CONSTANT, 1.0, std)).astype(np.float32)


def _nearest(
    places: np.ndarray, groups: np.ndarray, asked: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """From each of the nearest groups, a query's own left out, its nearest place.

    Compares every query with every place: as costly for robots of 70 entries as for mazes of 6, where a k-d tree costs
    a tenth of it in the maze and ten times as much for the robot.

    Args:
        places: [M, O].
        groups: [M], 0 to G - 1, ascending.
        asked: [Q] indices of places.
        count: K, below G.

    Returns:
        Indices of places in no order: [Q, K] among all groups, and the same among every other group, or [0, K] where
        these are too few.
    """
    squares = np.square(places).sum(axis=1)
    edges = np.searchsorted(groups, np.arange(groups[-1] + 2))
    near, sparser = [], []
    for part in np.array_split(asked, max(1, len(asked) // _AT_ONCE)):
        # Squared distance, less the query's own square: the order is the same.
        distances = squares - 2 * (places[part] @ places.T)
        by_group = np.minimum.reduceat(distances, edges[:-1], axis=1)
        by_group[np.arange(len(part)), groups[part]] = np.inf
        near.append(_places(distances, np.argpartition(by_group, count - 1)[:, :count], edges))
        if by_group[:, ::2].shape[1] > count:
            chosen = 2 * np.argpartition(by_group[:, ::2], count - 1)[:, :count]
            sparser.append(_places(distances, chosen, edges))
    return np.concatenate(near), np.concatenate(sparser or [np.empty((0, count), np.int64)])


def _places(distances: np.ndarray, chosen: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """[Q, K] indices of the place with the smallest of [Q, M] distances in each chosen group [Q, K]."""
    found = [
        [edges[group] + row[edges[group] : edges[group + 1]].argmin() for group in groups]
        for row, groups in zip(distances, chosen, strict=True)
    ]
    return np.array(found)
