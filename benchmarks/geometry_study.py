"""Does the Fisher metric pay? It against the plain square penalty, each at the radius it does best with.

    flowsweep data make tolerance-a6
    python benchmarks/geometry_study.py --dataset flowsweep/tolerance-a6-v0 --figure docs/figures/geometry.png

Every variant is one ordinary sweep over the same grid of radii, run to the end; the radius is chosen on the tuning
seeds and trained anew on test seeds that the choice has not seen. Differences to the square penalty are paired by
seed; their p-values are adjusted for the number of variants by Holm's method. The flow is trained once for all.
Finished sweeps are reused, interrupted ones continued: run the same command again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fidec_ladder import confirmation, side
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.record.results import savings
from flowsweep.platform.report.intervals import Comparison, compare
from flowsweep.trainables.errors import UserError
from ladder_sweeps import finished_sweep

SQUARE = "square penalty"
RADII = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
FULL, SHORT = "gaussian", "velocity"
VARIANTS: dict[str, Mapping[str, Any]] = {
    SQUARE: {"fisher_scope": "identity"},
    **{f"Fisher, time {time:g}": {"fisher_time": time} for time in (0.9, 0.95, 0.97)},
    **{
        f"v / (1 - t), time {time:g}": {"fisher_time": time, "score_estimator": SHORT}
        for time in (0.9, 0.95, 0.97)
    },
}


@dataclass(frozen=True)
class Outcome:
    """What one variant achieved.

    Attributes:
        tuned: mean over the tuning seeds by radius.
        radius: the one that did best there.
        mean, low, high: over the test seeds at that radius.
        kl_nats: second-order KL of the confirmed policies, mean over seeds; NaN under the square penalty.
        cpu_s: process time, shared stages counted for each variant.
        against: this variant minus the square penalty; None for itself.
        holm: the p-value of that, adjusted.
    """

    variant: str
    sweep: str
    tuned: Mapping[float, float]
    radius: float
    mean: float
    low: float
    high: float
    per_seed: tuple[float, ...]
    kl_nats: float
    cpu_s: float
    against: Comparison | None = None
    holm: float | None = None


def sweep(variant: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The sweep of one variant, without its name."""
    sizes = {"hidden": options.hidden}
    return {
        "system": "fidec",
        "dataset": options.dataset,
        "stages": {
            "pretrain": {**sizes, "steps": options.pretrain_steps, "learning_rate": options.learning_rate},
            "pools": {"base_actions": 4, "fisher_samples": 8, **variant},
            "refine": {
                **sizes,
                "steps": options.steps,
                "critic_learning_rate": options.learning_rate,
                "residual_learning_rate": options.learning_rate,
            },
        },
        "space": {"refine.kl_radius": {"values": options.radii}},
        "objective": {"metric": f"refine/{options.metric}", "direction": "maximize"},
        "search": {"sampler": "grid", "trials": len(options.radii)},
        "evaluation": {"episodes": options.episodes},
        "seeds": {"tune": options.tune_seeds, "test": options.seeds},
        "confirm": {"top": 1, "episodes": options.episodes, "baselines": ["pretrain"]},
    }


