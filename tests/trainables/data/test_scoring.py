"""What a dataset says, held against what its environment is: before anything is learnt, both are named."""

import json

import gymnasium
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.names import minari_data_path
from flowsweep.trainables.envs import fit
from flowsweep.trainables.envs.naming import attach_environment
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM
from gymnasium.envs.registration import EnvSpec

Box, Dict = gymnasium.spaces.Box, gymnasium.spaces.Dict
PENDULUM = gymnasium.spec("Pendulum-v1")
MAZE = EnvSpec(
    "PointMaze_UMaze-v3", "gymnasium_robotics.envs.maze.point_maze:PointMazeEnv", max_episode_steps=300
)
THREE, TORQUE = Box(-8, 8, (3,), np.float32), Box(-2, 2, (1,), np.float32)


@pytest.fixture(autouse=True)
def nothing_known():
    """Each test tries anew."""
    fit.forget()


@pytest.fixture
def pendulum(write, episode):
    """A dataset said to be of Pendulum, its spaces and environment as asked."""
    draw = np.random.default_rng(0)

    def pendulum(observations=THREE, actions=TORQUE, env=PENDULUM, steps=30, **metadata) -> str:
        episodes = []
        for _ in range(4):
            states = {"observations": draw.uniform(-1, 1, (steps + 1, *(observations.shape or ())))}
            if isinstance(observations, Dict):
                states = {
                    "observations": {
                        key: draw.uniform(-1, 1, (steps + 1, *part.shape))
                        for key, part in observations.items()
                    }
                }
            acted = draw.uniform(actions.low, actions.high, (steps, *actions.shape)).astype(np.float32)
            episodes.append(episode(steps, actions=acted, **states))
        # Not given to Minari, which would build it.
        name = write("odd/pend-v0", episodes, observations, actions)
        amend(name, {**({"env_spec": env.to_json()} if env else {}), **metadata})
        return name

    return pendulum


def amend(name: str, changes: dict) -> None:
    file = minari_data_path(name) / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def check(name: str, *metrics: str) -> list[str]:
    return SYSTEM.stage("refine").check(open_dataset(name), metrics)


def test_what_fits_is_let_through(pendulum):
    assert check(pendulum(), "return", "episode_length") == []


@pytest.mark.parametrize(
    ("spaces", "told"),
    [
        ({"actions": Box(-2, 2, (2,), np.float32)},
         r"actions that are 2 numbers in \[-2, 2\], but Pendulum-v1.* has 1 number in \[-2, 2\]"),
        ({"actions": Box(-1, 1, (1,), np.float32)}, r"1 number in \[-1, 1\], but Pendulum-v1.* \[-2, 2\]"),
        ({"observations": Box(-8, 8, (5,), np.float32)}, r"observations that are 5 numbers, but Pendulum-v1.* has 3"),
        ({"observations": Dict(observation=THREE)},
         r"3 numbers of observation, but Pendulum-v1.* has Box observations without entries"),
        ({"env": gymnasium.spec("CartPole-v1")}, r"actions that are 1 number .*but CartPole-v1.* Discrete actions"),
        ({"env": MAZE}, r"PointMaze_UMaze-v3.* has 2 numbers in \[-1, 1\]"),
    ],
)  # fmt: skip
def test_spaces_that_differ_are_refused_and_both_are_named(pendulum, spaces, told):
    name = pendulum(**spaces)
    with pytest.raises(UserError, match=told) as refused:
        check(name, "return")
    assert "odd/pend-v0" in str(refused.value)
    assert "`refine/return` is looked at" in str(refused.value)
    # What needs no environment may go on, and says so.
    (warning,) = check(name, "critic_loss")
    assert warning.startswith("policies are not scored")


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"observation": 4, "desired_goal": 2}, None),
        (
            {"observation": 5, "desired_goal": 2},
            "7 numbers of observation, desired_goal, but PointMaze.* has 6 of them",
        ),
        ({"observation": 4, "desired_goal": 2, "extra": 1}, None),
        (
            {"elsewhere": 4, "goal": 2},
            r"no elsewhere, goal \(it has achieved_goal, desired_goal, observation\)",
        ),
    ],
)
def test_entries_of_a_dict_are_compared(pendulum, entries, told):
    space = Dict({key: Box(-9, 9, (size,), np.float64) for key, size in entries.items()})
    name = pendulum(observations=space, actions=Box(-1, 1, (2,), np.float32), env=MAZE)
    if told:
        with pytest.raises(UserError, match=told):
            check(name, "return")
    else:
        check(name, "return", "success_rate")


