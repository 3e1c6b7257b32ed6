"""A bandit with Gaussian behaviour N(0, S) and linear value g . a: at equal KL the best step is S g."""

import math

import numpy as np
import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig
from flowsweep.trainables.fidec.fisher import outer_mean, scores_of_samples

SD, GRADIENT = torch.tensor([0.5, 0.05]), torch.tensor([1.0, 1.0]) / math.sqrt(2)


def share_of_optimum(step: torch.Tensor) -> float:
    best = math.sqrt((GRADIENT**2 * SD**2).sum())
    return (GRADIENT @ step).item() / (best * math.sqrt((step**2 / SD**2).sum()))


def velocity(states, points, times):
    variance = times**2 * SD**2 + (1 - times) ** 2
    return (times * SD**2 - (1 - times)) / variance * points


def fisher_step(time: float, estimator: str) -> torch.Tensor:
    draw, count = torch.Generator().manual_seed(0), 20_000
    normal = lambda: torch.randn(1, count, 2, generator=draw)  # noqa: E731
    scores = scores_of_samples(
        velocity, torch.empty(1, count, 0), SD * normal(), normal(), torch.full((1, count, 1), time), estimator=estimator
    )  # fmt: skip
    return torch.linalg.solve(outer_mean(scores)[0], GRADIENT)


def test_the_best_step_gains_all_and_the_isotropic_step_a_fifth():
    assert share_of_optimum(SD**2 * GRADIENT) == pytest.approx(1.0)
    condition = 100
    assert share_of_optimum(GRADIENT) == pytest.approx(2 * math.sqrt(condition) / (condition + 1))


@pytest.mark.parametrize(
    ("estimator", "time", "share"),
    [
        ("gaussian", 0.9, 0.915),
        ("gaussian", 0.95, 0.994),
        ("velocity", 0.9, 0.798),
        ("velocity", 0.95, 0.389),
    ],
)
def test_the_fisher_step_gains_the_share_its_estimator_allows(estimator, time, share):
    assert share_of_optimum(fisher_step(time, estimator)) == pytest.approx(share, abs=0.02)


@pytest.mark.slow
def test_a_trained_flow_s_pools_give_a_step_near_the_optimum():
    rows = 20_000
    actions = (np.random.default_rng(0).normal(size=(rows, 2)) * SD.numpy()).astype(np.float32)
    info = DatasetInfo(
        name="tests/bandit-v0",
        fingerprint="bandit",
        episodes=rows,
        transitions=rows,
        observation_dim=1,
        action_dim=2,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        reward_min=0.0,
        reward_max=0.0,
        terminal_share=1.0,
    )
    states, zeros = np.zeros((2 * rows, 1), np.float32), np.zeros(rows, np.float32)
    source = FlatDataset(info, states, 2 * np.arange(rows), actions, zeros, zeros, np.ones(rows, bool))
    config = PretrainConfig(steps=6000, hidden=(64, 64, 64), learning_rate=1e-3)
    flow = SYSTEM.stage("pretrain").start([Lane(config, 0)], source, "cpu")
    flow.advance(6000)
    shares = {}
    for estimator in ("gaussian", "velocity"):
        chosen = PoolsConfig(steps=1, base_actions=1, score_estimator=estimator, fisher_time=0.95)
        pools = SYSTEM.stage("pools").start([Lane(chosen, 0, {"pretrain": flow.outputs()[0]})], source, "cpu")
        pools.advance(1)
        step = torch.linalg.solve(pools.outputs()[0].tensors["matrix"].mean(0), GRADIENT)
        shares[estimator] = share_of_optimum(step)
    assert shares["gaussian"] > 0.9
    assert shares["velocity"] < 0.6
