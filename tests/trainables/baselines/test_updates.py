"""How updates are computed: without waiting for the device, and compiled."""

import pytest

EACH = pytest.mark.parametrize("system", ["fql", "ifql", "rebrac"])


@EACH
@pytest.mark.parametrize("lanes", [1, 2])
def test_an_update_reads_no_number_from_the_device(system, lanes, start, small, no_host_transfers):
    learner = start(system, [(small(system), seed) for seed in range(lanes)])
    with no_host_transfers():
        learner.update()


@pytest.mark.slow
@EACH
def test_every_learner_can_be_compiled(system, start, small):
    eager, compiled = (start(system, [(small(system), 0)]) for _ in range(2))
    compiled.accelerate("compile")
    expected = eager.advance(5)
    for name, values in compiled.advance(5).items():
        assert values == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name
