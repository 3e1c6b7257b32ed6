import pytest
from flowsweep.search_spaces.fidec import SPACES
from flowsweep.search_spaces.parameters import Choice, named_space
from flowsweep.trainables.config import parse
from flowsweep.trainables.fidec import SYSTEM

PARAMETERS = [(space, field, p) for space, fields in SPACES.items() for field, p in fields.items()]


@pytest.mark.parametrize(("space", "field", "parameter"), PARAMETERS)
def test_every_value_of_a_space_is_one_its_stage_accepts(space, field, parameter):
    stage, name = field.split(".")
    values = parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
    for value in values:
        config = SYSTEM.presets["default"]()[stage].model_dump(mode="json") | {name: value}
        assert getattr(parse(SYSTEM.stage(stage).config_type, config), name) == value


@pytest.mark.parametrize(("space", "field", "parameter"), PARAMETERS)
def test_every_range_has_its_reason(space, field, parameter):
    assert parameter.reason


def test_the_published_method_lies_inside_the_default_space():
    space = named_space("fidec", "default")
    assert space["refine.kl_radius"].low <= 1e-3 <= space["refine.kl_radius"].high
    assert space["refine.residual_scale"].low <= 1.0 <= space["refine.residual_scale"].high
