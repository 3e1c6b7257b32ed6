"""Learning runs of safe methods, resumable: what the benchmarks on the detour and on Swimmer have in common.

A run trains all seeds of one method as lanes of one program. Its state lies in a folder; started again it goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from flowsweep.platform.report.intervals import student_t
from flowsweep.trainables.algd import SYSTEM as ALGD
from flowsweep.trainables.base import Lane
from flowsweep.trainables.checkpoints import CheckpointPolicy
from flowsweep.trainables.config import parse
from flowsweep.trainables.safe_rl import CAL, SAC_LAGRANGIAN
from flowsweep.trainables.training import Training

SYSTEMS = {system.name: system for system in (ALGD, SAC_LAGRANGIAN, CAL)}


@dataclass(frozen=True)
class Run:
    """One method on one environment.

    Attributes:
        label: as tables name it.
        system: registered name.
        environment: where it learns.
        warmup, steps: environment steps of the two stages; together the budget.
        settings: of `train`, besides the preset's.
    """

    label: str
    system: str
    environment: str
    warmup: int
    steps: int
    settings: Mapping[str, Any]


def learn(run: Run, seeds: Sequence[int], folder: Path, every: int, episodes: int) -> list[dict[str, Any]]:
    """Train to the end, or go on; the evaluations, oldest first, with CPU-seconds so far.

    Args:
        run: what.
        seeds: lanes.
        folder: keeps states and evaluations.
        every: environment steps between evaluations.
        episodes: of each, per seed.
    """
    torch.set_num_threads(1)
    place = folder / run.label.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    record = place / "evaluations.jsonl"
    system = SYSTEMS[run.system]
    source = system.open_source(run.environment)
    first, train = system.stages
    outputs = []
    for seed in seeds:
        warm = first.start([Lane(parse(first.config_type, {"steps": run.warmup}), seed)], source, "cpu")
        warm.advance(run.warmup)
        outputs += warm.outputs()
    config = parse(train.config_type, {"steps": run.steps, **run.settings}, "train")
    lanes = [Lane(config, seed, {"warmup": out}) for seed, out in zip(seeds, outputs, strict=True)]
    learner = train.start(lanes, source, "cpu")
    marks = [*range(every - run.warmup % every, run.steps, every), run.steps]
    training = Training(
        "train", learner, run.steps, seeds, place / "state", evaluate_at=marks, episodes=episodes,
        policy=CheckpointPolicy(every_s=30, keep_best=False), declared=train.metrics,
    )  # fmt: skip
    known = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    known = [one for one in known if one["step"] <= learner.step]
    cpu_s = known[-1]["cpu_s"] if known else 0.0
    started_s = time.process_time()
    for event in training:
        if event.kind != "evaluated":
            continue
        spent_s = cpu_s + time.process_time() - started_s
        known.append({"step": event.step, "cpu_s": spent_s, "metrics": event.metrics})
        record.write_text("".join(json.dumps(one) + "\n" for one in known))
        print(
            f"  {run.label} {run.warmup + event.step:,} steps, {spent_s:.0f} CPU-s: " + said(event.metrics),
            flush=True,
        )
    training.save()
    return known


def said(metrics: Mapping[str, Sequence[float]]) -> str:
    """Return and cost of every seed."""
    pairs = zip(metrics["return"], metrics["cost"], strict=True)
    return "  ".join(f"{earned:.1f}/{spent:.1f}" for earned, spent in pairs)


def with_interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval (t over seeds)."""
    found = student_t(list(values), "t over seeds")
    return f"{found.mean:.1f} [{found.low:.1f}, {found.high:.1f}]"


def table(results: Mapping[str, list[dict[str, Any]]], limit: float, least_return: float) -> str:
    """Markdown: the last evaluation of every method, and how many seeds reach the goal."""
    rows = [
        "| method | return | cost | seeds at the goal | CPU-s per seed | training cost per seed |",
        "|---|---|---|---|---|---|",
    ]
    for label, known in results.items():
        last = known[-1]
        metrics = last["metrics"]
        seeds = len(metrics["return"])
        reached = sum(
            earned >= least_return and spent <= limit
            for earned, spent in zip(metrics["return"], metrics["cost"], strict=True)
        )
        rows.append(
            f"| {label} | {with_interval(metrics['return'])} | {with_interval(metrics['cost'])} | {reached} of {seeds} "
            f"| {last['cpu_s'] / seeds:.0f} | {sum(metrics['training_cost']) / seeds:.0f} |"
        )
    return "\n".join(rows)


def draw(results: Mapping[str, list[dict[str, Any]]], warmup: int, limit: float, path: Path) -> None:
    """Learning curves: return and cost against environment steps, a thin line per seed and the mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    for index, (label, known) in enumerate(results.items()):
        steps = [warmup + one["step"] for one in known]
        for axis, metric in zip(axes, ("return", "cost"), strict=True):
            curves = [one["metrics"][metric] for one in known]
            axis.plot(steps, curves, color=f"C{index}", alpha=0.25, linewidth=0.8)
            axis.plot(steps, [sum(row) / len(row) for row in curves], color=f"C{index}", label=label)
    axes[1].axhline(limit, color="black", linestyle="--", linewidth=0.8, label="limit")
    for axis, metric in zip(axes, ("return", "cost"), strict=True):
        axis.set_xlabel("environment steps, each with its update")
        axis.set_ylabel(f"{metric} per evaluation episode")
    axes[1].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def arguments(description: str | None, seeds: str, folder: str) -> argparse.Namespace:
    """The options the benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default=seeds, help="comma-separated")
    parser.add_argument("--methods", default="", help="comma-separated labels; all by default")
    parser.add_argument("--episodes", type=int, default=10, help="of each evaluation, per seed")
    parser.add_argument(
        "--folder", type=Path, default=Path(folder), help="keeps states and evaluations; goes on there"
    )
    parser.add_argument("--figure", type=Path, help="where to draw the learning curves")
    return parser.parse_args()


def report(
    runs: Sequence[Run], options: argparse.Namespace, every: int, limit: float, least_return: float
) -> None:
    """Run what is asked for and print the table."""
    wanted = [label for label in options.methods.split(",") if label]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    chosen = [run for run in runs if not wanted or run.label in wanted]
    results = {run.label: learn(run, seeds, options.folder, every, options.episodes) for run in chosen}
    print(table(results, limit, least_return))
    if options.figure:
        draw(results, chosen[0].warmup, limit, options.figure)
