import pytest
from flowsweep.search_spaces.fidec import JOINT_SPACES, SPACES
from flowsweep.search_spaces.parameters import Choice, named_space
from flowsweep.trainables.config import parse
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM

PARAMETERS = [
    (system, space, field, p)
    for system, spaces in ((SYSTEM, SPACES), (JOINT_SYSTEM, JOINT_SPACES))
    for space, fields in spaces.items()
    for field, p in fields.items()
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
