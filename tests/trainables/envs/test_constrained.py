"""Constrained environments: what they cost, how episodes end, and which are refused."""

import gymnasium
import numpy as np
import pytest
from flowsweep.trainables.envs.constrained import Constrained, ConstrainedEnvironment
from flowsweep.trainables.envs.constrained_names import environments, open_environment
from flowsweep.trainables.envs.velocity import WALKERS
from flowsweep.trainables.errors import EnvironmentFailed, UserError
from gymnasium.spaces import Box, Dict, Discrete

UNIT = Box(-1.0, 1.0, (2,), np.float32)


class Sixfold(gymnasium.Env):
    """Returns the cost as the third of six values; may break, or answer with what is not a number."""

    observation_space = Box(-1.0, 1.0, (3,), np.float32)
    action_space = Box(np.array([0.0, -2.0], np.float32), np.array([10.0, 2.0], np.float32))

    def __init__(self, answer=None, break_at=0, terminate_at=0):
        self.answer, self.break_at, self.terminate_at, self.count = answer or {}, break_at, terminate_at, 0

    def reset(self, *, seed=None, options=None):
        self.count = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.count += 1
        self.last_action = action
        if self.count == self.break_at:
            raise RuntimeError("a leg fell off")
        told = {"observation": np.ones(3), "reward": 1.0, "cost": 0.5} | self.answer
        return told["observation"], told["reward"], told["cost"], self.count == self.terminate_at, False, {}


def defined(make=Sixfold, **more) -> Constrained:
    return Constrained("mine-v0", "mine", lambda render: make(**more), episode_steps=5, limit=1.0)


def test_all_that_is_listed_can_be_opened():
    for name, one in environments().items():
        source = open_environment(name)
        assert source.describe()["cost_limit"] == one.limit > 0
        assert min(source.sizes) > 0
    assert len({one.fingerprint for one in environments().values()}) == len(environments())


def test_observations_have_the_sizes_published_results_have():
    sizes = {name: open_environment(f"{name}-velocity-v1").sizes for name in ("ant", "humanoid", "hopper")}
    assert sizes == {"ant": (27, 8), "humanoid": (45, 17), "hopper": (11, 3)}


@pytest.mark.parametrize("walker", WALKERS, ids=lambda walker: walker.body)
def test_a_step_costs_where_the_velocity_is_above_the_threshold_and_the_speed_itself_otherwise(walker):
    by_name = {kind: environments()[f"{walker.body.lower()}-{kind}-v1"] for kind in ("velocity", "speed")}
    wrapped = by_name["velocity"].make(False)
    fast, slow = walker.threshold + 0.01, walker.threshold - 0.01
    assert wrapped._cost({"x_velocity": fast}) == 1.0
    assert wrapped._cost({"x_velocity": slow}) == 0.0
    # Sideways counts for Ant and Humanoid alone; backwards counts nowhere else.
    assert wrapped._cost({"x_velocity": slow, "y_velocity": fast}) == float(walker.plane)
    assert wrapped._cost({"x_velocity": -fast}) == float(walker.plane)
    speed = by_name["speed"].make(False)
    assert speed._cost({"x_velocity": -3.0, "y_velocity": 4.0}) == 5.0
    assert speed._cost({"x_velocity": -3.0}) == 3.0


def test_the_critic_limit_spends_the_limit_evenly_over_the_discounted_episode():
    hundred = Constrained("a", "a", lambda render: None, episode_steps=1000, limit=25.0)
    assert hundred.critic_limit(25.0, 0.99) == pytest.approx(2.4999, abs=1e-3)
    assert environments()["detour-v0"].critic_limit(1.0, 0.99) == pytest.approx(0.755, abs=1e-3)
    assert environments()["hopper-speed-v1"].critic_limit(82.748, 0.99) == 82.748


