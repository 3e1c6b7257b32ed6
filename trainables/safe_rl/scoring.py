"""What is said of P policies at an evaluation: return and cost in environments of their own, and the training so far.

Legend: P lanes, E cost critics, M episodes, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base import Score
from ..envs.constrained import Constrained
from ..envs.constrained_rollout import ConstrainedEpisode, play, score
from ..envs.policy import Policy
from ..envs.rollout import BLOCK
from ..nets import MLP, Params
from ..streams import derived_seed
from .critics import upper_bound


@dataclass(frozen=True)
class Judged:
    """P policies with what is needed to score them.

    Attributes:
        policy: acts as it is, noise and all.
        deployed: acts by the deployment rule; None where that is the policy itself.
        cost: architecture of the cost critics, with their parameters [P, E, ...] and the margin k [P].
        limits: [P] largest cost per episode.
        cost_discount: [P].
        counts: [P] sums of the training so far, by metric.
        step: gradient steps' environment steps so far.
    """

    policy: Policy
    deployed: Policy | None
    cost: MLP
    cost_params: Params
    margin: torch.Tensor
    limits: Sequence[float]
    cost_discount: Sequence[float]
    counts: Sequence[Mapping[str, float]]
    step: int
    device: str = "cpu"

    def scored(self, definition: Constrained, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Scores of the policy as it acts, beside them those of the deployment rule, calibration, and counts."""
        played = self._play(self.policy, definition, seeds, episodes)
        deployed = self._play(self.deployed, definition, seeds, episodes) if self.deployed else None
        found = []
        for lane in range(len(seeds)):
            own = [episode for episode in played if episode.lane == lane]
            one = score(own, definition, self.limits[lane])
            metrics = {**one.metrics, **self.counts[lane]}
            metrics["cost_calibration"] = self._calibration(lane, own, seeds)
            if deployed is not None:
                best = score([e for e in deployed if e.lane == lane], definition, self.limits[lane]).metrics
                metrics |= {f"best_of_{name}": best[name] for name in ("return", "cost", "violation_rate")}
            found.append(Score(metrics, one.episodes))
        return found

    def first_episode(self, definition: Constrained, seeds: Sequence[int]) -> ConstrainedEpisode:
        """Lane 0's first evaluation episode with every action and cost; by the deployment rule where there is one."""
        return play(
            self.deployed or self.policy, definition, seeds, 1, cost_discount=self.cost_discount,
            device=self.device, step=self.step, lanes=[0], record=True,
        )[0]  # fmt: skip

    def _play(self, policy: Policy, definition: Constrained, seeds: Sequence[int], episodes: int):
        return play(
            policy, definition, seeds, episodes,
            cost_discount=self.cost_discount, device=self.device, step=self.step,
        )  # fmt: skip

    @torch.no_grad()
    def _calibration(self, lane: int, played: Sequence[ConstrainedEpisode], seeds: Sequence[int]) -> float:
        """Mean over episodes: Qc^(s0, a) of the policy's action less the discounted cost that followed."""
        rows = (
            -(-len(played) // BLOCK) * BLOCK
        )  # whole blocks, so that a lane's values do not depend on others
        first = np.stack([played[i % len(played)].first_observation for i in range(rows)])
        observations = torch.tensor(first, device=self.device).expand(len(seeds), -1, -1)
        generators = [
            torch.Generator(self.device).manual_seed(derived_seed(seed, "calibration")) for seed in seeds
        ]
        actions = self.policy.act(observations, generators)
        values = self.cost(self.cost_params, torch.cat([observations, actions], -1)).squeeze(-1)
        expected = upper_bound(values, self.margin)[lane, : len(played)].mean()
        return float(expected) - float(np.mean([episode.discounted_cost for episode in played]))


def picture(
    judged: Callable[[], Judged], definition: Constrained, folder: Path, seeds: Sequence[int]
) -> list[Path]:
    """A video and stills of lane 0's first evaluation episode, the cost of every step in it, as far as can be made."""
    from ..envs.constrained_media import record

    episode = judged().first_episode(definition, seeds)
    return record(definition, seeds[0], episode, folder)


def counts_of(books: Any, environment_steps: int) -> dict[str, float]:
    """Sums of one lane's training so far, as an evaluation reports them."""
    return {
        "training_cost": books.total_cost,
        "training_violations": float(books.violations),
        "training_episodes": float(books.episodes),
        "environment_steps": float(environment_steps),
    }
