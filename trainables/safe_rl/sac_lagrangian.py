"""SAC with a Lagrange multiplier on the cost (Ha et al., 2020, arXiv 2002.08550; SAC: arXiv 1801.01290).

A Gaussian policy squashed to the box, a temperature alpha tuned to an entropy, and a multiplier lambda:

    policy       alpha log pi(a|s) - min Q(s, a) + lambda scale g(s, a),   g = (Qc^ - h) / h
    temperature  -log alpha (log pi(a|s) + target entropy)

``scale`` is the running mean of |Q|, or 1 without normalisation.

Legend: P lanes, B batch, R rows, O observation size, A action size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..base import Lane, Snapshot
from ..envs.policy import Policy
from ..nets import MLP, Params
from ..offline import standard_normal
from ..optimizers import PopulationAdam
from ..population import lane_by_lane, under
from .config import SacLagrangianConfig, SafeConfig
from .critics import Metrics, judgement, policy_loss
from .learner import Rebuilt, SafeLearner
from .replay import Batch

LOG_STD_LEAST, LOG_STD_MOST = -5.0, 2.0
TEMPERATURE_START = 0.1
LOG_2 = math.log(2)


def gaussian(network: MLP, params: Params, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and logarithm of the deviation of the latent action, [P, R, A] each."""
    mean, log_std = network(params, states).chunk(2, -1)
    # Smoothly within its bounds, as in the authors' own code.
    log_std = LOG_STD_LEAST + 0.5 * (LOG_STD_MOST - LOG_STD_LEAST) * (log_std.tanh() + 1)
    return mean, log_std


def squashed(
    mean: torch.Tensor, log_std: torch.Tensor, noise: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions [P, R, A] in the box and log pi of them [P, R]."""
    latent = mean + log_std.exp() * noise
    log_normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    log_width = 2 * (LOG_2 - latent - functional.softplus(-2 * latent))
    return latent.tanh(), (log_normal - log_width).sum(-1)


@dataclass(frozen=True)
class GaussianPolicy:
    """P Gaussian policies, each acting by one draw."""

    network: MLP
    params: Params

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions [P, B, A] for observations [P, B, O]."""
        mean, log_std = gaussian(self.network, self.params, observations)
        noise = standard_normal(generators, *mean.shape[1:])
        return (mean + log_std.exp() * noise).tanh()


def gaussian_network(sizes: tuple[int, int], config: SafeConfig) -> MLP:
    """Architecture of the policy."""
    return MLP(sizes[0], 2 * sizes[1], config.policy_hidden, activation="relu")


class SacLagrangianLearner(SafeLearner):
    """P lanes of SAC-Lagrangian."""

    config: SacLagrangianConfig

    def policy_network(self, generators: Sequence[torch.Generator]) -> Params:
        """A fresh Gaussian policy and its temperature."""
        self.gaussian = gaussian_network(self.replay.sizes, self.config)
        lanes: list[Lane[SacLagrangianConfig]] = self.lanes
        targets = [lane.config.entropy_target for lane in lanes]
        default = -float(self.replay.sizes[1])
        self.entropy_target = torch.tensor(
            [default if target is None else target for target in targets], device=self.device
        )
        start = torch.full((len(lanes),), math.log(TEMPERATURE_START), device=self.device)
        self.temperature: Params = {"log": start}
        rates = [lane.config.entropy_learning_rate for lane in lanes]
        self.tuner = PopulationAdam(self.temperature, rates, apart=True)
        return self.gaussian.init(generators)

    def noise_size(self) -> tuple[int, ...]:
        """One draw."""
        return ()

    @torch.no_grad()
    def act(self, params: Params, states: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [P, R, A] for states [P, R, O] from noise [P, R, A]."""
        return squashed(*gaussian(self.gaussian, params, states), noise)[0]

    @torch.no_grad()
    def next_actions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions at the next states, with their entropy bonus -alpha log pi."""
        noise = self.streams.normal(*batch.actions.shape[1:])
        actions, log_density = squashed(
            *gaussian(self.gaussian, self.params["policy"], batch.next_states), noise
        )
        return actions, -lane_by_lane(torch.exp, self.temperature["log"]).unsqueeze(-1) * log_density

    def effective_multiplier(self, violation: torch.Tensor) -> torch.Tensor:
        """What the cost is weighted by, [P], given g at the policy's actions [P, B]."""
        return self.dual.multiplier

    def policy_update(self, batch: Batch) -> Metrics:
        """One step of the policy, then of the temperature."""
        noise = self.streams.normal(*batch.actions.shape[1:])
        actions, log_density = squashed(*gaussian(self.gaussian, self.params["policy"], batch.states), noise)
        inputs = torch.cat([batch.states, actions.detach()], -1)
        seen = judgement(
            self.critics, self.params["critic"], self.params["cost"], inputs, actions.shape[-1], self.scalars["cost_margin"]
        )  # fmt: skip
        self.follow_size(seen.q)
        q_scale, cost_scale = self.scales()
        violation = (seen.cost - self.critic_limit.unsqueeze(-1)) / cost_scale.unsqueeze(-1)
        multiplier = self.effective_multiplier(violation)
        slope = (multiplier * q_scale / cost_scale).view(-1, 1, 1) * seen.cost_slope - seen.q_slope
        temperature = lane_by_lane(torch.exp, self.temperature["log"])
        loss = temperature * log_density.mean(-1) + policy_loss(actions, slope)
        self.descend(self.gradients({"policy": loss}))
        entropy = -log_density.detach().mean(-1)
        self.tuner.step({"log": temperature * (entropy - self.entropy_target)})
        return {
            "q_mean": seen.q.mean(-1),
            "cost_bound": seen.cost.mean(-1),
            "effective_multiplier": multiplier,
            "active_share": (multiplier > 0).float(),
            "entropy": entropy,
            "temperature": temperature,
        }

    def own_policy(self) -> tuple[Policy, None]:
        """One draw per state."""
        return GaussianPolicy(self.gaussian, self.params["policy"]), None

    def own_tensors(self) -> Params:
        """The temperature and its optimiser."""
        return {**self.temperature, **{f"tuner.{k}": v for k, v in self.tuner.tensors().items()}}

    @torch.no_grad()
    def load_own(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from :meth:`own_tensors`."""
        self.temperature["log"].copy_(tensors["log"])
        self.tuner.load_tensors(under(tensors, "tuner"), self.updates)


def stored_policies(
    outputs: Sequence[Snapshot], limit: torch.Tensor, device: str, config_type=SacLagrangianConfig
):
    """What stored outputs stand for: their networks and their policies."""
    rebuilt = Rebuilt(outputs, config_type, device)
    policy = GaussianPolicy(gaussian_network(rebuilt.sizes, rebuilt.configs[0]), rebuilt.policy)
    return rebuilt, (policy, None)
