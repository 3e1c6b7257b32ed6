"""A plain training function as a learner: what holds for every learner holds for it."""

import gc
import threading
import time

import pytest
import torch
from flowsweep.trainables.base import Lane
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.user_code.learner import output_of

HEAD = """
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Config:
        steps: int = 10
"""


@pytest.fixture
def start(system):
    """A learner of the function in a text, one lane per seed."""

    def make(text=None, seeds=(0,), **settings):
        stage = system(*([HEAD + text] if text else [])).stages[0]
        return stage.start([Lane(stage.config_type(**settings), seed) for seed in seeds], None, "cpu")

    return make


def equal(first, second):
    return dict(first.meta) == dict(second.meta) and all(
        torch.equal(value, second.tensors[name]) for name, value in first.tensors.items()
    )


@pytest.mark.parametrize("keep_every", [0, 1, 7])
@pytest.mark.parametrize("seeds", [(0,), (3, 4)])
@pytest.mark.parametrize("before", [1, 17, 40])
def test_a_resumed_run_is_bit_equal_whether_or_not_it_keeps_anything(start, keep_every, seeds, before):
    undisturbed, stopped, resumed = (start(seeds=seeds, keep_every=keep_every) for _ in range(3))
    undisturbed.advance(before)
    stopped.advance(before)
    resumed.load_state(stopped.state())
    for steps in (5, 40 - before - 5) if before < 35 else (40 - before,):
        assert undisturbed.advance(steps) == resumed.advance(steps)
    assert undisturbed.evaluate(seeds, 0) == resumed.evaluate(seeds, 0)
    assert all(equal(a, b) for a, b in zip(undisturbed.outputs(), resumed.outputs(), strict=True))


@pytest.mark.parametrize("keep_every", [0, 3, 7])
def test_a_run_may_be_interrupted_again_and_again(start, keep_every):
    undisturbed, other = start(keep_every=keep_every), start(keep_every=keep_every)
    for _ in range(8):
        again = start(keep_every=keep_every)
        again.load_state(other.state())
        other = again
        assert undisturbed.advance(5) == other.advance(5)
    assert equal(undisturbed.outputs()[0], other.outputs()[0])


def test_a_lane_equals_the_same_run_alone_although_it_draws_from_global_streams(start):
    together = start(seeds=(0, 1))
    alone = [start(seeds=(seed,)) for seed in (0, 1)]
    for steps in (3, 20, 17):
        metrics = together.advance(steps)
        assert metrics == {"loss": [one.advance(steps)["loss"][0] for one in alone]}


def test_the_platforms_own_random_streams_are_left_alone(start):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    start().advance(10)
    assert torch.equal(torch.rand(2), expected)


def test_steps_counted_from_one_and_values_reported_now_and_then_are_means_over_what_was_reported(start):
    learner = start(
        """
    def train(config: Config, report):
        for step in range(1, config.steps + 1):
            report(step, loss=step)
            if step % 4 == 0:
                report(step, score=10 * step)
    """
    )
    assert learner.advance(3) == {"loss": [2.0]}
    assert learner.advance(3) == {"loss": [5.0], "score": [40.0]}
    assert learner.evaluate([0], 0)[0].metrics == {"loss": 6.0, "score": 40.0}
    assert learner.advance(4) == {"loss": [8.5], "score": [80.0]}


def test_a_generator_yields_instead(start):
    learner = start(
        """
    def train(config: Config):
        for step in range(config.steps):
            yield {"loss": 2.0 * step}
        return {"best": 1}
    """
    )
    assert learner.advance(5) == {"loss": [4.0]}
    learner.advance(5)
    assert output_of(learner.outputs()[0]) == {"best": 1}


def test_a_function_that_ends_early_has_its_last_values(start):
    learner = start("""
    def train(config: Config, report):
        report(0, loss=3)
    """)
    assert learner.advance(10) == {"loss": [3.0]}
    assert learner.evaluate([0], 0)[0].metrics == {"loss": 3.0}


def test_what_is_kept_comes_back_as_it_was(start):
    learner = start("""
    import numpy as np, torch
    def train(config: Config, report):
        saved = report.restored()
        if saved:
            assert saved["nested"][0]["t"].dtype == torch.float16 and saved["nested"][1] == (1, "a", None)
            assert saved["by_number"][3] is True and saved["array"].tolist() == [[1, 2]]
        for step in range(config.steps):
            report(step, loss=1)
            report.checkpoint({"by_number": {3: True}}, nested=[{"t": torch.ones(2).half()}, (1, "a", None)],
                              array=np.array([[1, 2]]))
    """)
    learner.advance(2)
    learner.load_state(learner.state())
    learner.advance(2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("report(11, loss=1)", "a run has 10 steps"),
        ("report(3, loss=1); report(2, loss=1)", "went back to step 2 from 3"),
        ("report('x', loss=1)", "takes the step first"),
        ("report(1, loss=[1, 2])", "not a number"),
        ("report.checkpoint(x=object()); report(1, loss=1)", "`x` is a object"),
        ("report(1, loss=1); return 3", "returns a int"),
    ],
)
def test_a_wrong_use_is_told(start, body, said):
    learner = start(f"""
    def train(config: Config, report):
        {body}
    """)
    with pytest.raises(UserError, match=said) as caught:
        learner.advance(10)
    assert "return 3" in body or "mine.py, line 9: " in str(caught.value)


def test_a_value_that_is_not_finite_ends_the_trial_as_diverged(start):
    learner = start("""
    def train(config: Config, report):
        for step in range(config.steps):
            report(step, loss=float("nan") if step == 4 else 1.0)
    """)
    learner.advance(3)
    with pytest.raises(Diverged, match="loss became non-finite at step 4"):
        learner.advance(3)


def test_an_exception_reaches_the_platform_with_the_functions_own_frames(start):
    learner = start("""
    def train(config: Config, report):
        report(0, loss=1)
        broken()

    def broken():
        raise KeyError("gone")
    """)
    with pytest.raises(KeyError) as caught:
        learner.advance(10)
    assert caught.traceback[-1].name == "broken"
    assert caught.traceback[-1].path.name == "mine.py"


def test_a_pruned_function_runs_its_finally_blocks_and_leaves_no_thread(start, tmp_path):
    mark = tmp_path / "cleaned"
    learner = start(f"""
    def train(config: Config, report):
        try:
            for step in range(config.steps):
                report(step, loss=1)
        except Exception:
            raise AssertionError("being stopped is no error")
        finally:
            open({str(mark)!r}, "w").close()
    """)
    before = threading.active_count()
    learner.advance(3)
    assert not mark.exists()
    del learner
    gc.collect()
    assert mark.exists()
    deadline = time.monotonic() + 5
    while threading.active_count() >= before + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
