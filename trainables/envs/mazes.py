"""Mazes from above: where the walls, the agent and the goal are, and figures of the ways policies took.

Needs no OpenGL. Knows the two libraries' mazes; every other environment simply has no layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.dataset import EvaluationSpec
from .build import pooled

if TYPE_CHECKING:
    from .trace import Trace


@dataclass(frozen=True)
class MazeLayout:
    """A maze of square cells.

    Attributes:
        walls: [W, 2] centres of the wall cells, in the environment's length unit.
        cell: side of a cell.
    """

    walls: np.ndarray
    cell: float


def layout(environment: Any) -> MazeLayout | None:
    """The walls of a maze environment, or None where there are none."""
    inner = environment.unwrapped
    if hasattr(inner, "maze"):  # gymnasium-robotics
        maze = inner.maze
        cells = np.argwhere(np.array(maze.maze_map, dtype=object) == 1)
        return MazeLayout(np.array([maze.cell_rowcol_to_xy(cell) for cell in cells]), maze.maze_size_scaling)
    if hasattr(inner, "maze_map") and hasattr(inner, "ij_to_xy"):  # ogbench
        cells = np.argwhere(np.asarray(inner.maze_map) == 1)
        walls = np.array([inner.ij_to_xy(cell) for cell in cells], np.float64)
        side = abs(inner.ij_to_xy((0, 1))[0] - inner.ij_to_xy((0, 0))[0])
        return MazeLayout(walls, float(side))
    return None


def position(environment: Any) -> np.ndarray | None:
    """[2] where the agent is, or None outside mazes."""
    inner = environment.unwrapped
    if hasattr(inner, "maze") or hasattr(inner, "maze_map"):
        return np.array(inner.data.qpos[:2], np.float64)
    return None


def goal(environment: Any) -> np.ndarray | None:
    """[2] where the agent should get, or None outside mazes."""
    inner = environment.unwrapped
    place = getattr(inner, "cur_goal_xy", getattr(inner, "goal", None))
    return None if position(environment) is None or place is None else np.array(place, np.float64)


def plot_trajectories(spec: EvaluationSpec, traces: Mapping[str, Sequence[Trace]], path: Path) -> Path | None:
    """Draw the ways several policies took through one maze, one panel per policy.

    Solved episodes are drawn in full colour, the others faintly; a dot marks the start, a star the goal.

    Args:
        spec: the maze.
        traces: title of the panel to its episodes.
        path: the image to write; the suffix decides the format.

    Returns:
        The path, or None where the environment is no maze.
    """
    from matplotlib.figure import Figure

    walls = layout(pooled(spec, 1)[0].raw)
    if walls is None:
        return None
    low, high = walls.walls.min(axis=0), walls.walls.max(axis=0)  # half of the outer wall is enough
    width = 3.6
    height = width * (high[1] - low[1]) / (high[0] - low[0])
    figure = Figure(figsize=(width * len(traces), height + 0.4), layout="constrained")
    panels = figure.subplots(1, len(traces), squeeze=False)[0]
    for panel, (title, episodes) in zip(panels, traces.items(), strict=True):
        _draw(panel, walls, episodes)
        solved = sum(bool(episode.success) for episode in episodes)
        panel.set_title(f"{title}   {solved} of {len(episodes)} solved".replace("$", r"\$"), fontsize=9)
        panel.set_xlim(low[0], high[0])
        panel.set_ylim(low[1], high[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _draw(panel: Any, walls: MazeLayout, episodes: Sequence[Trace]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    for centre in walls.walls:
        corner = centre - walls.cell / 2
        panel.add_patch(Rectangle(corner, walls.cell, walls.cell, color="#c9c7c1", linewidth=0))
    colours = colormaps["viridis"](np.linspace(0.1, 0.85, max(len(episodes), 1)))
    for episode, colour in zip(episodes, colours, strict=True):
        strength = 1.0 if episode.success else 0.3
        panel.plot(*episode.positions.T, color=colour, linewidth=1.3, alpha=strength)
        panel.plot(*episode.positions[0], "o", color=colour, markersize=4, alpha=strength)
        if episode.goal is not None:
            panel.plot(*episode.goal, "*", color=colour, markersize=9, markeredgecolor="white", zorder=3)
    panel.set_aspect("equal")
    panel.set_axis_off()
