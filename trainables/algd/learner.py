"""ALGD's learner: P diffusion policies trained side by side by their energy and its score.

Per gradient update: critics of reward and cost by TD; then the denoiser, by the energy of its final actions through
all K steps and by the distance of its score from a Monte-Carlo estimate of the true one.

Legend: P lanes, K levels, N samples, B batch, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from ..base import Snapshot
from ..envs.policy import Policy
from ..nets import Params
from ..offline import standard_normal
from ..safe_rl.critics import Critics, Metrics, policy_loss
from ..safe_rl.learner import Rebuilt, SafeLearner
from ..safe_rl.replay import Batch
from .config import AlgdConfig
from .losses import Energy, Landscape, energy_values, landscape, score_loss
from .networks import Chain, Denoiser, denoise
from .samplers import Ddpm, Sampler, VarianceExploding
from .score import clipped_score, estimated_score

SCALARS = ("rho", "beta", "score_weight", "score_clip", "sigma_max", "sigma_min")
LOG_2 = 0.6931471805599453


@dataclass(frozen=True)
class DiffusionPolicy:
    """P denoisers, each acting by one draw."""

    denoiser: Denoiser
    params: Params
    sampler: Sampler

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions [P, B, A] for observations [P, B, O]."""
        levels, actions = self.denoiser.levels, self.denoiser.sizes[1]
        noise = standard_normal(generators, levels, observations.shape[1], actions)
        return denoise(self.denoiser, self.params, self.sampler, observations, noise).final.tanh()


