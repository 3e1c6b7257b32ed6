"""Which Fisher estimate finds the best direction? A two-dimensional bandit with a known optimum.

    python benchmarks/fisher_bandit.py [--steps 6000] [--seeds 0,1,2] [--out docs/figures/fisher_bandit.png] [--json]

Behaviour N(0, S) with standard deviations 0.5 and 0.05, value g . a with g at 45 degrees to the axes. Among all
steps of equal KL the best is S g. A flow is trained on the data, pools are drawn from it, and the step F^-1 g of
each estimated Fisher matrix is scored by the share of the optimum it gains at equal true KL. The isotropic step,
which is what a plain square penalty takes, gains 2 sqrt(k) / (k + 1) = 0.198 of it, k = 100.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig

SD = torch.tensor([0.5, 0.05])
GRADIENT = torch.tensor([1.0, 1.0]) / math.sqrt(2)
ROWS = 20_000
TIMES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)


def share_of_optimum(step: torch.Tensor) -> float:
    """Gain g . step over the best gain at the same KL, 1/2 step S^-1 step."""
    best = math.sqrt((GRADIENT**2 * SD**2).sum().item())
    return (GRADIENT @ step).item() / (best * math.sqrt((step**2 / SD**2).sum().item()))


def bandit() -> FlatDataset:
    """One state, actions N(0, S); two rows per episode so that every transition has a next state."""
    actions = (np.random.default_rng(0).normal(size=(ROWS, 2)) * SD.numpy()).astype(np.float32)
    # A unit action box would cut the wide direction at two standard deviations; nothing here needs the box.
    info = DatasetInfo(
        name="benchmarks/bandit-v0",
        fingerprint="bandit",
        episodes=ROWS,
        transitions=ROWS,
        observation_dim=1,
        action_dim=2,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        reward_min=0.0,
        reward_max=0.0,
        terminal_share=1.0,
    )
    states, zeros = np.zeros((2 * ROWS, 1), np.float32), np.zeros(ROWS, np.float32)
    return FlatDataset(info, states, 2 * np.arange(ROWS), actions, zeros, zeros, np.ones(ROWS, bool))


def exact_share(time: float, estimator: str) -> float:
    """The share with an exact velocity and endless samples."""
    variance = time**2 * SD**2 + (1 - time) ** 2
    if estimator == "gaussian":
        fisher = 1 / variance
    else:
        fisher = (time * SD**2 - (1 - time)) ** 2 / variance / (1 - time) ** 2
    return share_of_optimum(GRADIENT / fisher.clamp_min(1e-6))  # velocity: zero in one direction at t = 0.8


def learnt_share(dataset: FlatDataset, pretrained, seed: int, time: float, estimator: str) -> float:
    """The share with the Fisher matrix that the pools stage measures on a trained flow."""
    config = PoolsConfig(
        steps=1, base_actions=1, score_estimator=estimator, fisher_time=time, fisher_time_width=0.0
    )
    some = FlatDataset(
        dataset.info, dataset.states[:4096], dataset.rows, dataset.actions, dataset.rewards, dataset.masks, dataset.boundaries
    )  # fmt: skip
    learner = SYSTEM.stage("pools").start([Lane(config, seed, {"pretrain": pretrained})], some, "cpu")
    learner.advance(1)
    fisher = learner.outputs()[0].tensors["matrix"].mean(0)
    return share_of_optimum(torch.linalg.solve(fisher, GRADIENT))


def measure(steps: int, seeds: list[int]) -> dict[str, dict[str, list[list[float]]]]:
    """Shares by kind (exact, learnt), estimator, seed and time."""
    dataset = bandit()
    config = PretrainConfig(
        steps=steps, hidden=(64, 64, 64), learning_rate=1e-3, normalize_observations=False, flow_steps=10
    )
    learnt: dict[str, list[list[float]]] = {"gaussian": [], "velocity": []}
    for seed in seeds:
        flow = SYSTEM.stage("pretrain").start([Lane(config, seed)], dataset, "cpu")
        flow.advance(steps)
        for estimator, rows in learnt.items():
            rows.append([learnt_share(dataset, flow.outputs()[0], seed, t, estimator) for t in TIMES])
    exact = {name: [[exact_share(t, name) for t in TIMES]] for name in learnt}
    return {"exact": exact, "learnt": learnt}


def draw(shares: dict[str, dict[str, list[list[float]]]], out: Path) -> None:
    """The figure: shares over Fisher time, every seed a point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.4), layout="constrained")
    names = {"gaussian": "(t v − x) / (1 − t), default", "velocity": "v / (1 − t), public code"}
    for colour, (estimator, label) in zip(("#1f6f8b", "#c8553d"), names.items(), strict=True):
        learnt = np.array(shares["learnt"][estimator])
        axes.plot(TIMES, learnt.mean(0), color=colour, label=f"{label}: trained flow")
        axes.plot(np.tile(TIMES, len(learnt)), learnt.ravel(), "o", color=colour, markersize=3.5)
        axes.plot(
            TIMES,
            shares["exact"][estimator][0],
            "--",
            color=colour,
            linewidth=1,
            label="the same, exact flow",
        )
    axes.axhline(
        share_of_optimum(GRADIENT), color="#777777", linewidth=1, linestyle=":", label="isotropic penalty"
    )
    axes.set(xlabel="Fisher time t", ylabel="share of the optimal gain at equal KL", ylim=(0, 1.04))
    axes.grid(alpha=0.25)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/fisher_bandit.png"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shares = measure(arguments.steps, [int(seed) for seed in arguments.seeds.split(",")])
    draw(shares, arguments.out)
    if arguments.json:
        print(json.dumps({"times": TIMES, "isotropic": share_of_optimum(GRADIENT), **shares}, indent=2))
        return
    print("time               " + "".join(f"{time:>7.2f}" for time in TIMES))
    for kind, estimators in shares.items():
        for name, rows in estimators.items():
            print(f"{kind:<8}{name:<11}" + "".join(f"{value:>7.3f}" for value in np.mean(rows, 0)))
    print(f"isotropic          {share_of_optimum(GRADIENT):>7.3f}")


if __name__ == "__main__":
    main()
