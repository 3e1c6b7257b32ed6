"""CPU-seconds per update of FiDec's learners: pretrain, refine over pools, refine with fresh samples, joint.

    python benchmarks/fidec_update.py [--json] [--hidden 256,256 --hidden 512,512,512,512] [--samples 4,8]
                                      [--acceleration eager,compile] [--without-onednn]

Beside each row stand the arithmetic of its matrix products, counted operator by operator, in GFLOP and in passes (one
network of that size over one batch), and the share it reaches of the rate of square products of the networks' width,
measured in the same rounds.

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
from flowsweep.trainables.baselines import FQL
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig
from flowsweep.trainables.products import raw_product
from torch.utils._python_dispatch import TorchDispatchMode

COMPILED = " compiled"
SQUARE = "(square product)"
BATCH = 256
COLUMNS = {
    "CPU ms": ("cpu_s", 1e3, ".2f"),
    "passes": ("passes", 1, ".0f"),
    "GFLOP": ("gflop", 1, ".2f"),
    "GFLOP/s": ("gflop_per_s", 1, ".0f"),
    "share": ("share", 1, ".0%"),
    "/ pool": ("to_pool", 1, ".2f"),
    "/ fresh": ("to_fresh", 1, ".2f"),
    "/ eager": ("to_eager", 1, ".2f"),
    "compiling s": ("compiling_s", 1, ".1f"),
}
"""Title to figure, factor and format."""
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
    upstream = {"pretrain": pretrain.outputs()[0]}
    fql = FQL.presets["official"]()["distill"].model_copy(update={"hidden": hidden})
    found = {
        "pretrain": pretrain,
        "fql": FQL.stage("distill").start([Lane(fql, 0, upstream)], dataset, "cpu"),
    }
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


class Arithmetic(TorchDispatchMode):
    """Counts the floating-point operations of matrix products."""

    PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise")

    def __init__(self):
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run the operator, and count it if it is a product: two per multiply-add of the result."""
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name in self.PRODUCTS:
            left = args[1] if name in ("addmm", "baddbmm") else args[0]
            self.flop += 2 * result.numel() * left.shape[-1]
        return result


def flop_per_update(learner: Learner) -> int:
    """Floating-point operations of the matrix products of one update, without what is done once per report."""
    found = []
    for steps in (1, 2):
        with Arithmetic() as counted:
            learner.advance(steps)
        found.append(counted.flop)
    return found[1] - found[0]


class SquareProducts:
    """The control: products of a batch with a square matrix as wide as the networks; an "update" is one of them."""

    def __init__(self, width: int):
        draw = torch.Generator().manual_seed(0)
        self.left = torch.randn(BATCH, width, generator=draw)
        self.right = torch.randn(width, width, generator=draw)
        self.flop = 2 * BATCH * width * width

    def advance(self, steps: int) -> None:
        """Multiply that often."""
        with torch.no_grad():
            for _ in range(steps):
                raw_product(self.left, self.right)


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


def measure(found: dict[str, Learner | SquareProducts], rounds: int, round_s: float) -> dict[str, float]:
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
    hidden: tuple[int, ...], best: dict[str, float], compiling: dict[str, float], flop: dict[str, int]
) -> list[dict[str, object]]:
    """One row per figure: its arithmetic, and its ratios to refinement of the same K, computed the same way."""
    rows = []
    rate = flop[SQUARE] / best[SQUARE]
    one_pass = flop["pretrain"] / 3  # forward, and backward to weights and inputs
    for name, taken in best.items():
        rest = name.partition(" K")[2]  # "4", or "4 compiled"
        row: dict[str, object] = {"hidden": "x".join(map(str, hidden)), "update": name, "cpu_s": taken}
        arithmetic = flop[name.removesuffix(COMPILED)]
        row |= {"gflop": arithmetic / 1e9, "gflop_per_s": arithmetic / taken / 1e9}
        if name != SQUARE:
            row |= {"passes": arithmetic / one_pass, "share": arithmetic / taken / rate}
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
    found: dict[str, Learner | SquareProducts] = {SQUARE: SquareProducts(max(hidden))}
    found |= learners(dataset, hidden, samples)
    flop = {
        name: learner.flop if isinstance(learner, SquareProducts) else flop_per_update(learner)
        for name, learner in found.items()
    }
    compiling = {}
    if arguments.compile:
        for name, learner in learners(dataset, hidden, samples).items():
            compiling[name + COMPILED] = compiling_s(learner)
            found[name + COMPILED] = learner
    return report(hidden, measure(found, arguments.rounds, arguments.round_s), compiling, flop)


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
    print(f"{'hidden':<18}{'update':<26}" + "".join(f"{title:>12}" for title in COLUMNS))
    for row in rows:
        figures = [
            f"{factor * row[name]:{shape}}" if name in row else "" for name, factor, shape in COLUMNS.values()
        ]
        print(f"{row['hidden']:<18}{row['update']:<26}" + "".join(f"{figure:>12}" for figure in figures))


if __name__ == "__main__":
    main()
