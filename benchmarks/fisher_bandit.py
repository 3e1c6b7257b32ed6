"""Which Fisher estimate finds the best displacement? Bandits in two dimensions whose optimum is known.

    python benchmarks/fisher_bandit.py [--quick] [--steps 6000] [--seeds 0,1,2] [--kl 0.1] [--normalization none]
        [--out docs/figures/fisher_bandit.png] [--json]

One state, two action entries, a value that is linear in the action, and a behaviour density in closed form: an
anisotropic Gaussian, two such modes at right angles, a curved ridge (fisher_densities.py). Flows are trained on
samples by the pretrain stage. Their scores make the penalty that refinement would see, and the displacement that
climbs the value against it is M^-1 g:

    state    one displacement for all actions; M is the mean penalty matrix of the pools stage
    local    one for every action a; M(a) is the mean, over the noise that carries a to the Fisher time, of the
             penalty of that action's rank-one matrix: a residual sees the action, not this noise

Each displaces the true density as far as ``--kl`` nats of true KL allow (fisher_kl.py). Its gain is reported as a share
of the largest gain that any policy has at this KL. ``exact`` rows read the scores of the true density instead of a
flow's. ``isotropic`` is what a plain square penalty gains, ``best shift`` the most that one displacement for all
actions can gain.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from fisher_densities import Density, densities
from fisher_kl import Grid, Move, best_gain, best_shift, shift_gain
from fisher_picture import draw
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig
from flowsweep.trainables.fidec.fisher import (
    Estimator,
    Fisher,
    Metric,
    outer_mean,
    score_at,
    scores_of_samples,
)
from flowsweep.trainables.fidec.flow import Velocity
from flowsweep.trainables.fidec.learner import flow_from

FIGURE = Path("docs/figures/fisher_bandit.png")
ROWS = 20_000
POOL_STATES = 2048
BLOCK = 65_536  # points a flow is asked about at once
ESTIMATORS: tuple[Estimator, ...] = ("gaussian", "velocity")
Shares = dict[str, dict[str, list[list[float]]]]
"""By scope, estimator, seed and time."""


@dataclass(frozen=True)
class Effort:
    """What a run does.

    Attributes:
        kl: nats that every displacement costs.
        steps, seeds: of the flows.
        times: Fisher times.
        grid: actions at which local displacements are computed.
        noises: draws of the noise that local penalties are averaged over.
        normalization: of the penalty.
    """

    kl: float = 0.1
    steps: int = 6000
    seeds: tuple[int, ...] = (0, 1, 2)
    times: tuple[float, ...] = (0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
    grid: Grid = field(default_factory=Grid)
    noises: int = 128
    normalization: str = "per_state_trace"

    def quick(self) -> Effort:
        """The same in a few CPU-seconds, with rougher flows."""
        return replace(
            self, steps=1500, seeds=self.seeds[:1], times=(0.8, 0.95), grid=Grid(31, 61), noises=32
        )


def dataset(density: Density, rows: int = ROWS) -> FlatDataset:
    """One state; two rows per episode so that every transition has a next state. Actions leave the box, which
    neither flow nor pools need."""
    info = DatasetInfo(
        name="benchmarks/bandit-v0",
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
    actions = density.sample(rows, seed=0).numpy().astype(np.float32)
    return FlatDataset(info, states, 2 * np.arange(rows), actions, zeros, zeros, np.ones(rows, bool))


def trained_flows(source: FlatDataset, effort: Effort) -> list[Snapshot]:
    """One flow per seed."""
    config = PretrainConfig(
        steps=effort.steps,
        hidden=(64, 64, 64),
        learning_rate=1e-3,
        normalize_observations=False,
        flow_steps=10,
    )
    learner = SYSTEM.stage("pretrain").start([Lane(config, seed) for seed in effort.seeds], source, "cpu")
    learner.advance(effort.steps)
    return learner.outputs()


def penalty_matrices(fisher: Fisher, rows: tuple[int, ...], normalization: str) -> torch.Tensor:
    """The matrix of refinement's penalty, default damping, for every Fisher matrix [*rows]; [*rows, 2, 2]."""
    damping = torch.full(rows[:1], RefineConfig().damping_value)
    metric = Metric(RefineConfig().damping, damping, normalization)
    first, second = torch.eye(2).view(2, *(1,) * len(rows), 2).expand(2, *rows, 2)
    along, across, both = (metric.penalty(fisher, way) for way in (first, second, first + second))
    mixed = (both - along - across) / 2
    return torch.stack([along, mixed, mixed, across], -1).unflatten(-1, (2, 2))


