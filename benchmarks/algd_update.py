"""CPU-seconds per gradient step of ALGD, at the published sizes and at small ones, with the environment step.

    python benchmarks/algd_update.py [--rounds 20] [--steps 5] [--lanes 1,5] [--profile]

One torch thread, minimum over short rounds, since other work on the machine only ever adds. The public agent took 100 ms
at the published sizes and 10 ms at the small ones on a loaded core of the same kind (CPU-seconds, device set to CPU).
``--profile`` prints where the time goes.
"""

from __future__ import annotations

import argparse
import time

import torch
from flowsweep.trainables.algd.config import AlgdConfig
from flowsweep.trainables.algd.stages import Train
from flowsweep.trainables.base import Lane, Learner
from flowsweep.trainables.envs.constrained_names import open_environment
from flowsweep.trainables.safe_rl.config import WarmupConfig
from flowsweep.trainables.safe_rl.stages import Warmup

SIZES = {
    "published: batch 256, critics 2x256, denoiser 3x128": {
        "batch_size": 256, "hidden": (256, 256), "policy_hidden": (128,) * 3,
    },
    "small: batch 64, critics 2x64, denoiser 3x64": {
        "batch_size": 64, "hidden": (64, 64), "policy_hidden": (64,) * 3,
    },
}  # fmt: skip
PUBLIC_MS = {"published": 100.0, "small": 10.0}


def learner(sizes: dict, lanes: int) -> Learner:
    """K 5, N 4, E 4 on an environment of 11 observations and 3 actions."""
    source, seeds = open_environment("hopper-velocity-v1"), range(lanes)
    warm = Warmup().start([Lane(WarmupConfig(steps=300), seed) for seed in seeds], source, "cpu")
    warm.advance(300)
    config = AlgdConfig(steps=100_000, **sizes)
    upstream = [{"warmup": output} for output in warm.outputs()]
    return Train().start([Lane(config, *pair) for pair in zip(seeds, upstream, strict=True)], source, "cpu")


def least_ms(one: Learner, rounds: int, steps: int) -> float:
    """CPU-milliseconds per step, the least over rounds."""
    one.advance(steps)
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        one.advance(steps)
        taken.append((time.process_time() - started) / steps)
    return 1e3 * min(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="of a round")
    parser.add_argument("--lanes", default="1,5", help="seeds trained as one program, comma-separated")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| sizes | lanes | CPU-ms per step and lane | public agent |\n|---|---|---|---|")
    for name, sizes in SIZES.items():
        for lanes in (int(count) for count in options.lanes.split(",")):
            one = learner(sizes, lanes)
            taken = least_ms(one, options.rounds, options.steps) / lanes
            print(f"| {name} | {lanes} | {taken:.1f} | {PUBLIC_MS[name.partition(':')[0]]:.0f} |", flush=True)
            if options.profile:
                _profile(one)


def _profile(one: Learner) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as seen:
        one.advance(5)
    print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40))


if __name__ == "__main__":
    main()
