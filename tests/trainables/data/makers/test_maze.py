import numpy as np
import pytest
from flowsweep.trainables.data.makers.maze import GridMaze, WaypointFollower

ROWS = [
    [1, 1, 1, 1, 1],
    [1, 0, 0, 0, 1],
    [1, 1, 1, "g", 1],
    [1, 0, 0, 0, 1],
    [1, 1, 1, 1, 1],
]


@pytest.fixture
def maze():
    return GridMaze(ROWS)


def test_routes_are_shortest(maze):
    assert maze.distance((1, 1), (3, 1)) == 6
    assert maze.distance((1, 3), (3, 3)) == 2
    assert maze.distance((1, 1), (1, 1)) == 0


def test_a_route_crosses_free_cells_only(maze):
    here = (1, 1)
    while here != (3, 1):
        onward = maze.next_cell(here, (3, 1))
        assert onward in maze.free
        assert abs(onward[0] - here[0]) + abs(onward[1] - here[1]) == 1
        here = onward


def test_where_no_way_leads_it_stays_and_has_no_distance():
    split = GridMaze([[0, 1, 0]])
    assert split.next_cell((0, 0), (0, 2)) == (0, 0)
    with pytest.raises(ValueError, match="no way leads"):
        split.distance((0, 0), (0, 2))


def test_every_point_of_a_cell_is_in_it(maze):
    for cell in maze.free:
        x, y = maze.centre(cell)
        assert {maze.cell(x + dx, y + dy) for dx in (-0.49, 0.49) for dy in (-0.49, 0.49)} == {cell}


def test_cells_lie_where_the_simulator_puts_them():
    from gymnasium_robotics.envs.maze.maps import LARGE_MAZE
    from gymnasium_robotics.envs.maze.maze_v4 import Maze

    theirs, ours = Maze(LARGE_MAZE, 1.0, 0.4), GridMaze(LARGE_MAZE)
    for cell in ours.free:
        assert ours.centre(cell) == pytest.approx(tuple(theirs.cell_rowcol_to_xy(np.array(cell))))
        assert ours.cell(*ours.centre(cell)) == tuple(theirs.cell_xy_to_rowcol(np.array(ours.centre(cell))))


@pytest.mark.parametrize("detours", [(0, 0), (2, 2)])
def test_a_point_without_noise_or_mass_is_led_to_its_goal(maze, detours):
    follower = WaypointFollower(maze, 0.0, detours, np.random.default_rng(0))
    position, goal = np.array(maze.centre((1, 1))), np.array(maze.centre((3, 1))) + 0.2
    follower.aim(position, goal)
    visited = set()
    for _ in range(2000):
        position += 0.05 * follower.act(*position, 0.0, 0.0)
        visited.add(maze.cell(*position))
    assert np.linalg.norm(position - goal) < 0.01
    assert visited <= set(maze.free)


def test_detours_are_visited_before_the_goal(maze):
    rng = np.random.default_rng(3)
    steps = []
    for detours in ((0, 0), (2, 2)):
        lengths = []
        for _ in range(50):
            follower = WaypointFollower(maze, 0.0, detours, rng)
            position, goal = np.array(maze.centre((1, 1))), np.array(maze.centre((3, 1)))
            follower.aim(position, goal)
            count = 0
            while np.linalg.norm(position - goal) > 0.05 and count < 5000:
                position += 0.05 * follower.act(*position, 0.0, 0.0)
                count += 1
            lengths.append(count)
        steps.append(np.mean(lengths))
    assert steps[1] > 1.2 * steps[0]
