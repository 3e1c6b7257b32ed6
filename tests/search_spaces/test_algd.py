"""Spaces and sweeps of the safe methods: every range says why, and every sweep can be planned."""

import pytest
from flowsweep.search_spaces import algd
from flowsweep.trainables.base import load_system

SPACES = {"algd": algd.SPACES, "sac-lagrangian": algd.SAC_LAGRANGIAN_SPACES, "cal": algd.CAL_SPACES}


@pytest.mark.parametrize("system", SPACES)
def test_every_parameter_is_a_field_of_its_stage_and_says_why(system):
    for space in SPACES[system].values():
        for name, parameter in space.items():
            stage, _, field = name.partition(".")
            assert field in load_system(system).stage(stage).config_type.model_fields
            assert len(parameter.reason) > 20
