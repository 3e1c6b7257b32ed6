"""Figures of a sweep, as pure functions from plain values to axes or SVG bytes.

A ``draw_*`` function fills given axes, so that the report and any other picture share it; :func:`svg` makes a
self-contained image whose ink follows the reader's light or dark setting.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

INK = "#010203"  # stands for the reader's text colour until the image is finished
PAPER = "#fdfeff"  # likewise for the background
FIRST, SECOND, BASELINE, QUIET = "#d1495b", "#2a7fb8", "#8a8f98", "#9aa3ad"
COLOURS = "viridis"
LIGHT_INK, DARK_INK, LIGHT_PAPER, DARK_PAPER = "#1d2228", "#dfe3e8", "#ffffff", "#15181d"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "flowsweep",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": QUIET,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Curve:
    """The objective of one trial while it trained."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    role: str = "other"
    """``first``, ``stopped`` (ended before its last step) or ``other``."""


@dataclass(frozen=True)
class Point:
    """One trial in the plane of two parameters."""

    label: str
    x: float
    y: float
    value: float
    """The objective; NaN where the trial reached none."""
    finished: bool = True


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval and the single measurements behind it."""

    label: str
    mean: float
    low: float
    high: float
    singles: Sequence[float] = ()
    baseline: bool = False


def svg(
    draw: Callable[..., None], *values: Any, width: float = 7.0, height: float = 3.4, **options: Any
) -> bytes:
    """An SVG of one set of axes, in inches, drawn by ``draw(axes, *values, **options)``."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots(), *values, **options)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(out.getvalue()).encode()


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A PNG on white of a figure drawn in the style of :func:`on_white`."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi, facecolor="white", metadata={"Software": ""})
    return out.getvalue()


def on_white() -> dict[Any, Any]:
    """The style with its inks fixed for a white page."""
    return {name: LIGHT_INK if value == INK else value for name, value in STYLE.items()}


def literal(text: Any) -> str:
    """Text that matplotlib shows as it is, without reading it as mathematics."""
    return str(text).replace("$", r"\$")


def draw_curves(axes: Axes, curves: Sequence[Curve], value_name: str) -> None:
    """Learning curves: the first in colour, the others quiet, a bar where a trial was stopped early."""
    shown = [curve for curve in curves if _finite_pairs(curve.steps, curve.values)]
    for curve in sorted(shown, key=lambda curve: curve.role == "first"):
        steps, values = zip(*_finite_pairs(curve.steps, curve.values), strict=True)
        first = curve.role == "first"
        axes.plot(
            steps,
            values,
            color=FIRST if first else QUIET,
            linewidth=2.2 if first else 1.0,
            alpha=1.0 if first else 0.75,
            marker="o" if len(steps) == 1 or first else None,
            markersize=3.5,
            zorder=3 if first else 2,
            label=literal(f"{curve.label} (first)") if first else None,
        )
        if curve.role == "stopped":
            axes.plot(steps[-1], values[-1], "|", color=INK, markersize=8, markeredgewidth=1.4, zorder=4)
    if any(curve.role == "stopped" for curve in shown):
        axes.plot([], [], "|", color=INK, markersize=8, markeredgewidth=1.4, label="stopped early")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", fontsize=8)
    axes.set_xlabel("steps")
    axes.set_ylabel(literal(value_name))
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.grid(axis="y")