def outcome(variant: str, record: SweepState, metric: str) -> Outcome:
    """What a finished sweep found."""
    row, trial = confirmation(record)
    tuned = {}
    for name in record.phase("search"):
        last = name.last_evaluation(metric)
        if last is not None:
            tuned[name.params["refine.kl_radius"]] = sum(last.metrics[metric]) / len(last.metrics[metric])
    nats = [e.event.metrics["kl_nats"] for e in trial.reports if "kl_nats" in e.event.metrics]
    spent = savings(record)
    return Outcome(
        variant=variant,
        sweep=record.name,
        tuned=dict(sorted(tuned.items())),
        radius=row.params["refine.kl_radius"],
        mean=row.score.mean,
        low=row.score.low,
        high=row.score.high,
        per_seed=row.per_seed,
        kl_nats=sum(nats[-1]) / len(nats[-1]) if nats and variant != SQUARE else float("nan"),
        cpu_s=spent.computed_cpu_s + spent.reused_cpu_s,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def study(options: argparse.Namespace) -> tuple[list[Outcome], tuple[float, ...]]:
    """Run what is missing; the outcomes, and the imitated scores by test seed."""
    records = {
        name: finished_sweep("geometry", sweep(variant, options))
        for name, variant in VARIANTS.items()
        if name in options.variants
    }
    found = {name: outcome(name, record, options.metric) for name, record in records.items()}
    reference = side(confirmation(records[SQUARE])[1], options.metric)
    pairs = {
        name: compare(options.metric, side(confirmation(record)[1], options.metric), reference)
        for name, record in records.items()
        if name != SQUARE
    }
    known = [name for name, pair in pairs.items() if pair is not None]
    adjusted = dict(zip(known, holm([pairs[name].p_value for name in known]), strict=True))
    outcomes = [
        Outcome(**{**vars(one), "against": pairs.get(name), "holm": adjusted.get(name)})
        for name, one in found.items()
    ]
    imitated = records[SQUARE].trials["baseline-pretrain"].last_evaluation(options.metric)
    return outcomes, tuple(imitated.metrics[options.metric]) if imitated else ()


def show(outcomes: list[Outcome], imitated: Sequence[float], options: argparse.Namespace) -> None:
    """Print the table for a person."""
    print(f"{options.dataset}: {options.metric}; imitated {sum(imitated) / max(1, len(imitated)):.3f}")
    print(
        f"{'':<22}{'radius':>8}  {'test seeds [95 %]':<24}{'minus square [95 %]':<28}{'Holm p':>8}{'nats':>8}{'CPU-s':>9}"
    )
    for one in outcomes:
        gain = (
            ""
            if one.against is None
            else f"{one.against.difference:+.3f} [{one.against.low:+.3f}, {one.against.high:+.3f}]"
        )
        adjusted = "" if one.holm is None else f"{one.holm:.2g}"
        score = f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
        print(
            f"{one.variant:<22}{one.radius:>8g}  {score:<24}{gain:<28}{adjusted:>8}{one.kl_nats:>8.2f}{one.cpu_s:>9,.0f}"
        )
    print("\nMeans over the tuning seeds by radius")
    print(f"{'':<22}" + "".join(f"{radius:>9g}" for radius in options.radii))
    for one in outcomes:
        print(
            f"{one.variant:<22}"
            + "".join(f"{one.tuned.get(radius, float('nan')):>9.3f}" for radius in options.radii)
        )
    print(
        f"\n{len(options.tune_seeds)} tuning and {len(options.seeds)} test seeds, {options.episodes} episodes each; "
        "intervals: t over seeds, differences paired; Holm over the variants."
    )


def draw(outcomes: list[Outcome], imitated: Sequence[float], options: argparse.Namespace) -> None:
    """Draw score over radius, and the confirmed scores."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 3.6), width_ratios=(3, 2), layout="constrained"
    )
    for index, one in enumerate(outcomes):
        style = {"color": f"C{index}", "linestyle": ":" if one.variant.startswith("v /") else "-"}
        left.plot(
            list(one.tuned), list(one.tuned.values()), marker="o", markersize=3, label=one.variant, **style
        )
        error = [[one.mean - one.low], [one.high - one.mean]]
        right.errorbar([one.mean], [index], xerr=error, fmt="o", color=f"C{index}", capsize=3)
    mean = sum(imitated) / max(1, len(imitated))
    left.axhline(mean, color="grey", linewidth=0.8)
    right.axvline(mean, color="grey", linewidth=0.8, label="imitated")
    left.set(xscale="log", xlabel="KL radius", ylabel=f"{options.metric}, tuning seeds")
    left.legend(fontsize=7)
    right.set(
        yticks=range(len(outcomes)),
        yticklabels=[one.variant for one in outcomes],
        xlabel=f"{options.metric}, test seeds, 95 %",
    )
    right.invert_yaxis()
    right.legend(fontsize=7)
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.figure, dpi=150)


def arguments() -> argparse.Namespace:
    """Read the command line."""

    def whole(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    def numbers(text: str) -> list[float]:
        return [float(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="flowsweep/tolerance-a6-v0")
    parser.add_argument("--metric", default="return")
    parser.add_argument("--radii", type=numbers, default=list(RADII), help="the grid all variants share")
    parser.add_argument(
        "--variants", action="append", choices=list(VARIANTS), help="repeatable; all when not given"
    )
    parser.add_argument("--hidden", type=whole, default=[128, 128])
    parser.add_argument("--pretrain-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=2000, help="updates of a refinement")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--tune-seeds", type=whole, default=[0, 1])
    parser.add_argument("--seeds", type=whole, default=list(range(100, 110)), help="test seeds")
    parser.add_argument("--figure", type=Path, help="draw it here")
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args()
    options.variants = options.variants or list(VARIANTS)
    if SQUARE not in options.variants:
        options.variants.insert(0, SQUARE)
    return options


def main() -> None:
    """Run what is missing, compare, print, draw."""
    options = arguments()
    try:
        outcomes, imitated = study(options)
    except KeyboardInterrupt:
        sys.exit("stopped; everything is stored, and the same command continues")
    except UserError as error:
        sys.exit(str(error))
    show(outcomes, imitated, options)
    if options.figure:
        draw(outcomes, imitated, options)
    if options.json:
        settings = {
            key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()
        }
        options.json.write_text(
            json.dumps(
                {"settings": settings, "imitated": imitated, "outcomes": [asdict(one) for one in outcomes]},
                indent=2,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
