"""FiDec's stages by several workers: pools equal to the last bit, flows up to the order in which gradients are summed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as distributed
from flowsweep.trainables.artifacts import read_snapshot, write_snapshot
from flowsweep.trainables.base import Lane, Learner, Snapshot
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM
from flowsweep.trainables.shares import BatchShare, part_of

STEPS = 300
TOLERANCE = 1e-6  # 6e-8 was seen; the weights move by some 0.05 in these updates


@pytest.fixture(scope="module")
def wide(make_dataset):
    """4,100 states: four whole blocks of a pool and the beginning of a fifth."""
    return make_dataset(episodes=100, length=40)


@pytest.fixture(scope="module")
def pools(start, small, wide) -> Callable[[], Learner]:
    """Builds a learner of pools over one pretrained flow."""
    config = small("pools", steps=3)
    built = start("pools", [(config, 0)], wide)
    return lambda: SYSTEM.stage("pools").start(built.lanes, wide, "cpu")


@pytest.mark.parametrize("world", [2, 3, 7])
def test_pools_filled_by_several_workers_equal_those_of_one_to_the_last_bit(pools, world):
    alone = pools()
    alone.advance(3)
    parts = []
    for rank in range(world):  # with seven workers, some of the five blocks' parts are empty
        worker = pools()
        worker.join(rank, world)
        for _ in range(3):
            worker.advance(1)
        parts.append(worker.state())
    together = pools()
    together.assemble(parts)
    assert together.step == alone.step
    [expected], [found] = alone.outputs(), together.outputs()
    assert found.meta == expected.meta
    assert all(torch.equal(found.tensors[name], value) for name, value in expected.tensors.items())
    assert sum(part.tensors["pools.base_actions"].shape[1] for part in parts) == 4100


def test_a_worker_that_was_killed_redoes_only_what_its_last_checkpoint_lacks(pools):
    first = pools()
    first.join(1, 2)
    first.advance(2)
    second = pools()
    second.join(1, 2)
    second.load_state(first.state())
    second._fill, filled = _counted(second._fill)
    second.advance(1)
    undisturbed = pools()
    undisturbed.join(1, 2)
    undisturbed.advance(3)
    assert filled == [4]
    for name, value in undisturbed.state().tensors.items():
        assert torch.equal(second.state().tensors[name], value)


def _counted(fill):
    filled = []

    def counted(block):
        filled.append(block)
        return fill(block)

    return counted, filled


def test_parts_are_consecutive_and_cover_everything_once():
    for count, world in [(10, 3), (5, 7), (0, 2), (256, 5)]:
        parts = [part_of(count, rank, world) for rank in range(world)]
        assert [i for part in parts for i in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_batch_with_fewer_rows_than_workers_is_refused():
    with pytest.raises(UserError, match="batch_size: cannot be divided among 4 workers"):
        BatchShare(3, 0, 4)


def pretrained(folder: Path, world: int, config, dataset, begin: Snapshot | None = None, steps=STEPS):
    """Train one flow on ``world`` processes over gloo; the learners' states by rank, with their metrics."""

    def worker(rank: int) -> None:
        torch.set_num_threads(1)
        learner = SYSTEM.stage("pretrain").start([Lane(config, 0)], dataset, "cpu")
        if world > 1:
            distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
            learner.join(rank, world)
        if begin is not None:
            learner.load_state(begin)
        metrics = learner.advance(steps)
        state = learner.state()
        write_snapshot(folder / f"rank-{rank}", Snapshot(state.tensors, {**state.meta, "metrics": metrics}))

    folder.mkdir()
    children = [multiprocessing.get_context("fork").Process(target=worker, args=(r,)) for r in range(world)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    return [read_snapshot(folder / f"rank-{rank}") for rank in range(world)]


@pytest.fixture(scope="module")
def flows(small, dataset, tmp_path_factory):
    """The same flow trained by one worker and by two, whose batch of 33 divides into 16 and 17 rows."""
    config, folder = small("pretrain", batch_size=33, steps=STEPS), tmp_path_factory.mktemp("flows")
    return (
        config,
        pretrained(folder / "one", 1, config, dataset)[0],
        pretrained(folder / "two", 2, config, dataset),
    )


def test_a_flow_trained_by_two_workers_equals_that_of_one_up_to_rounding(flows):
    _, alone, (first, second) = flows
    assert torch.equal(first.tensors["streams"], alone.tensors["streams"])
    for name, value in alone.tensors.items():
        assert torch.equal(first.tensors[name], second.tensors[name]), name  # no worker drifts from the other
        if name.startswith("flow."):
            torch.testing.assert_close(first.tensors[name], value, rtol=0, atol=TOLERANCE)


def test_metrics_of_two_workers_are_those_of_the_whole_batch(flows):
    _, alone, (first, second) = flows
    assert first.meta["metrics"] == second.meta["metrics"]
    for name, values in alone.meta["metrics"].items():
        assert first.meta["metrics"][name] == pytest.approx(values, rel=1e-4), name


def test_two_workers_that_were_interrupted_go_on_bit_equal(flows, dataset, tmp_path: Path):
    config, _, (undisturbed, _) = flows
    half, _ = pretrained(tmp_path / "half", 2, config, dataset, steps=STEPS // 2)
    later, _ = pretrained(tmp_path / "later", 2, config, dataset, begin=half, steps=STEPS - STEPS // 2)
    for name, value in undisturbed.tensors.items():
        assert torch.equal(later.tensors[name], value), name
