import pytest
import torch
from flowsweep.trainables.streams import Streams, derived_seed


def test_a_lane_draws_what_it_would_draw_alone():
    together, alone = Streams([3, 5], "noise"), Streams([5], "noise")
    for draw in (lambda s: s.normal(7, 2), lambda s: s.uniform(3), lambda s: s.integers(100, 9)):
        assert torch.equal(draw(together)[1:], draw(alone))


def test_purposes_of_one_seed_are_independent():
    assert not torch.equal(Streams([0], "a").normal(4), Streams([0], "b").normal(4))
    assert derived_seed(1, "x", 2) != derived_seed(1, "x", 3)


def test_streams_continue_from_their_state():
    streams = Streams([0, 1], "noise")
    streams.normal(5)
    state = streams.state()
    expected = streams.normal(5)
    fresh = Streams([0, 1], "noise")
    fresh.load_state(state)
    assert torch.equal(fresh.normal(5), expected)


def test_a_state_of_another_kind_of_device_is_refused():
    with pytest.raises(ValueError, match="another kind of device"):
        Streams([0], "noise").load_state(torch.zeros(1, 16, dtype=torch.uint8))