def test_a_metric_the_environment_never_reports_is_named(pendulum):
    name = pendulum()
    with pytest.raises(
        UserError, match=r"Pendulum-v1, which never says.*in 200 steps.*`success_rate`.*Take `return`"
    ):
        check(name, "return", "success_rate")
    with pytest.raises(
        UserError, match=r"no reference scores in order.*`normalized_score` would never be reported"
    ):
        check(name, "normalized_score")
    amend(name, {"ref_min_score": -1000, "ref_max_score": 0})
    assert check(name, "normalized_score") == []
    amend(name, {"ref_min_score": 5, "ref_max_score": 1})
    with pytest.raises(UserError, match=r"least 5.0, most 1.0"):
        check(name, "normalized_score")
    assert any("in no order" in finding.text for finding in open_dataset(name).info.findings)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (None, "has no environment to score policies in: it names no environment"),
        (EnvSpec("NotThere-v0", "notthere.envs:Env", max_episode_steps=9), "NotThere-v0, which cannot be used: is no env"),
        (EnvSpec("Pendulum-v1", PENDULUM.entry_point), r"Pendulum-v1 without a limit of steps"),
        (EnvSpec("Pendulum-v1", "x:y", max_episode_steps=9, kwargs={"mass": 2}), "cannot be built: TypeError"),
        (EnvSpec("Pendulum-v1", "x:y", max_episode_steps=9, kwargs={"g": "low"}), "fails when played"),
    ],
)  # fmt: skip
def test_no_usable_environment_is_told_with_its_reason_and_a_way_out_that_works(pendulum, env, told):
    name = pendulum(env=env)
    with pytest.raises(UserError, match=told) as refused:
        check(name, "return")
    assert "`refine/critic_loss`" in str(refused.value)
    assert len(check(name, "critic_loss")) == 1
    spec, seen = attach_environment(name, "Pendulum-v1")
    assert (spec.max_episode_steps, seen.speaks_of_success) == (200, False)
    assert check(name, "return") == []
    import minari

    assert minari.load_dataset(name).recover_environment(eval_env=True).spec.id == "Pendulum-v1"


class TestNamingAnEnvironment:
    """`flowsweep data attach-environment`."""

    def test_one_that_does_not_fit_is_refused_and_the_dataset_stays(self, pendulum):
        name = pendulum(env=None)
        before = (minari_data_path(name) / "metadata.json").read_bytes()
        for environment, told in (
            ("CartPole-v1", "Discrete actions"), ("NotThere-v0", "no environment of an installed"),
            ("os:system-v0", "without a module"),
        ):  # fmt: skip
            with pytest.raises(UserError, match=told):
                attach_environment(name, environment)
        with pytest.raises(UserError, match="not taken from a dataset"):
            attach_environment(name, "Pendulum-v1", arguments={"xml_file": "a.xml"})
        assert (minari_data_path(name) / "metadata.json").read_bytes() == before

    def test_limit_and_arguments_are_kept(self, pendulum):
        name = pendulum(env=None)
        attach_environment(name, "Pendulum-v1", max_episode_steps=50, arguments={"g": 9.0})
        evaluation = open_dataset(name).info.evaluation
        assert (evaluation.max_episode_steps, dict(evaluation.kwargs)) == (50, {"g": 9.0})
        (warning,) = check(name, "return")
        assert warning == (
            "episodes are cut after 50 steps, as the dataset says; Pendulum-v1 is registered here with 200"
        )


def test_an_environment_defined_elsewhere_is_told(pendulum):
    (warning,) = check(
        pendulum(env=EnvSpec("Pendulum-v1", "other.package:Pendulum", max_episode_steps=200)), "return"
    )
    assert "is defined in other.package:Pendulum; it is scored in what is registered here" in warning


def test_wrappers_that_are_not_applied_are_told(pendulum):
    name = pendulum()
    spec = json.loads(PENDULUM.to_json())
    worn = [
        {"name": "NormalizeReward", "entry_point": "a:b", "kwargs": {}},
        {"name": "TimeLimit", "entry_point": "a:b"},
    ]
    amend(name, {"env_spec": json.dumps({**spec, "additional_wrappers": worn})})
    found = [finding.text for finding in open_dataset(name).info.findings]
    assert "its environment was wrapped in NormalizeReward; policies are scored in it without" in found