def test_the_straight_way_costs_and_the_way_around_does_not():
    def walked(waypoints):
        environment = ConstrainedEnvironment(environments()["detour-v0"])
        observation, total, cost, over, length = environment.reset(0), 0.0, 0.0, False, 0
        targets = list(waypoints)
        while not over:
            away = targets[0] - observation[:2]
            if len(targets) > 1 and np.linalg.norm(away) < 0.3:
                targets.pop(0)
            step = environment.step(np.clip(5 * away - 2 * observation[2:4], -1, 1))
            observation, total, cost = step.observation, total + step.reward, cost + step.cost
            over, length = step.terminated or step.truncated, length + 1
        return total, cost, length, step

    goal = np.array([1.0, 0.0])
    straight, around = walked([goal]), walked([np.array([-0.4, 0.7]), np.array([0.5, 0.6]), goal])
    assert straight[0] > 35
    assert straight[1] >= 6
    assert around[0] > 33
    assert around[1] == 0
    assert straight[2] == 60
    assert straight[3].truncated
    assert not straight[3].terminated


def test_episodes_follow_from_their_seed_alone():
    definition = environments()["swimmer-velocity-v1"]
    environment, other = ConstrainedEnvironment(definition), ConstrainedEnvironment(definition)
    other.reset(5)
    other.step(np.ones(2))
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    first, second = (
        [one.reset(3), *[one.step(a).observation for a in actions]] for one in (environment, other)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_six_values_are_read_and_actions_fill_the_action_box():
    environment = ConstrainedEnvironment(defined())
    environment.reset(0)
    step = environment.step(np.array([1.0, -1.0]))
    assert (step.reward, step.cost) == (1.0, 0.5)
    assert environment.raw.last_action.tolist() == [10.0, -2.0]
    environment.step(np.array([0.0, 0.0]))
    assert environment.raw.last_action.tolist() == [5.0, 0.0]


def test_the_end_of_a_task_and_the_end_of_time_are_told_apart():
    environment = ConstrainedEnvironment(defined(terminate_at=5))
    environment.reset(0)
    steps = [environment.step(np.zeros(2)) for _ in range(5)]
    assert (steps[-1].terminated, steps[-1].truncated) == (True, False)
    environment = ConstrainedEnvironment(defined())
    environment.reset(0)
    steps = [environment.step(np.zeros(2)) for _ in range(5)]
    assert (steps[-1].terminated, steps[-1].truncated) == (False, True)
    assert not any(step.truncated for step in steps[:-1])


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean `detour-v0`") as caught:
        open_environment("detuor-v0")
    assert caught.value.key == "environment"
    with pytest.raises(UserError, match="Did you mean `Hopper-v5`"):
        open_environment("gymnasium/Hoper-v5")


def test_no_module_is_imported_for_a_name():
    with pytest.raises(UserError):
        open_environment("gymnasium/antigravity:Nothing-v0")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gymnasium/CartPole-v1", "not continuous but Discrete"),
        ("gymnasium/Pendulum-v1", "reports no cost"),
    ],
)
def test_what_cannot_be_learnt_in_is_refused_with_the_reason(name, problem):
    with pytest.raises(UserError, match=problem):
        open_environment(name)


@pytest.mark.parametrize(
    ("spaces", "problem"),
    [
        ({"action_space": Box(-np.inf, np.inf, (2,))}, "bounded"),
        ({"action_space": Discrete(3)}, "not continuous"),
        ({"observation_space": Dict(a=UNIT)}, "not a vector but Dict"),
    ],
)
def test_unfit_spaces_are_refused(spaces, problem):
    unfit = type("Unfit", (Sixfold,), spaces)
    with pytest.raises(UserError, match=problem):
        ConstrainedEnvironment(defined(unfit))


@pytest.mark.parametrize("what", ["observation", "reward", "cost"])
def test_an_answer_that_is_not_finite_names_what_and_when(what):
    bad = np.full(3, np.nan) if what == "observation" else float("nan")
    environment = ConstrainedEnvironment(defined(answer={what: bad}))
    environment.reset(0)
    with pytest.raises(EnvironmentFailed, match=f"gave a {what} that is not finite in step 1"):
        environment.step(np.zeros(2))


def test_an_environment_that_raises_is_quoted():
    environment = ConstrainedEnvironment(defined(break_at=1))
    environment.reset(0)
    with pytest.raises(EnvironmentFailed, match="mine-v0 raised in step: RuntimeError: a leg fell off"):
        environment.step(np.zeros(2))
