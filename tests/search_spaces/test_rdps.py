"""Every searched range of robust posterior sampling is a field's, with a reason, and allows its defaults."""

from __future__ import annotations

import math

import pytest
from flowsweep.search_spaces.conditions import condition_errors
from flowsweep.search_spaces.rdps import SPACES
from flowsweep.trainables.config import parse
from flowsweep.trainables.rdps.config import PosteriorConfig


@pytest.mark.parametrize("name", list(SPACES))
def test_every_range_is_of_a_field_and_says_why(name):
    for key, parameter in SPACES[name].items():
        stage, field = key.split(".")
        assert stage == "posterior"
        ends = parameter.values if parameter.type == "choice" else (parameter.low, parameter.high)
        for value in ends:
            parse(PosteriorConfig, {field: value}, stage)
        assert 20 < len(parameter.reason) < 120, key


@pytest.mark.parametrize("name", list(SPACES))
def test_conditions_can_be_met(name):
    assert list(condition_errors(SPACES[name])) == []


def test_guidance_spans_seven_decades():
    guidance = SPACES["default"]["posterior.guidance"]
    assert guidance.log
    assert math.log10(guidance.high / guidance.low) == pytest.approx(7)
