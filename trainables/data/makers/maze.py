"""Finding the way through a grid maze: shortest routes over free cells, and a noisy follower of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

Cell = tuple[int, int]
WALL = 1


class GridMaze:
    """Shortest 4-connected routes between the free cells of a maze, found once per destination.

    Args:
        rows: the map; 1 is a wall, anything else is free (letters mark places to start or to end).
        cell_size: side of a cell in metres. The map is centred on the origin, its first row at the top.
    """

    def __init__(self, rows: Sequence[Sequence[int | str]], cell_size: float = 1.0):
        self.cell_size = cell_size
        self._height, self._width = len(rows), len(rows[0])
        self.free: list[Cell] = [
            (i, j) for i, row in enumerate(rows) for j, value in enumerate(row) if value != WALL
        ]
        self._towards: dict[Cell, dict[Cell, Cell]] = {}

    def cell(self, x: float, y: float) -> Cell:
        """The cell a point lies in."""
        return (
            int(np.floor(self._height / 2 - y / self.cell_size)),
            int(np.floor(self._width / 2 + x / self.cell_size)),
        )

    def centre(self, cell: Cell) -> tuple[float, float]:
        """The middle of a cell."""
        return (
            (cell[1] + 0.5 - self._width / 2) * self.cell_size,
            (self._height / 2 - cell[0] - 0.5) * self.cell_size,
        )

    def next_cell(self, here: Cell, destination: Cell) -> Cell:
        """The neighbour to go to from ``here``; ``here`` itself on arrival or where no way leads."""
        if destination not in self._towards:
            self._towards[destination] = self._search(destination)
        return self._towards[destination].get(here, here)

    def distance(self, here: Cell, destination: Cell) -> int:
        """Cells to cross from ``here`` to ``destination``."""
        steps = 0
        while here != destination:
            onward = self.next_cell(here, destination)
            if onward == here:
                raise ValueError(f"no way leads from {here} to {destination}")
            here, steps = onward, steps + 1
        return steps

    def _search(self, destination: Cell) -> dict[Cell, Cell]:
        free, onward, frontier = set(self.free), {destination: destination}, deque([destination])
        while frontier:
            i, j = frontier.popleft()
            for neighbour in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if neighbour in free and neighbour not in onward:
                    onward[neighbour] = (i, j)
                    frontier.append(neighbour)
        return onward


class WaypointFollower:
    """A proportional-derivative controller along the shortest route, with Gaussian noise on its actions.

    Args:
        maze: where it moves.
        noise: standard deviation of the noise added to each action component before clipping to [-1, 1].
        detours: least and greatest number of random free cells it visits before it turns to the goal.
        rng: every random choice it makes.
    """

    GAIN, DAMPING = 10.0, 1.0
    ARRIVED = 0.1  # metres to a waypoint at which the next one is taken
    JITTER = 0.15  # metres a waypoint may lie off its cell's centre, each way

    def __init__(self, maze: GridMaze, noise: float, detours: tuple[int, int], rng: np.random.Generator):
        self._maze, self._noise, self._detours, self._rng = maze, noise, detours, rng

    def aim(self, position: Sequence[float], goal: Sequence[float]) -> None:
        """Choose a new route: the detours, then the goal itself."""
        count = int(self._rng.integers(self._detours[0], self._detours[1] + 1))
        chosen = self._rng.choice(len(self._maze.free), size=count, replace=False)
        stops = [self._maze.centre(self._maze.free[index]) for index in chosen]
        self._stops = deque([*stops, (float(goal[0]), float(goal[1]))])
        self._depart(self._maze.cell(position[0], position[1]))

    def act(self, x: float, y: float, speed_x: float, speed_y: float) -> np.ndarray:
        """The action for a position and a velocity: [2] float64 in [-1, 1]."""
        here = self._maze.cell(x, y)
        if here != self._from and here != self._to:
            self._depart(here)  # pushed off the route
        elif abs(self._target[0] - x) + abs(self._target[1] - y) < 2 * self.ARRIVED and (
            (self._target[0] - x) ** 2 + (self._target[1] - y) ** 2 < self.ARRIVED**2
        ):
            if self._to == self._maze.cell(*self._stops[0]) and len(self._stops) > 1:
                self._stops.popleft()
            self._depart(self._to)
        noise = self._rng.standard_normal(2) * self._noise
        wanted_x = _clip(self.GAIN * (self._target[0] - x) - self.DAMPING * speed_x)
        wanted_y = _clip(self.GAIN * (self._target[1] - y) - self.DAMPING * speed_y)
        return np.array([_clip(wanted_x + noise[0]), _clip(wanted_y + noise[1])])

    def _depart(self, here: Cell) -> None:
        stop = self._stops[0]
        last = self._maze.cell(*stop)
        self._from, self._to = here, self._maze.next_cell(here, last)
        if self._to == last:
            self._target = stop
            return
        offset = self._rng.uniform(-self.JITTER, self.JITTER, size=2) * self._maze.cell_size
        x, y = self._maze.centre(self._to)
        self._target = (x + offset[0], y + offset[1])


def _clip(value: float) -> float:
    return -1.0 if value < -1.0 else 1.0 if value > 1.0 else value
