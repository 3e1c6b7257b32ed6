"""CPU-seconds per update of FiDec's learners: pretrain, refine over pools, refine with fresh samples, joint.

    python benchmarks/fidec_update.py [--json] [--hidden 256,256 --hidden 512,512,512,512] [--samples 4,8]
                                      [--acceleration eager,compile] [--without-onednn]

The ratios are taken within one run, rounds interleaved, one torch thread, minimum over rounds; only they carry
over to another machine. "joint" trains flow, critics and residual together as published (system fidec-joint);
"joint exact" is the same with GELU and layer normalisation as cheap as those of the other rows. With ``compile`` the
first update is timed too, the compiler included; it is cheaper where torch's cache on disk is filled.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from flowsweep.trainables.base import Lane, Learner, Snapshot
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig

COMPILED = " compiled"
ROWS, EPISODE_STEPS, OBSERVATIONS, ACTIONS = 100_000, 200, 17, 6


def synthetic() -> FlatDataset:
    """Rows of the usual size: two action modes with per-entry noise, reward for nearness to a third mean."""
    random = np.random.default_rng(0)
    episodes = ROWS // EPISODE_STEPS
    states = random.normal(size=(ROWS + episodes, OBSERVATIONS)).astype(np.float32)
    rows = np.arange(ROWS) + np.arange(ROWS) // EPISODE_STEPS
    centre = 0.3 * np.tanh(states[rows] @ random.normal(size=(OBSERVATIONS, ACTIONS)) / 4)
    noise = random.normal(size=(ROWS, ACTIONS)) * np.linspace(0.02, 0.3, ACTIONS)
    actions = np.clip(centre + random.choice([-0.4, 0.4], (ROWS, 1)) + noise, -0.999, 0.999).astype(
        np.float32
    )
    rewards = -np.square(actions - 0.5 - centre).mean(1).astype(np.float32)
    info = DatasetInfo(
        name="benchmarks/synthetic-v0",
        fingerprint="synthetic",
        episodes=episodes,
        transitions=ROWS,
        observation_dim=OBSERVATIONS,
        action_dim=ACTIONS,
        action_low=(-1.0,) * ACTIONS,
        action_high=(1.0,) * ACTIONS,
        reward_min=float(rewards.min()),
        reward_max=float(rewards.max()),
        terminal_share=0.0,
    )
    boundaries = np.arange(ROWS) % EPISODE_STEPS == EPISODE_STEPS - 1
    return FlatDataset(info, states, rows, actions, rewards, np.ones(ROWS, np.float32), boundaries)


def pools(config: PoolsConfig, states: int) -> Snapshot:
    """Pools of the right shape with random content: a gather takes as long whatever it gathers."""
    draw = torch.Generator().manual_seed(0)
    geometry = (
        {"scores": torch.randn(states, config.fisher_samples, ACTIONS, generator=draw)}
        if config.fisher_samples < ACTIONS
        else {"matrix": torch.eye(ACTIONS).repeat(states, 1, 1)}
    )
    actions = torch.randn(states, config.base_actions, ACTIONS, generator=draw)
    return Snapshot({"base_actions": actions, **geometry}, {"pools": config.model_dump(mode="json")})


def learners(dataset: FlatDataset, hidden: tuple[int, ...], samples: list[int]) -> dict[str, Learner]:
    """The learners to time, by name."""
    pretrain = SYSTEM.stage("pretrain").start([Lane(PretrainConfig(hidden=hidden), 0)], dataset, "cpu")
    found = {"pretrain": pretrain}
    for count in samples:
        stored = pools(PoolsConfig(fisher_samples=count), len(dataset.states))
        upstream = {"pretrain": pretrain.outputs()[0], "pools": stored}
        for kind in ("pool", "fresh"):
            config = RefineConfig(hidden=hidden, base_actions=kind)
            found[f"refine {kind} K{count}"] = SYSTEM.stage("refine").start(
                [Lane(config, 0, upstream)], dataset, "cpu"
            )
        published = JOINT_SYSTEM.presets["official"]()["joint"]
        for name, cheaper in (("joint", {}), ("joint exact", {"gelu": "exact", "affine_norm": False})):
            config = published.model_copy(update={"hidden": hidden, "fisher_samples": count, **cheaper})
            found[f"{name} K{count}"] = JOINT_SYSTEM.stage("joint").start([Lane(config, 0)], dataset, "cpu")
    return found


def cpu_s(run: Callable[[], object]) -> float:
    """Process time of one call."""
    started = time.process_time()
    run()
    return time.process_time() - started


def compiling_s(learner: Learner) -> float:
    """CPU-seconds of the first update of a learner that is to be compiled, the compiler's included."""
    started = time.process_time() + children_s()
    learner.accelerate("compile")
    learner.advance(1)
    return time.process_time() + children_s() - started


