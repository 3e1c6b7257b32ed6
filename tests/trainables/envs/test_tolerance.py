"""The tolerance task against what is known of it in closed form."""

import numpy as np
import pytest
from flowsweep.trainables.data.dataset import EvaluationSpec
from flowsweep.trainables.envs.build import EpisodeEnvironment, EpisodeSeeds
from flowsweep.trainables.envs.tolerance import BEST_RETURN, ENVIRONMENT_ID, LOOSE, Tolerance

TASKS = [
    Tolerance(actions=actions, loose_spread=loose) for actions in (4, 6, 16) for loose in (0.1, 0.4, 0.8)
]
EACH_TASK = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"a{task.actions}-{task.loose_spread}")


def states(rows: int = 4000) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (rows, 4))


@EACH_TASK
def test_directions_are_orthonormal_and_none_is_an_entry_of_the_action(task):
    np.testing.assert_allclose(task.rotation.T @ task.rotation, np.eye(task.actions), atol=1e-12)
    assert np.abs(task.rotation).max() < 0.75


@EACH_TASK
def test_behaviour_earns_one_half_of_the_best(task):
    """Rewards are symmetric about 1 along the loose directions; the tight ones are left in 6e-5 of rows each."""
    rows = states(20_000)
    earned = task.rewards(rows, task.behaviour(rows, np.random.default_rng(2)))
    assert earned.mean() == pytest.approx(BEST_RETURN / 2, abs=0.015)


@EACH_TASK
def test_best_actions_lie_in_the_box_and_earn_everything(task):
    best = task.best_actions(states())
    assert np.abs(best).max() <= 1
    np.testing.assert_allclose(task.rewards(states(), best), BEST_RETURN)


def test_leaving_a_tight_direction_loses_everything_and_climbing_a_loose_one_pays():
    task, rows = Tolerance(), states()
    centre = task.targets(rows)
    for direction in range(task.actions):
        step = np.zeros(task.actions)
        step[direction] = 1.01 * task.tolerance
        earned = task.rewards(rows, (centre + step) @ task.rotation.T)
        expected = 1 + step[direction] / LOOSE / task.reach if direction < LOOSE else 0.0
        np.testing.assert_allclose(earned, expected, rtol=1e-9)


def test_the_environment_pays_what_the_task_says_and_ends():
    kwargs = {"actions": 4, "loose_spread": 0.2}
    spec = EvaluationSpec(
        library="gymnasium",
        id=ENVIRONMENT_ID,
        kwargs=kwargs,
        action_low=(-1.0,) * 4,
        action_high=(1.0,) * 4,
        max_episode_steps=1,
    )
    environment, task = EpisodeEnvironment(spec), Tolerance(**kwargs)
    for number in range(20):
        state = environment.reset(EpisodeSeeds.of(3, number))[None].astype(float)
        action = task.behaviour(state, np.random.default_rng(number))[0].astype(np.float32)
        _, reward, over, success = environment.step(action)
        assert over
        assert success is None
        assert reward == pytest.approx(task.rewards(state, action[None].astype(float))[0], abs=1e-5)


@pytest.mark.parametrize("wrong", [{"actions": 2}, {"tolerance": 0.0}, {"loose_spread": -0.1}])
def test_a_task_without_tight_directions_or_without_room_is_refused(wrong):
    with pytest.raises(ValueError, match="needs more than 2 actions"):
        Tolerance(**wrong)
