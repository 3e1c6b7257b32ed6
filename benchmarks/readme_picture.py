"""One wide picture of a finished sweep for the README: landscape, learning curves, confirmation.

    python benchmarks/readme_picture.py quickstart

Everything in it is read from the sweep's record in ``$FLOWSWEEP_HOME``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
from flowsweep.platform.paths import Home
from flowsweep.platform.record.results import SweepState, best, leaderboard, read_sweep
from flowsweep.platform.report import figures, plots
from matplotlib.figure import Figure

OUT = Path(__file__).parent.parent / "docs" / "figures" / "quickstart.png"


def main() -> None:
    """Read the arguments, draw, say where the picture is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="a finished sweep")
    parser.add_argument("--out", type=Path, default=OUT, help="the PNG to write")
    arguments = parser.parse_args()
    picture = draw(read_sweep(Home.default().sweep(arguments.name)))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(picture)
    print(arguments.out)


def draw(record: SweepState) -> bytes:
    """The picture as PNG, with as many panels as the sweep has something to show for."""
    first = best(record)
    if first is None:
        raise SystemExit(f"{record.name}: no trial has run to its end with a score.")
    rows = [row for row in leaderboard(record) if row.phase != "search"]
    names = figures.plane(record, shares=(found.shares if (found := figures.importance(record)) else {}))
    with matplotlib.rc_context(plots.on_white()):
        drawings = [
            (draw_landscape, (record, names, first.confirms or first.trial), "What the search found")
            if len(names) == 2
            else None,
            (draw_curves, (record, first.confirms or first.trial), "How the trials got there"),
            (draw_estimates, (record, rows), "What is left on unseen seeds") if rows else None,
        ]
        shown = [drawing for drawing in drawings if drawing]
        figure = Figure(figsize=(4.6 * len(shown), 3.5), layout="constrained")
        for axes, (paint, values, title) in zip(
            figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True
        ):
            paint(axes, *values)
            axes.set_title(title, loc="left", fontweight="bold")
        return plots.png(figure, dpi=130)


def draw_landscape(axes, record: SweepState, names: tuple[str, ...], first: str) -> None:
    """The objective over the two parameters that mattered most."""
    space = figures.searched_space(record)
    logs = tuple(getattr(space[name], "log", False) for name in names)
    options = {"first": first, "maximize": record.direction == "maximize"}
    plots.draw_landscape(
        axes, figures.points(record, names), names, logs, figures.metric_name(record), **options
    )


def draw_curves(axes, record: SweepState, first: str) -> None:
    """Learning curves of the search."""
    plots.draw_curves(axes, figures.curves(record, first), figures.metric_name(record))


def draw_estimates(axes, record: SweepState, rows) -> None:
    """Confirmations and baselines."""
    plots.draw_estimates(axes, figures.estimates(record, rows), figures.metric_name(record))


if __name__ == "__main__":
    main()