def pool_matrices(
    density: Density, flows: list[Snapshot], time: float, estimator: Estimator, effort: Effort
) -> torch.Tensor:
    """The Fisher matrices that the pools stage measures on trained flows, [P, S, 2, 2]."""
    config = PoolsConfig(
        steps=1, base_actions=1, score_estimator=estimator, fisher_time=time, fisher_time_width=0.0
    )
    lanes = [Lane(config, seed, {"pretrain": flow}) for seed, flow in zip(effort.seeds, flows, strict=True)]
    learner = SYSTEM.stage("pools").start(lanes, dataset(density, POOL_STATES // 2), "cpu")
    learner.advance(1)
    return torch.stack([output.tensors["matrix"] for output in learner.outputs()])


def exact_matrices(density: Density, time: float, estimator: Estimator) -> torch.Tensor:
    """The same with the true density's samples and scores, [1, S, 2, 2]."""
    count = POOL_STATES * PoolsConfig().fisher_samples
    actions = density.sample(count, seed=1).unsqueeze(0)
    noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    times = torch.full((1, count, 1), time, dtype=torch.float64)
    scores = scores_of_samples(density.velocity, times, actions, noise, times, estimator=estimator)
    return outer_mean(scores.view(1, POOL_STATES, -1, 2)).float()


@torch.no_grad()
def local_matrices(
    velocity: Velocity, actions: torch.Tensor, lanes: int, time: float, effort: Effort
) -> dict[Estimator, torch.Tensor]:
    """Mean penalty matrix of every action [N, 2], [P, N, 2, 2], by estimator; one evaluation serves both."""
    uniform = torch.quasirandom.SobolEngine(2, scramble=True, seed=0).draw(effort.noises)
    noise = torch.distributions.Normal(0.0, 1.0).icdf(uniform.clamp(1e-6, 1 - 1e-6)).to(actions)
    found: dict[Estimator, list[torch.Tensor]] = {name: [] for name in ESTIMATORS}
    for block in actions.split(max(BLOCK // effort.noises, 1)):
        points = (time * block.unsqueeze(1) + (1 - time) * noise).view(1, -1, 2).expand(lanes, -1, -1)
        times = torch.full_like(points[..., :1], time)
        v = velocity(torch.zeros_like(times), points, times)
        for name, matrices in found.items():
            scores = score_at(lambda *_, v=v: v, times, points, times, name).unsqueeze(-2).float()
            each = penalty_matrices(Fisher(scores=scores), points.shape[:2], effort.normalization)
            matrices.append(each.unflatten(1, (len(block), -1)).mean(2))
    return {name: torch.cat(matrices, 1) for name, matrices in found.items()}


def state_gains(matrices: torch.Tensor, density: Density, effort: Effort) -> list[float]:
    """Gain of the one displacement that a mean penalty allows, per lane of Fisher matrices [P, S, 2, 2]."""
    penalties = penalty_matrices(Fisher(matrix=matrices), tuple(matrices.shape[:2]), effort.normalization)
    steps = torch.linalg.solve(penalties.double().mean(1), density.gradient)
    return [shift_gain(density, step, effort.kl, effort.grid) for step in steps]


def local_gains(matrices: torch.Tensor, density: Density, effort: Effort) -> list[float]:
    """Gain of the displacements that local penalties [P, N, 2, 2] at the nodes of the grid allow, per lane."""
    steps = torch.linalg.solve(matrices.double(), density.gradient.expand(*matrices.shape[:-1]).unsqueeze(-1))
    fields = steps.view(len(matrices), len(density.parts), *effort.grid.z.shape)
    return [Move(density, field, effort.grid).gain(effort.kl) for field in fields]


def shares(density: Density, flows: list[Snapshot] | None, effort: Effort) -> Shares:
    """Shares of the best gain, of trained flows or of the exact one."""
    best = best_gain(density, effort.kl, effort.grid)
    actions = effort.grid.actions(density).view(-1, 2)
    found: Shares = {scope: {name: [] for name in ESTIMATORS} for scope in ("state", "local")}
    for time in effort.times:
        if flows is None:
            local = local_matrices(density.velocity, actions, 1, time, effort)
        else:
            velocity = flow_from(flows, "cpu").velocity
            local = local_matrices(velocity, actions.float(), len(flows), time, effort)
        for name in ESTIMATORS:
            state = (
                pool_matrices(density, flows, time, name, effort)
                if flows
                else exact_matrices(density, time, name)
            )
            found["state"][name].append(state_gains(state, density, effort))
            found["local"][name].append(local_gains(local[name], density, effort))
    return {
        scope: {name: (np.array(gains).T / best).tolist() for name, gains in by_name.items()}
        for scope, by_name in found.items()
    }


def measure(effort: Effort) -> dict[str, dict]:
    """Per density: its best gain; the shares of an isotropic displacement, of the best shift, and of every estimate."""
    found = {}
    for key, density in densities().items():
        best = best_gain(density, effort.kl, effort.grid)
        found[key] = {
            "name": density.name,
            "best_gain": best,
            "isotropic": shift_gain(density, density.gradient, effort.kl, effort.grid) / best,
            "best_shift": best_shift(density, effort.kl, effort.grid)[0] / best,
            "trained": shares(density, trained_flows(dataset(density), effort), effort),
            "exact": shares(density, None, effort),
        }
    return found


def print_table(found: Mapping[str, dict], times: tuple[float, ...]) -> None:
    """Shares by density, kind, scope and estimator; of trained flows the mean over seeds and their range."""
    for entry in found.values():
        print(f"\n{entry['name']}: isotropic {entry['isotropic']:.3f}, best shift {entry['best_shift']:.3f}")
        print(f"{'Fisher time':<26}" + "".join(f"{time:>7.2f}" for time in times))
        for kind in ("trained", "exact"):
            for scope, by_name in entry[kind].items():
                for name, rows in by_name.items():
                    print(f"{kind:<9}{scope:<7}{name:<10}" + "".join(f"{v:>7.3f}" for v in np.mean(rows, 0)))
                    if len(rows) > 1:
                        print(
                            f"{'':<9}seeds within +-{' ':<8}"
                            + "".join(f"{v:>7.3f}" for v in np.ptp(rows, 0) / 2)
                        )


def _positive(kind: Callable[[str], float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    number.__name__ = f"positive {kind.__name__}"
    return number


def seed_list(text: str) -> tuple[int, ...]:
    return tuple(int(seed) for seed in text.split(","))


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed, two times, short training: seconds")
    parser.add_argument("--steps", type=_positive(int), default=6000, help="updates of every flow")
    parser.add_argument("--seeds", type=seed_list, default=(0, 1, 2), help="one flow each")
    parser.add_argument("--kl", type=_positive(float), default=0.1, help="nats that every displacement costs")
    parser.add_argument("--normalization", choices=("per_state_trace", "none"), default="per_state_trace")
    parser.add_argument("--out", type=Path, help=f"the figure; {FIGURE} unless --quick")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    effort = Effort(kl=given.kl, steps=given.steps, seeds=given.seeds, normalization=given.normalization)
    effort = effort.quick() if given.quick else effort
    found = measure(effort)
    out = given.out or (None if given.quick else FIGURE)
    if out:
        draw(found, effort.times, out)
    if given.json:
        print(
            json.dumps(
                {
                    "kl": effort.kl,
                    "normalization": effort.normalization,
                    "times": effort.times,
                    "densities": found,
                },
                indent=2,
            )
        )
    else:
        print_table(found, effort.times)


if __name__ == "__main__":
    main()
