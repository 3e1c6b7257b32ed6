"""Pictures of problems and of what samplers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .problems.problem import Cases, Problem

OUTLIER, PLAIN, ROBUST = "#c0392b", "#7f8c8d", "#1f6fb2"


@dataclass(frozen=True)
class Shown:
    """One problem as a row of a picture.

    Attributes:
        truth: [D].
        data: [M]; outliers: [M].
        plain, robust: [S, D] samples under the squared loss and under the likelihood chosen.
    """

    truth: torch.Tensor
    data: torch.Tensor
    outliers: torch.Tensor
    plain: torch.Tensor
    robust: torch.Tensor


def reconstructions(problem: Problem, rows: Sequence[Shown], label: str, path: Path) -> Path:
    """Truth, data with outliers marked, plain, robust, and the robust samples' spread, one row per problem."""
    titles = (
        "truth",
        "data, outliers marked",
        "plain: squared loss",
        f"robust: {label}",
        "spread of robust samples",
    )
    figure, axes = _figure(len(rows), titles)
    for line, row in zip(axes, rows, strict=True):
        spread = row.robust.std(0) if len(row.robust) > 1 else torch.zeros_like(row.truth)
        _draw_data(line[1], row.data, row.outliers)
        if len(problem.shape) == 2:
            low, high = float(row.truth.min()), float(row.truth.max())
            for place, values in ((0, row.truth), (2, row.plain.mean(0)), (3, row.robust.mean(0))):
                line[place].imshow(values.reshape(problem.shape), cmap="gray", vmin=low, vmax=high)
            line[4].imshow(spread.reshape(problem.shape), cmap="magma", vmin=0)
            for place in (0, 2, 3, 4):
                line[place].set(xticks=[], yticks=[])
            continue
        _draw_line(line[0], row.truth, None)
        _draw_line(line[2], row.truth, row.plain, PLAIN)
        _draw_line(line[3], row.truth, row.robust, ROBUST)
        line[4].bar(range(len(spread)), spread, color=ROBUST)
    return _saved(figure, path)


def drawn_problem(problem: Problem, cases: Cases, path: Path) -> Path:
    """Truths, their data, and the same data with outliers marked, one row per problem."""
    figure, axes = _figure(len(cases.truth), ("truth", "data", "data, outliers marked"))
    nothing = torch.zeros_like(cases.outliers[0])
    for place, line in enumerate(axes):
        if len(problem.shape) == 2:
            line[0].imshow(cases.truth[place].reshape(problem.shape), cmap="gray")
            line[0].set(xticks=[], yticks=[])
        else:
            _draw_line(line[0], cases.truth[place], None)
        _draw_data(line[1], cases.clean[place], nothing)
        _draw_data(line[2], cases.soiled[place], cases.outliers[place])
    return _saved(figure, path)


def _figure(rows: int, titles: Sequence[str]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(2.6 * len(titles), 2.3 * rows), layout="constrained")
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    return figure, axes


def _draw_data(axis: Any, data: torch.Tensor, outliers: torch.Tensor) -> None:
    places = torch.arange(len(data))
    usual = data[~outliers]
    edge = 2.5 * float(usual.abs().max().clamp(min=1e-12))
    axis.plot(places[~outliers], usual, ".", color=PLAIN, markersize=4)
    # Far outliers are drawn at the edge, so that ordinary data can still be read.
    axis.plot(places[outliers], data[outliers].clamp(-edge, edge), "x", color=OUTLIER, markersize=6)
    axis.set_ylim(-1.1 * edge, 1.1 * edge)


def _draw_line(axis: Any, truth: torch.Tensor, samples: torch.Tensor | None, color: str = ROBUST) -> None:
    axis.plot(truth, color="black", linewidth=1)
    if samples is not None:
        low, high = (samples.quantile(q, dim=0) for q in (0.05, 0.95))
        axis.fill_between(range(len(truth)), low, high, color=color, alpha=0.3, linewidth=0)
        axis.plot(samples.mean(0), color=color, linewidth=1.2)
        margin = float(truth.abs().max()) * 2 + 1e-6
        axis.set_ylim(-margin, margin)


def _saved(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
