"""ALGD's training as the platform sees it. Free of torch."""

from __future__ import annotations

from ..safe_rl.stages import COMMON, SafeStage
from .config import AlgdConfig


class Train(SafeStage[AlgdConfig]):
    """The diffusion policy with its critics and multiplier."""

    config_type = AlgdConfig
    metrics = {  # noqa: RUF012
        **COMMON,
        "energy": "mean energy of the policy's actions",
        "score_loss": "mean square distance of the learnt score from its target",
        "score_norm": "mean length of the score's target times the noise of its level",
        "best_of_return": "return where the action of lowest energy among `best_of` is taken; with best_of above 1",
        "best_of_cost": "cost of those episodes",
        "best_of_violation_rate": "share of those episodes above the limit",
    }

    def learner(self):
        from .learner import AlgdLearner

        return AlgdLearner

    def policies(self, outputs, limit, device):
        from .learner import stored_policies

        return stored_policies(outputs, limit, device)

    def policy_passes(self, config: AlgdConfig, policy: int, critics: int) -> float:
        """K steps drawn there and trained here, the score once; critics with slopes at the action and N around it."""
        return (4 * config.denoising_steps + 3) * policy + 2 * (1 + config.score_samples) * critics
