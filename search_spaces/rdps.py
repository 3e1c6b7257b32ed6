"""What is worth searching in robust posterior sampling, with ranges and reasons."""

from __future__ import annotations

from .parameters import Choice, Integer, Real, Space

SAMPLER = Choice(
    values=("dps_norm", "dps_annealed", "pigdm", "tmpd", "daps", "huber_cg"),
    reason="they fail differently: DPS by direction, the others by size; which is best depends on the operator",
)
ROBUST = ("huber", "imq", "cauchy", "welsch", "tukey")
GUIDED = Real(
    low=1e-4,
    high=1e3,
    log=True,
    reason="published DPS runs lie at 3e-4 to 1e3 from one problem to the next; far too much diverges and is told so",
)
GUIDANCE = GUIDED.model_copy(update={"when": {"posterior.sampler": ("dps_norm", "dps_annealed")}})
DAPS_STEP = Real(
    low=0.02,
    high=1.0,
    log=True,
    when={"posterior.sampler": "daps"},
    reason="a share of what curvature allows; published step sizes span two decades for want of such a scale",
)
KIND = Choice(
    values=("squared", "huber", "imq", "cauchy", "welsch", "tukey"),
    reason="squared is the published sampler; huber and imq bound an outlier's pull, the others let go of it",
)
ROBUST_KIND = Choice(
    values=("huber", "cauchy", "welsch", "tukey"),
    reason="one that bounds and three that let go, from slowest to most abrupt",
)
ANY_THRESHOLD = Real(
    low=0.5,
    high=20.0,
    log=True,
    reason="95 % efficient values lie at 1.3 to 4.7; below 1 good data are lost, at 20 little is refused",
)
THRESHOLD = ANY_THRESHOLD.model_copy(update={"when": {"posterior.kind": ROBUST}})
SCALE = Choice(
    values=("annealed", "mad"),
    when={"posterior.kind": ROBUST},
    reason="annealed knows the operator, mad reads the residuals; fixed calls every early residual an outlier",
)
LEVELS = Choice(
    values=(40, 80, 160),
    reason="samples hardly change from 50 to 400 levels, cost is proportional",
)
PASSES = Integer(
    low=1,
    high=4,
    when={"posterior.sampler": ("pigdm", "tmpd", "huber_cg")},
    reason="the first pass weighs by a wide scale, the second and third by what the fit leaves; more change little",
)
NOISE_FACTOR = Real(
    low=0.5,
    high=4.0,
    log=True,
    reason="assuming more noise than there is guards the squared loss a little too; a rival worth beating",
)

SPACES: dict[str, Space] = {
    "default": {
        "posterior.sampler": SAMPLER,
        "posterior.guidance": GUIDANCE,
        "posterior.langevin_step": DAPS_STEP,
        "posterior.kind": KIND,
        "posterior.threshold": THRESHOLD,
        "posterior.scale": SCALE,
        "posterior.levels": LEVELS,
        "posterior.passes": PASSES,
    },
    "threshold": {"posterior.kind": ROBUST_KIND, "posterior.threshold": ANY_THRESHOLD},
    "guided": {
        "posterior.guidance": GUIDED,
        "posterior.kind": ROBUST_KIND,
        "posterior.threshold": ANY_THRESHOLD,
        "posterior.noise_factor": NOISE_FACTOR,
    },
}
