"""A learner's course: what it reports does not depend on interruptions."""

from pathlib import Path

import pytest
import torch
from flowsweep.trainables.artifacts import MANIFEST
from flowsweep.trainables.base import Learner, Score, Snapshot
from flowsweep.trainables.checkpoints import Checkpoints
from flowsweep.trainables.training import Training


class Wanderer(Learner):
    """Two lanes of a random walk: small, but with state, random streams and inexact sums."""

    def __init__(self):
        self.step, self.x = 0, torch.zeros(2)
        self.generator = torch.Generator().manual_seed(0)

    def advance(self, steps):
        total = torch.zeros(2)
        for _ in range(steps):
            self.step += 1
            self.x += 0.1 * torch.randn(2, generator=self.generator)
            total += self.x
        return {"place": (total / steps).tolist()}

    def evaluate(self, seeds, episodes):
        return [Score({"return": float(x)}, {"return": [float(x)] * episodes}) for x in self.x]

    def state(self):
        return Snapshot({"x": self.x, "generator": self.generator.get_state()}, {"step": self.step})

    def load_state(self, snapshot):
        self.x, self.step = snapshot.tensors["x"].clone(), snapshot.meta["step"]
        self.generator.set_state(snapshot.tensors["generator"])

    def outputs(self):
        return [Snapshot({"x": x}) for x in self.x]


def training(folder: Path) -> Training:
    return Training("walk", Wanderer(), 1050, [3, 4], folder, evaluate_at=[500, 1050], episodes=2)


def said(events) -> list[tuple]:
    """What is on record, without the time it took."""
    return [
        (event.kind, event.step, event.metrics) for event in events if event.kind in ("progress", "evaluated")
    ]


def test_reports_come_at_fixed_marks_and_evaluations_where_asked(tmp_path: Path):
    events = said(training(tmp_path))
    steps = [step for kind, step, _ in events if kind == "progress"]
    assert steps[:3] == [53, 106, 159]
    assert steps[-1] == 1050
    assert [step for kind, step, _ in events if kind == "evaluated"] == [500, 1050]


@pytest.mark.parametrize("leave_after", [0, 1, 2, 5, 9, 10, 11, 12, 30])
def test_leaving_anywhere_and_coming_back_says_exactly_the_same(leave_after, tmp_path: Path):
    whole = said(training(tmp_path / "whole"))
    first = training(tmp_path / "parted")
    heard = []
    for count, event in enumerate(first):
        heard.append(event)
        if count == leave_after:
            first.save()
            break
    assert said(heard) + said(training(tmp_path / "parted")) == whole


def test_a_killed_run_repeats_from_its_last_checkpoint_with_equal_values(tmp_path: Path):
    whole = said(training(tmp_path / "whole"))
    first = training(tmp_path / "killed")
    heard = []
    for count, event in enumerate(first):
        heard.append(event)
        if count == 6:
            first.save()
        if count == 14:
            break  # killed: nothing is saved here
    later = said(training(tmp_path / "killed"))
    assert later == whole[-len(later) :]
    assert set(map(str, said(heard) + later)) == set(map(str, whole))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path):
    kept = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        kept.save(step, Snapshot({"x": torch.tensor([float(step)])}, {"step": step}))
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-0000000002", "step-0000000003"]
    (tmp_path / "step-0000000003" / MANIFEST).write_text("{}")
    assert kept.latest().meta["step"] == 2
    (tmp_path / "step-0000000002" / "tensors.safetensors").write_bytes(b"junk")
    assert kept.latest() is None
