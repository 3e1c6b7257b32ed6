"""Configuration: frozen, and every mistake told in the user's own keys."""

import pickle

import pytest
from flowsweep.trainables.config import FrozenConfig, is_lane_field, lane_field, parse
from flowsweep.trainables.errors import Diverged, UserError, UserErrors, nearest
from pydantic import Field, ValidationError


class Inner(FrozenConfig):
    width: int = Field(default=1, gt=0)
    """How wide it is."""


class Outer(FrozenConfig):
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1,)
    rate: float = lane_field(0.1, gt=0)


def test_a_list_may_fill_a_tuple_and_a_whole_number_a_real_one():
    assert parse(Outer, {"sizes": [2, 3], "rate": 1}) == Outer(sizes=(2, 3), rate=1.0)


def test_a_nested_mistake_names_its_key_its_value_and_what_the_key_means():
    with pytest.raises(
        UserErrors, match=r"x\.inner\.width: should be greater than 0 \(got 0\)\. It means: How wide"
    ):
        parse(Outer, {"inner": {"width": 0}}, "x")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        Outer().rate = 2.0


def test_lane_fields_are_marked():
    assert is_lane_field(Outer, "rate")
    assert not is_lane_field(Outer, "sizes")


def test_failures_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(UserError("is wrong", key="a", value=1, fix="Mend it.")))
    assert (str(error), error.key, error.value) == ("a: is wrong (got 1). Mend it.", "a", 1)
    assert str(pickle.loads(pickle.dumps(Diverged("loss", 3)))) == "loss became non-finite at step 3"


def test_a_hint_names_the_nearest_or_lists_the_known():
    assert nearest("trails", ["trials", "seed"]) == "Did you mean `trials`?"
    assert nearest("zzz", ["b", "a"]) == "Known: a, b."
