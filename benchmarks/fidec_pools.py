"""What finite pools cost and lose: refining over m base actions per state against drawing anew in every update.

    flowsweep data make pointmaze-umaze-detour --steps 50000
    python benchmarks/fidec_pools.py flowsweep/pointmaze-umaze-detour-50k-v0 --seeds 100,101,102
    python benchmarks/fidec_pools.py --memory 1000000

The first form trains one flow per seed, then one refinement per m and one with `base_actions: fresh`, all of the
quickstart's sizes, and scores every policy on the same episodes. The second stores pools of so many states, opens
them in one process and then in two, and prints what the kernel says of their memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidec_refinement import EVALUATION_SEED, configurations
from flowsweep.platform.report.intervals import student_t
from flowsweep.trainables.artifacts import TENSORS, write_snapshot
from flowsweep.trainables.base import Lane, Snapshot, StageConfig
from flowsweep.trainables.data.dataset import FlatDataset
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig

SIZES = [
    "pretrain.steps=3000",
    "pretrain.hidden=[128, 128]",
    "pretrain.learning_rate=0.001",
    "pools.fisher_samples=4",
    "refine.steps=4000",
    "refine.hidden=[128, 128]",
    "refine.critic_learning_rate=0.001",
    "refine.residual_learning_rate=0.001",
    "refine.kl_radius=0.1",
]
"""The quickstart's."""
FRESH = "fresh"


def trained(
    name: str, config: StageConfig, seed: int, upstream: Mapping[str, Snapshot], dataset: FlatDataset
) -> tuple[Any, float]:
    """A stage's learner after its last step, and the CPU-seconds of its steps."""
    learner = SYSTEM.stage(name).start([Lane(config, seed, dict(upstream))], dataset, "cpu")
    started = time.process_time()
    learner.advance(config.steps)
    return learner, time.process_time() - started


def success(learner: Any, seed: int, episodes: int) -> float:
    """Success rate on the episodes that every policy of this seed meets."""
    return learner.evaluate([EVALUATION_SEED + seed], episodes)[0].metrics["success_rate"]


def one_seed(
    configs: Mapping[str, Any], dataset: FlatDataset, seed: int, counts: list[int], episodes: int
) -> list[dict[str, Any]]:
    """One row per variant: its score, and CPU-seconds of pools and refinement apart."""
    flow, _ = trained("pretrain", configs["pretrain"], seed, {}, dataset)
    upstream = {"pretrain": flow.outputs()[0]}
    rows = [{"variant": "imitated", "success": success(flow, seed, episodes)}]
    for count in counts:
        chosen = configs["pools"].model_copy(update={"base_actions": count})
        pools, pools_cpu_s = trained("pools", chosen, seed, upstream, dataset)
        stored = {**upstream, "pools": pools.outputs()[0]}
        refined, refine_cpu_s = trained("refine", configs["refine"], seed, stored, dataset)
        rows.append(
            {"variant": f"m = {count}", "success": success(refined, seed, episodes),
             "pools_cpu_s": pools_cpu_s, "refine_cpu_s": refine_cpu_s}
        )  # fmt: skip
    # Fresh draws read nothing of the pools but how their Fisher matrices are estimated.
    drawing = configs["refine"].model_copy(update={"base_actions": "fresh"})
    refined, refine_cpu_s = trained("refine", drawing, seed, stored, dataset)
    rows.append(
        {"variant": FRESH, "success": success(refined, seed, episodes), "pools_cpu_s": 0.0,
         "refine_cpu_s": refine_cpu_s}
    )  # fmt: skip
    return [{"seed": seed, **row} for row in rows]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per variant: mean success with its interval, the paired difference to fresh, mean CPU-seconds."""
    by_variant: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], []).append(row)
    fresh = [row["success"] for row in by_variant[FRESH]]
    found = []
    for variant, own in by_variant.items():
        values = [row["success"] for row in own]
        score = student_t(values, "seeds")
        line = {
            "variant": variant,
            "per_seed": values,
            "mean": score.mean,
            "low": max(0.0, score.low),
            "high": min(1.0, score.high),
        }
        for key in ("pools_cpu_s", "refine_cpu_s"):
            line[key] = float(np.mean([row.get(key, 0.0) for row in own]))
        if variant != FRESH:
            against = student_t([a - b for a, b in zip(values, fresh, strict=True)], "paired")
            line |= {
                "difference": against.mean,
                "difference_low": against.low,
                "difference_high": against.high,
            }
        found.append(line)
    return found


def show(lines: list[dict[str, Any]], seeds: list[int]) -> None:
    """The table for a person."""
    print(
        f"success over seeds {seeds}; intervals are 95 %, t over seeds, cut at 0 and 1; differences paired by seed"
    )
    print(
        f"{'':<10}{'success':>9}  {'95 %':<16}{'per seed':<24}{'to fresh':<28}{'pools CPU s':>12}{'refine CPU s':>13}"
    )
    for line in lines:
        seeds_text = " ".join(f"{value:.3f}" for value in line["per_seed"])
        against = (
            f"{line['difference']:+.3f} [{line['difference_low']:+.3f}, {line['difference_high']:+.3f}]"
            if "difference" in line
            else ""
        )
        span = f"[{line['low']:.3f}, {line['high']:.3f}]"
        print(
            f"{line['variant']:<10}{line['mean']:>9.3f}  {span:<16}{seeds_text:<24}{against:<28}"
            f"{line['pools_cpu_s']:>12.1f}{line['refine_cpu_s']:>13.1f}"
        )


READER = """
import re, sys
import torch
from pathlib import Path
from flowsweep.trainables.artifacts import TENSORS, read_snapshot
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.fidec.columns import Pools