def draw_landscape(
    axes: Axes,
    points: Sequence[Point],
    names: tuple[str, str],
    logs: tuple[bool, bool],
    value_name: str,
    *,
    first: str | None = None,
    maximize: bool = True,
) -> None:
    """Trials in the plane of two parameters, coloured by what they reached; a ring marks the first."""
    axes.set_xscale("log" if logs[0] else "linear")
    axes.set_yscale("log" if logs[1] else "linear")
    valued = [point for point in points if math.isfinite(point.value)]
    finished = [point for point in valued if point.finished]
    stopped = [point for point in valued if not point.finished]
    blank = [point for point in points if point not in valued]
    if valued:
        low, high = min(p.value for p in valued), max(p.value for p in valued)
        scale = {"vmin": low, "vmax": high, "cmap": COLOURS if maximize else f"{COLOURS}_r"}
        for group, size, marker in [(stopped, 30, "s"), (finished, 75, "o")]:
            drawn = axes.scatter(
                [p.x for p in group], [p.y for p in group], c=[p.value for p in group], s=size, marker=marker,
                edgecolors=PAPER, linewidths=0.6, zorder=3, **scale,
            )  # fmt: skip
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.set_label(literal(value_name))
        bar.outline.set_visible(False)  # type: ignore[operator]
    for point in valued:
        if point.label == first:
            axes.scatter(
                [point.x], [point.y], s=190, facecolors="none", edgecolors=FIRST, linewidths=1.8, zorder=4
            )
            axes.annotate(
                literal(point.label), (point.x, point.y), xytext=(9, 8), textcoords="offset points",
                color=FIRST, fontsize=8,
            )  # fmt: skip
    axes.scatter([p.x for p in blank], [p.y for p in blank], marker="x", color=INK, s=28, linewidths=1.0)
    axes.set_xlabel(literal(names[0]))
    axes.set_ylabel(literal(names[1]))
    axes.grid(which="major")
    axes.margins(0.08)


def draw_importance(axes: Axes, shares: Mapping[str, float]) -> None:
    """How much of the difference between trials each parameter accounts for."""
    ordered = sorted(shares.items(), key=lambda item: item[1])
    bars = axes.barh(
        [literal(name) for name, _ in ordered], [share for _, share in ordered], color=SECOND, height=0.6
    )
    axes.bar_label(bars, [f"{share:.0%}" for _, share in ordered], padding=4, fontsize=8, color=INK)
    axes.set_xlim(0, max(1e-9, max(shares.values())) * 1.12)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def draw_estimates(axes: Axes, estimates: Sequence[Estimate], value_name: str) -> None:
    """Means with intervals, one row each, the single measurements as faint marks; the first row on top.

    The first that is no baseline has the colour of the first trial.
    """
    first = next((estimate for estimate in estimates if not estimate.baseline), None)
    for row, estimate in enumerate(reversed(estimates)):
        colour = BASELINE if estimate.baseline else FIRST if estimate is first else SECOND
        singles = [value for value in estimate.singles if math.isfinite(value)]
        axes.plot(singles, [row - 0.2] * len(singles), "|", color=colour, markersize=7, alpha=0.7)
        if math.isfinite(estimate.mean):
            axes.plot(estimate.mean, row, "o", color=colour, markersize=7, zorder=3)
        if math.isfinite(estimate.low) and math.isfinite(estimate.high):
            axes.plot(
                [estimate.low, estimate.high], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt"
            )
    axes.set_yticks(range(len(estimates)), [literal(estimate.label) for estimate in reversed(estimates)])
    axes.set_ylim(-0.6, len(estimates) - 0.4)
    axes.set_xlabel(literal(value_name))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")


def _finite_pairs(steps: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    return [(s, v) for s, v in zip(steps, values, strict=True) if v is not None and math.isfinite(v)]


def _thousands(value: float, _: Any = None) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def _themed(image: str) -> str:
    """Let the image's ink and paper follow the reader's colour scheme."""
    style = (
        f"<style>svg{{--ink:{LIGHT_INK};--paper:{LIGHT_PAPER}}}"
        f"@media(prefers-color-scheme:dark){{svg{{--ink:{DARK_INK};--paper:{DARK_PAPER}}}}}</style>"
    )
    body = image[image.index("<svg") :].replace(INK, "var(--ink)").replace(PAPER, "var(--paper)")
    head_end = body.index(">") + 1
    return body[:head_end] + style + body[head_end:]
