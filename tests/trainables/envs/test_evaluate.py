"""Scores are a function of policy, environment and seeds, and of nothing else."""

import numpy as np
import pytest
import torch
from flowsweep.trainables.data.dataset import EvaluationSpec
from flowsweep.trainables.envs.build import EpisodeEnvironment, EpisodeSeeds
from flowsweep.trainables.envs.evaluate import environments_at_once, evaluate
from flowsweep.trainables.envs.rollout import BLOCK, run_episodes
from flowsweep.trainables.errors import Diverged, UserError


def test_the_same_seeds_give_the_same_scores_exactly(point_maze, goal_seeker):
    first = evaluate(goal_seeker(1), point_maze, [7], 6)
    again = evaluate(goal_seeker(1), point_maze, [7], 6)
    assert first == again
    assert len(set(first[0].episodes["length"])) > 1  # the episodes do differ from each other


def test_another_seed_gives_other_episodes(point_maze, goal_seeker):
    first, second = evaluate(goal_seeker(2), point_maze, [7, 8], 6)
    assert first.episodes["length"] != second.episodes["length"]


def test_lanes_with_equal_seeds_and_policies_score_equally(point_maze, goal_seeker):
    first, second = evaluate(goal_seeker(2), point_maze, [7, 7], 6)
    assert first == second


def test_a_lane_scores_the_same_alone_and_beside_others(point_maze, goal_seeker):
    alone = evaluate(goal_seeker(1), point_maze, [8], 6)[0]
    beside = evaluate(goal_seeker(3), point_maze, [7, 8, 9], 6)[1]
    assert beside == alone


@pytest.mark.parametrize("at_once", [1, 5])
def test_waves_change_nothing(point_maze, goal_seeker, at_once):
    together = evaluate(goal_seeker(2), point_maze, [7, 8], 4)
    assert evaluate(goal_seeker(2), point_maze, [7, 8], 4, max_environments=at_once) == together


def test_more_episodes_begin_with_the_same_ones_across_blocks_of_noise(point_maze, goal_seeker):
    short = point_maze.model_copy(update={"max_episode_steps": 10})
    few = evaluate(goal_seeker(1), short, [3], 5)[0]
    many = evaluate(goal_seeker(1), short, [3], BLOCK + 3, max_environments=8)[0]
    assert many.episodes["return"][:5] == few.episodes["return"]
    assert len(many.episodes["length"]) == BLOCK + 3


def test_environments_drawing_from_numpys_global_generator_are_reproducible(teleport_maze, wanderer):
    first = record(teleport_maze, wanderer(2), at_once=4)
    np.random.seed(0)
    one_by_one = record(teleport_maze, wanderer(2), at_once=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, one_by_one, strict=True))


def record(spec, policy, at_once):
    wanted = [(0, number) for number in range(4)]
    played = run_episodes(policy, spec, [5], wanted, at_once=at_once, record=True)
    return [np.stack(episode.observations) for episode in played]


@pytest.mark.parametrize("spec", ["point_maze", "teleport_maze"])
def test_the_callers_random_streams_are_left_alone(spec, wanderer, request):
    np.random.seed(11)
    torch.manual_seed(11)
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    evaluate(wanderer(2), request.getfixturevalue(spec), [1], 2)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_metrics_follow_from_the_episodes(point_maze, goal_seeker):
    score = evaluate(goal_seeker(1), point_maze, [7], 8, ref_min_score=-1.0, ref_max_score=3.0)[0]
    assert score.metrics["success_rate"] == np.mean(score.episodes["success"])
    assert 0 < score.metrics["success_rate"] < 1
    assert score.metrics["return"] == np.mean(score.episodes["return"])
    assert score.metrics["episode_length"] == np.mean(score.episodes["length"])
    assert score.metrics["normalized_score"] == pytest.approx(25.0 * (score.metrics["return"] + 1.0))
    solved = np.array(score.episodes["success"], bool)
    assert (np.array(score.episodes["length"])[~solved] == point_maze.max_episode_steps).all()


def test_without_reference_scores_there_is_no_normalised_score(point_maze, goal_seeker):
    assert "normalized_score" not in evaluate(goal_seeker(1), point_maze, [7], 1)[0].metrics


def test_an_environment_without_a_notion_of_success_reports_none(wanderer):
    pendulum = EvaluationSpec(
        library="gymnasium", id="Pendulum-v1", action_low=(-2.0,), action_high=(2.0,), max_episode_steps=20
    )
    score = evaluate(wanderer(1), pendulum, [0], 2)[0]
    assert set(score.metrics) == {"return", "episode_length"}
    assert score.episodes["length"] == [20.0, 20.0]


def test_actions_reach_the_environment_on_its_own_scale():
    spec = EvaluationSpec(
        library="gymnasium", id="Pendulum-v1", action_low=(-2.0,), action_high=(2.0,), max_episode_steps=20
    )
    environment = EpisodeEnvironment(spec)
    environment.reset(EpisodeSeeds.of(0, 0))
    for given, torque in [(-1.0, -2.0), (0.5, 1.0), (7.0, 2.0)]:
        environment.step(np.array([given]))
        assert environment.raw.unwrapped.last_u == pytest.approx(torque)


def test_a_policy_that_is_no_longer_finite_has_diverged(point_maze):
    class Broken:
        def act(self, observations, generators):
            return torch.full((*observations.shape[:2], 2), float("nan"))

    with pytest.raises(Diverged, match="step 400"):
        evaluate(Broken(), point_maze, [0], 1, step=400)


def test_an_unknown_environment_is_explained_to_the_user(point_maze, wanderer):
    with pytest.raises(UserError, match=r"no environment of an installed package.*NoSuchMaze-v3"):
        evaluate(wanderer(2), point_maze.model_copy(update={"id": "NoSuchMaze-v3"}), [0], 1)


def test_heavy_environments_are_kept_few(point_maze):
    cube = point_maze.model_copy(update={"library": "ogbench", "id": "cube-single-play-singletask-v0"})
    assert environments_at_once(cube) < environments_at_once(point_maze)


@pytest.mark.slow
def test_manipulation_scenes_are_reproducible_in_waves(wanderer):
    cube = EvaluationSpec(
        library="ogbench",
        id="cube-single-play-singletask-v0",
        action_low=(-1.0,) * 5,
        action_high=(1.0,) * 5,
        max_episode_steps=25,
        global_rng=True,
    )
    first = record(cube, wanderer(5), at_once=4)
    again = record(cube, wanderer(5), at_once=3)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
