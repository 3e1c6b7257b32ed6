"""A trace is the evaluated episode itself, and shows it again elsewhere."""

import numpy as np
import pytest
from flowsweep.trainables.envs.evaluate import evaluate
from flowsweep.trainables.envs.media import (
    Trace,
    plot_trajectories,
    record_episode,
    render_trace,
    trace_episodes,
)
from PIL import Image


def test_traced_episodes_are_the_evaluated_ones(point_maze, goal_seeker):
    scored = evaluate(goal_seeker(2), point_maze, [7, 8], 4)[1]
    traces = trace_episodes(goal_seeker(2), point_maze, [7, 8], range(4), lane=1)
    assert [float(trace.rewards.sum()) for trace in traces] == scored.episodes["return"]
    assert [float(len(trace.actions)) for trace in traces] == scored.episodes["length"]
    assert [float(trace.success) for trace in traces] == scored.episodes["success"]


def test_a_trace_survives_the_disk(tmp_path, point_maze, goal_seeker):
    trace = trace_episodes(goal_seeker(1), point_maze, [7], [2])[0]
    read = Trace.load(trace.save(tmp_path / "episode.safetensors"))
    assert (read.spec, read.seed, read.number, read.success) == (point_maze, 7, 2, trace.success)
    for name in ("observations", "actions", "rewards", "positions", "goal"):
        assert np.array_equal(getattr(read, name), getattr(trace, name))
    assert [file.name for file in tmp_path.iterdir()] == ["episode.safetensors"]


def test_positions_and_goal_are_those_the_agent_sees(point_maze, goal_seeker):
    trace = trace_episodes(goal_seeker(1), point_maze, [7], [0])[0]
    assert np.allclose(trace.positions, trace.observations[:, :2], atol=1e-6)
    assert np.allclose(trace.goal, trace.observations[0, 4:6], atol=1e-6)


@pytest.mark.parametrize("spec", ["point_maze", "teleport_maze"])
def test_no_way_leads_through_a_wall(spec, wanderer, request):
    from flowsweep.trainables.envs.build import pooled
    from flowsweep.trainables.envs.mazes import layout

    spec = request.getfixturevalue(spec)
    traces = trace_episodes(wanderer(2), spec, [3], range(4))
    maze = layout(pooled(spec, 1)[0].raw)
    for trace in traces:
        offsets = np.abs(trace.positions[:, None] - maze.walls[None]).max(axis=-1)
        assert offsets.min() > maze.cell / 2


def test_ways_through_a_maze_are_drawn_with_one_panel_per_policy(tmp_path, point_maze, goal_seeker, wanderer):
    traces = {
        "straight": trace_episodes(goal_seeker(1), point_maze, [7], range(3)),
        "random $x_": trace_episodes(wanderer(2), point_maze, [7], range(3)),
    }
    one = plot_trajectories(point_maze, {"straight": traces["straight"]}, tmp_path / "one.png")
    two = plot_trajectories(point_maze, traces, tmp_path / "two.png")
    assert Image.open(two).width == 2 * Image.open(one).width


def test_an_episode_is_shown_with_what_this_machine_can_render(tmp_path, point_maze, goal_seeker):
    media = record_episode(goal_seeker(1), point_maze, [7], tmp_path, name="best")
    assert {"best.safetensors", "best-ways.png"} <= {path.name for path in media.paths}
    assert all(path.stat().st_size > 1000 for path in media.paths)
    names = {path.name for path in media.paths}
    assert media.missing or {"best.mp4", "best.png"} <= names


def test_without_a_renderer_the_reason_is_given_and_nothing_fails(
    tmp_path, point_maze, wanderer, monkeypatch
):
    monkeypatch.setenv("FLOWSWEEP_RENDER_BACKEND", "disabled")
    short = point_maze.model_copy(update={"max_episode_steps": 3})
    stored = trace_episodes(wanderer(2), short, [0], [0])[0].save(tmp_path / "t.safetensors")
    media = render_trace(stored, tmp_path)
    assert media.paths == ()
    assert "MUJOCO_GL=disabled" in media.missing
