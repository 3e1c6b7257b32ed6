import numpy as np
import pytest
from flowsweep.search_spaces.fidec import JOINT_SPACES, SPACES
from flowsweep.search_spaces.parameters import Choice, is_proposed, named_space
from flowsweep.trainables.config import parse
from flowsweep.trainables.data.action_variance import action_variance
from flowsweep.trainables.data.dataset import DatasetInfo, FlatDataset
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM

EPISODES, LENGTH = 20, 50


def behaviour(noise: float) -> FlatDataset:
    """Gaussian actions of that deviation, whatever the state."""
    random = np.random.default_rng(0)
    count = EPISODES * LENGTH
    info = DatasetInfo(
        name="tests/behaviour-v0",
        fingerprint="behaviour",
        episodes=EPISODES,
        transitions=count,
        observation_dim=2,
        action_dim=3,
        action_low=(-1.0,) * 3,
        action_high=(1.0,) * 3,
        reward_min=0.0,
        reward_max=0.0,
        terminal_share=0.0,
    )
    states = random.normal(size=(count + EPISODES, 2)).astype(np.float32)
    actions = (noise * random.normal(size=(count, 3))).astype(np.float32)
    rows = np.arange(count) + np.arange(count) // LENGTH
    ones, ends = np.ones(count, np.float32), np.arange(count) % LENGTH == LENGTH - 1
    return FlatDataset(info, states, rows, actions, 0 * ones, ones, ends)


PARAMETERS = [
    (system, space, field, p)
    for system, spaces in ((SYSTEM, SPACES), (JOINT_SYSTEM, JOINT_SPACES))
    for space, fields in spaces.items()
    for made in ([fields] if not callable(fields) else [fields(behaviour(noise)) for noise in (0, 0.3, 1)])
    for field, p in made.items()
]


@pytest.mark.parametrize(("system", "space", "field", "parameter"), PARAMETERS)
def test_every_value_of_a_space_is_one_its_stage_accepts(system, space, field, parameter):
    stage, name = field.split(".")
    values = parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
    for value in values:
        config = system.presets["default"]()[stage].model_dump(mode="json") | {name: value}
        assert getattr(parse(system.stage(stage).config_type, config), name) == value


@pytest.mark.parametrize(("system", "space", "field", "parameter"), PARAMETERS)
def test_every_range_has_its_reason(system, space, field, parameter):
    assert parameter.reason


def test_the_published_method_lies_inside_the_default_space():
    space = named_space("fidec", "default")
    assert space["refine.kl_radius"].low <= 1e-3 <= space["refine.kl_radius"].high
    assert space["refine.residual_scale"].low <= 1.0 <= space["refine.residual_scale"].high


def test_the_joint_system_s_spaces_are_found_by_its_name():
    assert named_space("fidec-joint", "default")["joint.kl_radius"].log


@pytest.mark.parametrize(
    ("system", "field"), [("fidec", "refine.kl_radius"), ("fidec-joint", "joint.kl_radius")]
)
def test_the_proposed_radius_follows_the_variance_of_actions(system, field):
    for noise in (0.1, 0.5):
        data = behaviour(noise)
        parameter, found = named_space(system, "auto", data)[field], action_variance(data).mean
        assert found == pytest.approx(noise**2, rel=0.1)
        assert (parameter.low, parameter.high) == pytest.approx((0.01 * found, found), rel=0.05)
        assert parameter.log
        assert f"{found:.3g} ±" in parameter.reason


def test_data_without_noise_still_get_a_range():
    parameter = named_space("fidec", "auto", behaviour(0))["refine.kl_radius"]
    assert (parameter.low, parameter.high) == (1e-5, 1e-4)


def test_the_rest_of_the_proposed_space_is_the_default():
    auto, default = named_space("fidec", "auto", behaviour(0.3)), named_space("fidec", "default")
    assert auto.keys() == default.keys()
    assert auto["refine.residual_scale"] == default["refine.residual_scale"]


def test_a_proposal_is_known_to_need_the_data():
    assert is_proposed("fidec", "auto")
    assert not is_proposed("fidec", "default")
    with pytest.raises(UserError, match="made from the data, which are not open here"):
        named_space("fidec", "auto")