def children_s() -> float:
    """CPU-seconds of this process' children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(found: dict[str, Learner], rounds: int, round_s: float) -> dict[str, float]:
    """Least CPU-seconds per update over interleaved rounds of about ``round_s`` each."""
    steps = {}
    for name, learner in found.items():
        learner.advance(2)
        steps[name] = max(2, round(round_s / (cpu_s(lambda learner=learner: learner.advance(2)) / 2)))
    best = dict.fromkeys(found, float("inf"))
    for _ in range(rounds):
        for name, learner in found.items():
            taken = cpu_s(lambda learner=learner, name=name: learner.advance(steps[name])) / steps[name]
            best[name] = min(best[name], taken)
    return best


def report(
    hidden: tuple[int, ...], best: dict[str, float], compiling: dict[str, float]
) -> list[dict[str, object]]:
    """One row per figure, with its ratios to refinement of the same K, computed the same way."""
    rows = []
    for name, taken in best.items():
        rest = name.partition(" K")[2]  # "4", or "4 compiled"
        row: dict[str, object] = {"hidden": "x".join(map(str, hidden)), "update": name, "cpu_s": taken}
        for kind in ("pool", "fresh"):
            if rest and (base := best.get(f"refine {kind} K{rest}")):
                row[f"to_{kind}"] = taken / base
        if name in compiling:
            row |= {"compiling_s": compiling[name], "to_eager": taken / best[name.removesuffix(COMPILED)]}
        rows.append(row)
    return rows


def measured(hidden: tuple[int, ...], dataset: FlatDataset, arguments: argparse.Namespace):
    """The rows of one network size."""
    samples = [int(count) for count in arguments.samples.split(",")]
    found, compiling = learners(dataset, hidden, samples), {}
    if arguments.compile:
        for name, learner in learners(dataset, hidden, samples).items():
            compiling[name + COMPILED] = compiling_s(learner)
            found[name + COMPILED] = learner
    return report(hidden, measure(found, arguments.rounds, arguments.round_s), compiling)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hidden", action="append", help="hidden widths, comma-separated; repeatable")
    parser.add_argument("--samples", default="4,8", help="Fisher samples K, comma-separated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-s", type=float, default=1.0, help="CPU-seconds per round and learner")
    parser.add_argument("--acceleration", default="eager", choices=["eager", "eager,compile"])
    parser.add_argument(
        "--without-onednn", action="store_true", help="leave matrix products to PyTorch's choice"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.compile = "compile" in arguments.acceleration
    torch.set_num_threads(1)
    torch.backends.mkldnn.set_flags(not arguments.without_onednn)
    dataset, rows = synthetic(), []
    for text in arguments.hidden or ["256,256", "512,512,512,512"]:
        rows += measured(tuple(int(width) for width in text.split(",")), dataset, arguments)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("to_pool", "to_fresh", "to_eager", "compiling_s")
    print(
        f"{'hidden':<18}{'update':<26}{'CPU ms':>9}{'/ pool':>10}{'/ fresh':>10}{'/ eager':>10}{'compiling s':>13}"
    )
    for row in rows:
        figures = (f"{row[name]:.2f}" if name in row else "" for name in columns)
        print(
            f"{row['hidden']:<18}{row['update']:<26}{1e3 * row['cpu_s']:>9.2f}"
            "{:>10}{:>10}{:>10}{:>13}".format(*figures)
        )


if __name__ == "__main__":
    main()