@dataclass(frozen=True)
class BestOf:
    """P denoisers that draw M actions at every state and take the one of lowest energy.

    Attributes:
        policy: draws them.
        critics, reward, cost: what the energy reads, architecture and parameters.
        energy: its settings.
        samples: M.
    """

    policy: DiffusionPolicy
    critics: Critics
    reward: Params
    cost: Params
    energy: Energy
    samples: int

    @torch.no_grad()
    def act(self, observations: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Actions [P, B, A] for observations [P, B, O]."""
        states = observations.repeat_interleave(self.samples, 1)
        actions = self.policy.act(states, generators)
        inputs = torch.cat([states, actions], -1)
        energies = energy_values(self.critics, self.reward, self.cost, inputs, self.energy)
        best = energies.unflatten(1, (-1, self.samples)).argmin(2)
        among = actions.unflatten(1, (-1, self.samples))
        index = best[:, :, None, None].expand(-1, -1, 1, actions.shape[-1])
        return among.gather(2, index).squeeze(2)


def sampler_of(config: AlgdConfig, scalars: Mapping[str, torch.Tensor], lanes: int, device: str) -> Sampler:
    """The sampler a configuration names, for lanes with noises of their own."""
    if config.sampler == "ddpm":
        return Ddpm.of(config.denoising_steps, lanes, device)
    return VarianceExploding.of(scalars["sigma_min"], scalars["sigma_max"], config.denoising_steps)


def denoiser_of(config: AlgdConfig, sizes: tuple[int, int]) -> Denoiser:
    """The denoiser a configuration names."""
    return Denoiser(sizes, config.policy_hidden, config.denoising_steps, config.sampler == "ddpm")


class AlgdLearner(SafeLearner):
    """P lanes of ALGD."""

    config: AlgdConfig
    scalars_of = SCALARS

    def policy_network(self, generators: Sequence[torch.Generator]) -> Params:
        """A fresh denoiser."""
        self.denoiser = denoiser_of(self.config, self.replay.sizes)
        self.sampler = sampler_of(self.config, self.scalars, len(self.lanes), self.device)
        return self.denoiser.init(generators)

    def noise_size(self) -> tuple[int, ...]:
        """One draw per level."""
        return (self.config.denoising_steps,)

    @torch.no_grad()
    def act(self, params: Params, states: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [P, R, A] for states [P, R, O] from noise [P, K, R, A]."""
        return denoise(self.denoiser, params, self.sampler, states, noise).final.tanh()

    def energy(self) -> Energy:
        """The energy's settings as they are now."""
        q_scale, cost_scale = self.scales()
        return Energy(
            self.config.energy, self.dual.multiplier, self.scalars["rho"], self.scalars["cost_margin"],
            self.critic_limit, q_scale, cost_scale,
        )  # fmt: skip

    def policy_update(self, batch: Batch) -> Metrics:
        """One step of the denoiser."""
        params, config = self.params["policy"], self.config
        size, actions = batch.actions.shape[1:]
        noise = self.streams.normal(config.denoising_steps + config.score_samples, size, actions)
        chain = denoise(self.denoiser, params, self.sampler, batch.states, noise[:, : config.denoising_steps])
        final = chain.final.tanh()
        probe = self._probe(chain, noise[:, config.denoising_steps :])
        seen = self._landscape(batch.states, torch.cat([final.detach(), probe.tried.flatten(1, 2)], 1))
        self.follow_size(seen.q[:, :size])
        target = self._target(probe, seen, size)
        score = self.denoiser.score_at(params, batch.states, probe.read, probe.levels)
        weight = probe.sigma if config.score_target == "latent" else torch.ones_like(probe.sigma)
        losses = {"score": score_loss(score, target, weight)}
        loss = losses["score"]
        if config.actor == "backprop_and_score":
            loss = policy_loss(final, seen.slope[:, :size]) + self.scalars["score_weight"] * loss
        self.descend(self.gradients({"policy": loss}))
        effective, cost = seen.effective[:, :size], seen.cost[:, :size]
        return {
            "energy": seen.value[:, :size].mean(-1),
            "q_mean": seen.q[:, :size].mean(-1),
            "cost_bound": cost.mean(-1),
            "effective_multiplier": effective.mean(-1),
            "active_share": (effective > 0).float().mean(-1),
            "score_loss": losses["score"],
            "score_norm": (probe.sigma * target.norm(dim=-1)).mean(-1),
        }

    def _landscape(self, states: torch.Tensor, actions: torch.Tensor) -> Landscape:
        """The energy at actions [P, (1 + N) B, A], the states repeated under them."""
        inputs = torch.cat([states.repeat(1, actions.shape[1] // states.shape[1], 1), actions], -1)
        reward, cost = self.params["critic"], self.params["cost"]
        return landscape(self.critics, reward, cost, inputs, actions.shape[-1], self.energy())

    def _probe(self, chain: Chain, offsets: torch.Tensor) -> Probe:
        """Where the score is read, at a level of its own in every row, and what is tried around it."""
        size = offsets.shape[2]
        levels = self.streams.integers(self.config.denoising_steps, size)
        sigma = self.sampler.sigmas.gather(1, levels)
        points = chain.before
        if self.config.score_target == "action":  # read after the step of the level, as the public code does
            points = [chain.final.detach(), *chain.before[:-1]]
        index = levels[:, None, :, None].expand(-1, 1, -1, offsets.shape[-1])
        point = torch.stack(points, 1).gather(1, index)
        spread = sigma[:, None, :, None] * offsets
        read = point.squeeze(1).tanh()
        if self.config.score_target == "action":
            return Probe(levels, sigma, read, offsets, read.unsqueeze(1) + spread, None)
        latent = point + spread
        return Probe(levels, sigma, read, offsets, latent.tanh(), latent)

    def _target(self, probe: Probe, seen: Landscape, size: int) -> torch.Tensor:
        """The score's target phi* [P, B, A]."""
        samples, beta = self.config.score_samples, self.scalars["beta"]
        energies = seen.value[:, size:].unflatten(1, (samples, size))
        slopes = seen.slope[:, size:].unflatten(1, (samples, size))
        if probe.latent is not None:
            energies, slopes = pulled_back(energies, slopes, probe.latent, probe.tried, beta)
        target = estimated_score(
            probe.offsets, energies, slopes, probe.sigma, beta, self.config.score_estimator
        )
        return clipped_score(target, probe.sigma, self.scalars["score_clip"])

    def own_policy(self) -> tuple[Policy, Policy | None]:
        """One draw per state; by the deployment rule the best of several."""
        policy = DiffusionPolicy(self.denoiser, self.params["policy"], self.sampler)
        if self.config.best_of == 1:
            return policy, None
        reward, cost = self.params["critic"], self.params["cost"]
        return policy, BestOf(policy, self.critics, reward, cost, self.energy(), self.config.best_of)


@dataclass(frozen=True)
class Probe:
    """Where a score is estimated.

    Attributes:
        levels, sigma: [P, B] level of every row and its noise.
        read: [P, B, A] squashed action there.
        offsets: [P, N, B, A] standard normal z_j.
        tried: [P, N, B, A] actions around it that the energy is asked about.
        latent: [P, N, B, A] latent actions of those; None where the score is one of actions.
    """

    levels: torch.Tensor
    sigma: torch.Tensor
    read: torch.Tensor
    offsets: torch.Tensor
    tried: torch.Tensor
    latent: torch.Tensor | None


def pulled_back(
    energies: torch.Tensor,
    slopes: torch.Tensor,
    latent: torch.Tensor,
    squashed: torch.Tensor,
    beta: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Energy and gradient of the latent action x whose squashed form a = tanh(x) has density exp(-L(a) / beta).

    U(x) = L(tanh x) - beta sum log (1 - tanh^2 x): the change of variables is what keeps x from running away.

    Args:
        energies: [P, N, B] L; slopes: [P, N, B, A] its gradient in a.
        latent, squashed: [P, N, B, A] x and a.
        beta: [P].
    """
    log_width = 2 * (LOG_2 - latent - functional.softplus(-2 * latent))
    temperature = beta.view(-1, 1, 1)
    energies = energies - temperature * log_width.sum(-1)
    slopes = (1 - squashed.square()) * slopes + 2 * temperature.unsqueeze(-1) * squashed
    return energies, slopes


def stored_policies(outputs: Sequence[Snapshot], limit: torch.Tensor, device: str):
    """What stored outputs stand for: their networks, and the policies by one draw and by the deployment rule.

    Args:
        outputs: [P] of ``train``.
        limit: [P] h, the critics' limit.
        device: where to compute.
    """
    rebuilt = Rebuilt(outputs, AlgdConfig, device)
    config = rebuilt.configs[0]
    assert isinstance(config, AlgdConfig)
    scalars = {name: rebuilt.scalar(name, device) for name in (*SCALARS, "cost_margin")}
    sampler = sampler_of(config, scalars, len(outputs), device)
    policy = DiffusionPolicy(denoiser_of(config, rebuilt.sizes), rebuilt.policy, sampler)
    if config.best_of == 1:
        return rebuilt, (policy, None)
    ones = torch.ones_like(rebuilt.q_size)
    scales = (rebuilt.q_size.clamp_min(1e-3), limit) if config.normalize else (ones, ones)
    energy = Energy(config.energy, rebuilt.multiplier, scalars["rho"], scalars["cost_margin"], limit, *scales)
    best = BestOf(policy, rebuilt.critics, rebuilt.critic, rebuilt.cost, energy, config.best_of)
    return rebuilt, (policy, best)
