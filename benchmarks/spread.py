"""One flow pretrained by one worker and by several beside each other: updates per second, CPU-ms per update.

    python benchmarks/spread.py [--json] [--workers 2] [--updates 200] [--rounds 5] [--hidden 256,256 --batch-size 256]
    python benchmarks/spread.py --start

Workers are processes of one torch thread that average gradients over gloo, as Ray Train sets them up, without Ray
around them. Rounds are interleaved, the best of each is kept. "possible" is what one worker spends per update over what
the busiest of several spends: the speed-up when each has a core of its own and waits for none. Updates per second say
as much only on a machine with that many free cores. "difference" is the largest between the weights of both.

The second form measures what is not in these: the processor time of all processes of an embedded Ray that it takes to start a
`TorchTrainer` of so many workers, which then do nothing, and to end it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import psutil
import torch
import torch.distributed as distributed
from fidec_update import synthetic
from flowsweep.trainables.artifacts import read_snapshot, write_snapshot
from flowsweep.trainables.base import Lane, Snapshot
from flowsweep.trainables.data.dataset import FlatDataset
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.fidec.config import PretrainConfig

WARM_UPDATES = 20


def worker(
    rank: int, world: int, folder: Path, dataset: FlatDataset, config: PretrainConfig, updates: int
) -> None:
    """Train, and leave the weights with what the updates took."""
    torch.set_num_threads(1)
    learner = SYSTEM.stage("pretrain").start([Lane(config, 0)], dataset, "cpu")
    if world > 1:
        distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
        learner.join(rank, world)
    learner.advance(WARM_UPDATES)
    cpu_s, wall_s = time.process_time(), time.monotonic()
    learner.advance(updates)
    took = {"cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}
    write_snapshot(folder / str(rank), Snapshot(learner.outputs()[0].tensors, took))


def run(world: int, dataset: FlatDataset, config: PretrainConfig, updates: int) -> list[Snapshot]:
    """What each of ``world`` workers left."""
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")  # the dataset is then shared, not copied
        arguments = [(rank, world, Path(folder), dataset, config, updates) for rank in range(world)]
        workers = [context.Process(target=worker, args=each) for each in arguments]
        for process in workers:
            process.start()
        for process in workers:
            process.join()
        return [read_snapshot(Path(folder) / str(rank)) for rank in range(world)]


def measure(
    dataset: FlatDataset, config: PretrainConfig, count: int, updates: int, rounds: int
) -> dict[str, float]:
    """Figures of one size of network and batch, the best of some interleaved rounds."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        alone, several = run(1, dataset, config, updates), run(count, dataset, config, updates)
        took = {
            "one CPU-ms": 1e3 * alone[0].meta["cpu_s"] / updates,
            "busiest CPU-ms": 1e3 * max(one.meta["cpu_s"] for one in several) / updates,
            "all CPU-ms": 1e3 * sum(one.meta["cpu_s"] for one in several) / updates,
            "one ms": 1e3 * alone[0].meta["wall_s"] / updates,
            "several ms": 1e3 * max(one.meta["wall_s"] for one in several) / updates,
        }
        best = {name: min(value, best.get(name, value)) for name, value in took.items()}
        pairs = [(value, several[0].tensors[name]) for name, value in alone[0].tensors.items()]
        difference = max((value - other).abs().max().item() for value, other in pairs)
    return {
        "one CPU-ms": best["one CPU-ms"],
        "busiest CPU-ms": best["busiest CPU-ms"],
        "all CPU-ms": best["all CPU-ms"],
        "possible": best["one CPU-ms"] / best["busiest CPU-ms"],
        "one updates/s": 1e3 / best["one ms"],
        "several updates/s": 1e3 / best["several ms"],
        "difference": difference,
    }


def starting(count: int) -> None:
    """What a TorchTrainer of workers that do nothing takes."""
    import ray
    from flowsweep.trainables.spread_crews import TRAIN_SETTINGS
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    os.environ.update(TRAIN_SETTINGS)
    ray.init(
        num_cpus=count + 1, include_dashboard=False, object_store_memory=80_000_000, logging_level="ERROR"
    )
    ray.get(ray.remote(lambda: None).remote())
    with tempfile.TemporaryDirectory() as folder:
        trainer = TorchTrainer(
            lambda: None,
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=count),
            run_config=RunConfig(storage_path=folder),
        )
        before, began = family_cpu_s(), time.monotonic()
        trainer.fit()
        print(
            f"TorchTrainer of {count} workers: {family_cpu_s() - before:.1f} CPU-s, {time.monotonic() - began:.0f} s elapsed"
        )
    ray.shutdown()


def family_cpu_s() -> float:
    """Processor seconds of this process, what it has started, and what they have waited for."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in [own, *own.children(recursive=True)])


def main() -> None:
    """Measure and print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", action="append", help="widths such as 256,256; may be repeated")
    parser.add_argument("--batch-size", action="append", type=int, help="may be repeated")
    parser.add_argument("--start", action="store_true", help="measure the start of a TorchTrainer instead")
    options = parser.parse_args()
    if options.start:
        starting(options.workers)
        return
    dataset, found = synthetic(), {}
    for text in options.hidden or ["256,256", "512,512,512,512"]:
        for size in options.batch_size or [256, 2048]:
            config = PretrainConfig(
                steps=WARM_UPDATES + options.updates, batch_size=size, hidden=tuple(map(int, text.split(",")))
            )
            row = found[f"{text} batch {size}"] = measure(
                dataset, config, options.workers, options.updates, options.rounds
            )
            if not options.json:
                print(
                    f"{text:>16} batch {size:>5}",
                    *(f"  {name} {value:.3g}" for name, value in row.items()),
                    flush=True,
                )
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
