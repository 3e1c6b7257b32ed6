"""ALGD, the plain Lagrangian, CAL and SAC-Lagrangian on the point-mass detour, same budget and sizes.

    python benchmarks/algd_detour.py [--seeds 0,1,2,3,4] [--methods ALGD,CAL] [--episodes 10] [--folder DIR]
                                     [--figure docs/figures/detour.png]

6,000 environment steps in all: 1,000 of uniform actions, then 5,000 with one gradient update each. The goal is a
return of at least 35 at a cost of at most 1. A run that was stopped goes on when started again in the same folder.
"""

from __future__ import annotations

from safe_runs import Run, arguments, report

ENVIRONMENT, WARMUP, STEPS = "detour-v0", 1000, 5000
RUNS = [
    Run("ALGD", "algd", ENVIRONMENT, WARMUP, STEPS, {}),
    Run("plain Lagrangian", "algd", ENVIRONMENT, WARMUP, STEPS, {"energy": "lagrangian"}),
    Run("CAL", "cal", ENVIRONMENT, WARMUP, STEPS, {}),
    Run("SAC-Lagrangian", "sac-lagrangian", ENVIRONMENT, WARMUP, STEPS, {}),
]

if __name__ == "__main__":
    report(
        RUNS,
        arguments(__doc__, "0,1,2,3,4", "/tmp/flowsweep-detour"),
        every=1000,
        limit=1.0,
        least_return=35.0,
    )
