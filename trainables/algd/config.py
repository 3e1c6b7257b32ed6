"""What can be set in ALGD's training, with ranges, defaults and meaning. Free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..config import lane_field
from ..safe_rl.config import SafeConfig, Widths


class AlgdConfig(SafeConfig):
    """A diffusion policy that samples where the augmented Lagrangian is low."""

    policy_hidden: Widths = (64, 64, 64)
    """Widths of the hidden layers of the denoiser."""
    sampler: Literal["ve", "ddpm"] = "ve"
    """How actions are drawn: Euler-Maruyama of a variance-exploding reverse diffusion, or DDPM with guidance."""
    denoising_steps: int = Field(default=5, ge=1, le=1000)
    """Steps K from noise to action."""
    sigma_max: float = lane_field(1.0, gt=0, le=100)
    """Largest noise of the variance-exploding sampler, in units of the latent action."""
    sigma_min: float = lane_field(0.01, gt=0, le=100)
    """Smallest noise of the variance-exploding sampler."""
    energy: Literal["augmented", "lagrangian", "penalty"] = "augmented"
    """What the policy descends: the augmented Lagrangian at every state and action, the plain one, or the quadratic
    penalty alone (the augmented one without multiplier)."""
    rho: float = lane_field(4.0, gt=0, le=1e4)
    """Weight of the quadratic part of the augmented Lagrangian."""
    beta: float = lane_field(1.0, gt=0, le=1e4)
    """Temperature of the density exp(-L / beta) whose score is learnt."""
    actor: Literal["backprop_and_score", "score_only"] = "backprop_and_score"
    """What trains the denoiser: the energy of its final action through all steps, beside the score; or the score."""
    score_weight: float = lane_field(0.1, ge=0, le=1e3)
    """Weight of the score's loss beside the energy."""
    score_samples: int = Field(default=4, ge=1, le=1024)
    """Monte-Carlo samples N per score target."""
    score_estimator: Literal["blend", "gradient", "noise"] = "blend"
    """How samples become a score: by their energies' gradients, by where they lie, or both, weighed by which is the
    more accurate at that noise."""
    score_target: Literal["latent", "action"] = "latent"
    """Where the score is one: of the latent action that is diffused, box included; or of the squashed action but
    applied to the latent one, read one level late, as the public code does."""
    score_clip: float = lane_field(10.0, gt=0, le=1e9)
    """Largest norm of a score target, times the noise of its level."""
    best_of: int = Field(default=1, ge=1, le=1024)
    """Samples among which the deployed policy takes that of lowest energy; above 1 evaluations report it too."""

    def unread(self) -> dict[str, str]:
        """See :class:`StageConfig`."""
        idle = super().unread()
        if self.sampler == "ddpm":
            idle |= dict.fromkeys(("sigma_max", "sigma_min"), "`sampler: ddpm` has a schedule of its own")
        if self.energy == "lagrangian":
            idle["rho"] = "`energy: lagrangian` has no quadratic part"
        if self.actor == "score_only":
            idle["score_weight"] = "`actor: score_only` has but one loss"
        return idle

    def warnings(self) -> list[str]:
        """See :class:`StageConfig`."""
        if self.sampler == "ve" and self.sigma_min >= self.sigma_max:
            return [f"sigma_min {self.sigma_min:g} is not below sigma_max {self.sigma_max:g}"]
        return []
