"""What is worth searching in the baselines, with ranges and reasons."""

from __future__ import annotations

from .parameters import Choice, Real, Space

ALPHA = Real(
    low=0.03,
    high=1000.0,
    log=True,
    reason="with normalize_q the authors advise 0.03 to 10, without it published runs use 3 to 1000 by task",
)
NORMALIZED_ALPHA = Real(
    low=0.03,
    high=10.0,
    log=True,
    reason="the authors' advice for new tasks with normalize_q, the default here",
)
Q_AGGREGATION = Choice(
    values=("mean", "min"),
    reason="mean is the published default; min is published for the large ant mazes and adroit",
)
EXPECTILE = Choice(
    values=(0.7, 0.8, 0.9, 0.95),
    reason="IQL publishes 0.7 for locomotion and 0.9 for mazes, IFQL 0.9; higher trusts lucky outcomes more",
)
ACTION_SAMPLES = Choice(
    values=(8, 32, 128),
    reason="32 is published; more samples climb the critics further, their errors included",
)
ACTOR_PENALTY = Real(
    low=5e-4,
    high=1.0,
    log=True,
    reason="published runs use 5e-4 (ant mazes) to 1 (cubes), with Q divided by its mean size",
)
CRITIC_PENALTY = Real(
    low=1e-4,
    high=1.0,
    log=True,
    reason="published runs use 0 to 1, most 0.01; the lower end is practically none",
)

LEARNING_RATE = Real(
    low=1e-4, high=3e-3, log=True, reason="published runs use 3e-4 and 1e-3; small tasks bear more"
)

FQL_SPACES: dict[str, Space] = {
    "default": {"distill.alpha": ALPHA},
    "normalized": {"distill.alpha": NORMALIZED_ALPHA},
    "critic": {"distill.alpha": NORMALIZED_ALPHA, "distill.q_aggregation": Q_AGGREGATION},
    "rates": {
        "distill.alpha": NORMALIZED_ALPHA,
        "distill.policy_learning_rate": LEARNING_RATE,
        "distill.critic_learning_rate": LEARNING_RATE,
    },
}
IFQL_SPACES: dict[str, Space] = {
    "default": {"value.expectile": EXPECTILE, "value.action_samples": ACTION_SAMPLES},
    "rates": {
        "value.expectile": EXPECTILE,
        "value.value_learning_rate": LEARNING_RATE,
        "value.critic_learning_rate": LEARNING_RATE,
    },
}
REBRAC_SPACES: dict[str, Space] = {
    "default": {"actor_critic.actor_penalty": ACTOR_PENALTY, "actor_critic.critic_penalty": CRITIC_PENALTY},
    "rates": {
        "actor_critic.actor_penalty": ACTOR_PENALTY,
        "actor_critic.actor_learning_rate": LEARNING_RATE,
        "actor_critic.critic_learning_rate": LEARNING_RATE,
    },
}
