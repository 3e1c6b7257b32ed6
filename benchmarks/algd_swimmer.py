"""ALGD, CAL and SAC-Lagrangian on Swimmer below a velocity, limit 25, same budget and sizes.

    python benchmarks/algd_swimmer.py [--seeds 0,1,2] [--methods ALGD] [--episodes 10] [--folder DIR]
                                      [--figure docs/figures/swimmer.png]

32,000 environment steps in all: 2,000 of uniform actions, then 30,000 with one gradient update each. The goal is a
cost of at most 25 on every seed at a return of at least 24. A run that was stopped goes on when started again.
"""

from __future__ import annotations

from safe_runs import Run, arguments, report

ENVIRONMENT, WARMUP, STEPS = "swimmer-velocity-v1", 2000, 30_000
RUNS = [
    Run("ALGD", "algd", ENVIRONMENT, WARMUP, STEPS, {}),
    Run("CAL", "cal", ENVIRONMENT, WARMUP, STEPS, {}),
    Run("SAC-Lagrangian", "sac-lagrangian", ENVIRONMENT, WARMUP, STEPS, {}),
]

if __name__ == "__main__":
    report(
        RUNS, arguments(__doc__, "0,1,2", "/tmp/flowsweep-swimmer"), every=4000, limit=25.0, least_return=24.0
    )