torch.set_num_threads(1)
snapshot = read_snapshot(Path(sys.argv[1]))
pools = Pools([snapshot], "cpu")
states = len(snapshot.tensors["base_actions"])
for start in range(0, states, 4096):
    rows = torch.arange(start, min(start + 4096, states)).unsqueeze(0)
    pools.fisher(rows, rows * 0)
    for choice in range(pools.base_actions_per_state):
        pools.base_actions(rows, torch.full_like(rows, choice))
print("read", flush=True)
sys.stdin.readline()
kib = {"Rss": 0, "Pss": 0, "Private_Dirty": 0}
inside = False
for line in open("/proc/self/smaps"):
    if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
        inside = TENSORS in line
    name, _, value = line.partition(":")
    if inside and name in kib:
        kib[name] += int(value.split()[0])
print(*(f"{name}={value / 1024:.0f}" for name, value in kib.items()), flush=True)
sys.stdin.readline()
"""
"""Opens pools, reads every row, and on being asked says what of the file it holds in memory, in MiB."""


def memory(states: int) -> None:
    """Print Rss and Pss of the pools' file in one reader, then in two at once."""
    config, size = PoolsConfig(fisher_samples=8), 6
    draw = torch.Generator().manual_seed(0)
    tensors = {
        "base_actions": torch.randn(states, config.base_actions, size, generator=draw),
        "matrix": torch.eye(size).repeat(states, 1, 1),
    }
    meta = {"pools": config.model_dump(mode="json")}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pools"
        print(f"{write_snapshot(place, Snapshot(tensors, meta)) / 2**20:.0f} MiB of pools, {states:,} states")
        del tensors
        for count in (1, 2):
            readers = [
                subprocess.Popen(
                    [sys.executable, "-c", READER, str(place)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
                for _ in range(count)
            ]  # fmt: skip
            for reader in readers:
                assert reader.stdout
                reader.stdout.readline()
            for reader in readers:
                assert reader.stdin
                assert reader.stdout
                print(file=reader.stdin, flush=True)
                print(f"{count} reading: {reader.stdout.readline().strip()} MiB of {TENSORS}")
            for reader in readers:
                reader.communicate("\n")


def main() -> None:
    """Train, score, print; or measure memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--seeds", default="100,101,102")
    parser.add_argument("--base-actions", default="1,4,16", help="the m to compare")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.FIELD=VALUE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", type=int, metavar="STATES", help="measure memory instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory:
        memory(arguments.memory)
        return
    try:
        configs = configurations("default", [*SIZES, *arguments.set])
        dataset: Any = SYSTEM.open_source(arguments.dataset or parser.error("name a dataset"))
    except UserError as error:
        parser.error(str(error))
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    counts = [int(count) for count in arguments.base_actions.split(",")]
    rows = []
    for seed in seeds:
        rows += one_seed(configs, dataset, seed, counts, arguments.episodes)
        print(f"seed {seed} done", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"rows": rows, "summary": summary(rows)}, indent=2))
    else:
        show(summary(rows), seeds)


if __name__ == "__main__":
    main()
