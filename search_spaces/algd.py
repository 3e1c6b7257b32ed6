"""What is worth searching in ALGD and its siblings, with ranges and reasons."""

from __future__ import annotations

from .parameters import Choice, Integer, Real, Space

RHO = Real(
    low=0.1,
    high=10.0,
    log=True,
    reason="the main knob between safety and return: 1 is published, below 0.1 it is nearly the plain Lagrangian",
)
BETA = Real(
    low=0.03,
    high=3.0,
    log=True,
    reason="temperature in units of Q, 1 is published: far above Q's differences noise drowns them, far below one sample wins",
)
DENOISING_STEPS = Choice(
    values=(3, 5, 10, 20),
    reason="5 is published and inaccurate, 20 near the exact sampler; acting costs as many passes, updates hardly more",
)
SIGMA_MAX = Real(
    low=0.2, high=1.0, log=True, reason="1 is published and leaves the box at the start; less explores less"
)
SCORE_SAMPLES = Choice(
    values=(1, 4, 16),
    reason="4 is published; the target's error falls about as 1 / sqrt N and the update's cost rises as N",
)
COST_CRITICS = Choice(values=(1, 2, 4, 8), reason="4 is published; more say better how unsure they are")
COST_MARGIN = Real(
    low=0.0, high=2.0, reason="1 is published; 0 trusts the mean, 2 is as careful as the ensemble can make it"
)
DUAL_LEARNING_RATE = Real(
    low=1e-5,
    high=1e-2,
    log=True,
    reason="per environment step: 1e-5 hardly moves in a short run, 1e-2 swings",
)
DUAL_START = Choice(
    values=(0.0, 0.69, 2.0),
    reason="0.69 is published; 0 lets the violation raise it; 2 is careful from the start",
)
SCORE_WEIGHT = Choice(
    values=(0.0, 0.01, 0.1, 1.0), reason="0.1 is published; 0 asks whether matching the score helps at all"
)
UPDATES_PER_STEP = Choice(values=(1, 2, 5, 10), reason="10 is published; time against environment steps")
LEARNING_RATE = Real(
    low=1e-4, high=3e-3, log=True, reason="3e-4 is published with ten updates per step, 1e-3 ours with one"
)
CONVEXITY = Real(
    low=0.1, high=100.0, log=True, reason="the authors use 10 to 1000 with the cost not divided by its limit"
)
HIDDEN_BATCH = Integer(
    low=64, high=256, log=True, reason="64 to 256 cover what is published and what a core affords"
)

SPACES: dict[str, Space] = {
    "default": {"train.rho": RHO, "train.beta": BETA, "train.dual_learning_rate": DUAL_LEARNING_RATE},
    "safety": {
        "train.rho": RHO,
        "train.cost_critics": COST_CRITICS,
        "train.cost_margin": COST_MARGIN,
        "train.dual_learning_rate": DUAL_LEARNING_RATE,
        "train.dual_start": DUAL_START,
    },
    "sampler": {
        "train.beta": BETA,
        "train.denoising_steps": DENOISING_STEPS,
        "train.sigma_max": SIGMA_MAX,
        "train.score_samples": SCORE_SAMPLES,
        "train.score_weight": SCORE_WEIGHT,
    },
    "budget": {
        "train.updates_per_step": UPDATES_PER_STEP,
        "train.policy_learning_rate": LEARNING_RATE,
        "train.critic_learning_rate": LEARNING_RATE,
        "train.batch_size": HIDDEN_BATCH,
    },
}
SAC_LAGRANGIAN_SPACES: dict[str, Space] = {
    "default": {
        "train.dual_learning_rate": DUAL_LEARNING_RATE,
        "train.dual_start": DUAL_START,
        "train.policy_learning_rate": LEARNING_RATE,
    }
}
CAL_SPACES: dict[str, Space] = {
    "default": {
        "train.convexity": CONVEXITY,
        "train.cost_margin": COST_MARGIN,
        "train.dual_learning_rate": DUAL_LEARNING_RATE,
    }
}
