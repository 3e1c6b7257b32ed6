"""The figure of fisher_bandit.py: each density above the shares that Fisher estimates gain there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from fisher_densities import densities

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

# Hues of Okabe and Ito, told apart by colour-blind readers; markers say the same again.
LINES = {
    ("state", "gaussian"): ("#0072B2", "o", "one F per state, (t v − x) / (1 − t): the default"),
    ("state", "velocity"): ("#D55E00", "s", "one F per state, v / (1 − t): public code"),
    ("local", "gaussian"): ("#56B4E9", "^", "local rank-one F, (t v − x) / (1 − t)"),
    ("local", "velocity"): ("#E69F00", "v", "local rank-one F, v / (1 − t)"),
}
GREY = "#555555"


def draw(found: Mapping[str, dict], times: tuple[float, ...], out: Path) -> None:
    """Means over seeds with their range as bands; thin dotted lines where the exact flow is read instead."""
    figure, axes = pyplot.subplots(
        2, len(found), figsize=(10, 6.2), layout="constrained", height_ratios=(1, 2.2), squeeze=False
    )
    for column, (key, entry) in enumerate(found.items()):
        _draw_density(axes[0, column], key, entry["name"])
        _draw_shares(axes[1, column], entry, times)
    axes[1, 0].set_ylabel("share of the optimal gain at equal KL")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="outside lower center", ncols=2)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    pyplot.close(figure)


def _draw_density(axis: Axes, key: str, name: str) -> None:
    density = densities()[key]
    samples = density.sample(1500, seed=0).numpy()
    axis.plot(*samples.T, ".", color=GREY, markersize=1.5, alpha=0.5, rasterized=True)
    start, along = samples.mean(0), density.gradient.numpy()
    axis.annotate(
        "", start + 0.9 * along, start, arrowprops={"arrowstyle": "-|>", "linewidth": 2, "color": "black"}
    )
    axis.annotate("value", start + 0.95 * along, fontsize=9, va="center")
    axis.set_title(name, fontsize=11)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xticks([])
    axis.set_yticks([])


def _draw_shares(axis: Axes, entry: Mapping, times: tuple[float, ...]) -> None:
    for (scope, estimator), (colour, marker, label) in LINES.items():
        rows = np.array(entry["trained"][scope][estimator])
        axis.plot(times, rows.mean(0), color=colour, marker=marker, markersize=5, label=label)
        axis.fill_between(times, rows.min(0), rows.max(0), color=colour, alpha=0.18, linewidth=0)
        exact = entry["exact"][scope][estimator][0]
        axis.plot(times, exact, color=colour, linestyle=":", linewidth=1.2)
    axis.plot(
        [], [], color=GREY, linestyle=":", linewidth=1.2, label="the same with the exact flow, in its colour"
    )
    axis.axhline(
        entry["isotropic"],
        color=GREY,
        linestyle="--",
        linewidth=1.2,
        label="isotropic (plain square penalty)",
    )
    axis.axhline(
        entry["best_shift"],
        color=GREY,
        linestyle="-.",
        linewidth=1,
        label="best single displacement of all actions",
    )
    axis.set(xlabel="Fisher time t", ylim=(0, 1.04))
    axis.grid(alpha=0.25)
