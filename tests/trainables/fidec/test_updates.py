"""How updates are computed: without waiting for the device, and compiled."""

import pytest
import torch
from flowsweep.trainables.products import worth_a_call_each

LARGE = {"hidden": (160, 160), "batch_size": 160}


def updates(learner, stage):
    """One update at a time, as the learner's ``advance`` makes them."""
    return {
        "pretrain": lambda: learner._update(learner._batch()),
        "refine": lambda: learner.update(),
        "joint": lambda: learner._update(*learner._batches(learner._draws())),
    }[stage]


def test_reading_a_number_is_noticed(no_host_transfers):
    with pytest.raises(AssertionError), no_host_transfers():
        torch.ones(1).item()


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("pretrain", {}),
        ("refine", {}),
        ("refine", {"base_actions": "fresh"}),
        ("refine", {"constraint": "per_state_projection"}),
        ("refine", LARGE),
        ("joint", {}),
    ],
)
@pytest.mark.parametrize("lanes", [1, 2])
def test_an_update_reads_no_number_from_the_device(stage, changes, lanes, start, small, no_host_transfers):
    learner = start(stage, [(small(stage, **changes), seed) for seed in range(lanes)])
    with no_host_transfers():
        updates(learner, stage)()


def tensors(learner):
    return learner.state().tensors


def test_compiled_updates_equal_eager_ones_up_to_rounding_and_resume_bit_equal(start, small):
    config = small("refine", **LARGE)
    eager, compiled, resumed = (start("refine", [(config, 0)]) for _ in range(3))
    compiled.accelerate("compile")
    expected, found = eager.advance(50), compiled.advance(50)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-6), name
    for name, value in tensors(eager).items():
        torch.testing.assert_close(tensors(compiled)[name], value, rtol=1e-3, atol=1e-4, msg=name)
    resumed.accelerate("compile")
    resumed.load_state(compiled.state())
    assert compiled.advance(3) == resumed.advance(3)
    for name, value in tensors(compiled).items():
        assert torch.equal(tensors(resumed)[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "changes"), [("pretrain", {}), ("joint", {}), ("refine", {"base_actions": "fresh"})]
)
@pytest.mark.parametrize("lanes", [1, 2])
def test_every_learner_can_be_compiled(stage, changes, lanes, start, small):
    eager, compiled = (start(stage, [(small(stage, **changes), s) for s in range(lanes)]) for _ in range(2))
    compiled.accelerate("compile")
    expected = eager.advance(5)
    for name, values in compiled.advance(5).items():
        assert values == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name


def test_the_large_network_of_these_tests_is_multiplied_one_by_one():
    from flowsweep.trainables.products import WIDE_VECTORS

    assert worth_a_call_each(torch.zeros(1, 160, 5), 5 * 160 + 160 * 160 + 160) == WIDE_VECTORS
