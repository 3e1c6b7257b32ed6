"""A trial's walk over a real stage store: shared stages once, seeds as lanes, equal wherever it is broken off."""

import shutil
from pathlib import Path

import pytest
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.artifacts import Finished, read_snapshot
from flowsweep.trainables.errors import Diverged
from flowsweep.trainables.leaving import LEAVE
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.tune import StageWalk
from flowsweep.trainables.walk import Walk


@pytest.fixture
def walk(toy_sweep, tmp_path: Path):
    """Build a walk; the store and the trial's folder are those of the test."""
    configs = resolve(toy_sweep()).trial_configs({"tune.offset": 2.0})

    def build(trial="t0", seeds=(0, 1), through="tune", tune=None) -> Walk:
        request = TrialRequest(
            trial=trial, system="toy", source=SourceRef(kind="dataset", name="toy/points"),
            configs={**configs, "tune": {**configs["tune"], **(tune or {})}},
            seeds=seeds, through=through, episodes=3, evaluate_every_steps=10,
        )  # fmt: skip
        return Walk(request, StageStore(tmp_path / "stages"), tmp_path / trial)

    return build


def said(events) -> list[tuple]:
    return [(e.kind, e.stage, e.step, e.metrics) for e in events if e.kind in ("progress", "evaluated")]


def kinds(events, *wanted):
    return [event for event in events if event.kind in wanted]


def test_a_shared_stage_is_computed_once_per_seed_and_then_reused(walk):
    first, second = list(walk("t0")), list(walk("t1"))
    assert [(e.stage, e.seed) for e in kinds(first, "stage_computed")] == [("base", 0), ("base", 1)]
    assert [(e.stage, e.seed) for e in kinds(second, "stage_reused")] == [("base", 0), ("base", 1)]
    assert not kinds(second, "stage_computed")
    assert said(second) == [line for line in said(first) if line[1] == "tune"]


def test_a_lane_equals_the_same_trial_alone(walk):
    both = [e for e in walk("both") if e.kind == "evaluated"]
    alone = [e for e in walk("alone", seeds=(1,)) if e.kind == "evaluated"]
    assert [e.metrics["return"][1] for e in both] == [e.metrics["return"][0] for e in alone]


def test_the_last_stage_is_scored_on_the_way_and_leaves_a_policy_per_seed(walk, tmp_path: Path):
    events = list(walk("t0"))
    assert [e.step for e in kinds(events, "evaluated")] == [10, 20, 30, 40]
    assert [e.path for e in kinds(events, "artifact")] == ["request.json", "policy-seed-0", "policy-seed-1"]
    assert TrialRequest.model_validate_json((tmp_path / "t0" / "request.json").read_text()).trial == "t0"
    assert set(read_snapshot(tmp_path / "t0" / "policy-seed-1").tensors) == {"x"}


@pytest.mark.parametrize("leave_after", range(0, 50, 7))
def test_a_walk_broken_off_anywhere_goes_on_to_say_the_same(walk, leave_after, tmp_path: Path):
    whole = said(walk("whole", seeds=(5, 6)))
    StageStore(tmp_path / "stages").list()
    for artifact in StageStore(tmp_path / "stages").list():
        StageStore(tmp_path / "stages").remove(artifact.key)
    first = walk("parted", seeds=(5, 6))
    heard = []
    events = iter(first)
    for count, event in enumerate(events):
        heard.append(event)
        if count == leave_after:
            first.checkpoint()
            break
    events.close()
    later = said(walk("parted", seeds=(5, 6)))
    assert [line for line in said(heard) + later if line[1] == "tune"] == [
        line for line in whole if line[1] == "tune"
    ]


def test_leaving_gives_the_claim_back(walk, tmp_path: Path):
    events = iter(walk("t0"))
    assert next(event.stage for event in events if hasattr(event, "stage")) == "base"
    events.close()
    assert [e.seed for e in kinds(walk("t1"), "stage_computed")] == [0, 1]


def test_another_seed_is_computed_while_one_is_held_by_somebody_else(walk, tmp_path: Path):
    first = iter(walk("t0"))
    next(event for event in first if event.kind == "progress")  # t0 now holds the claim on seed 0
    second = iter(walk("t1"))
    computed = next(event for event in second if event.kind == "stage_computed")
    assert computed.seed == 1
    waiting = next(event for event in second if event.kind == "waiting")
    assert waiting.holder == "t0"
    rest = list(first)
    assert [(e.kind, e.seed) for e in kinds(rest, "stage_computed", "stage_reused")] == [
        ("stage_computed", 0),
        ("stage_reused", 1),
    ]
    assert said(second) == [line for line in said(rest) if line[1] == "tune"]


def test_a_walk_may_end_at_an_earlier_stage(walk):
    events = list(walk("b", through="base"))
    assert [e.stage for e in kinds(events, "evaluated")] == ["base"]
    assert not kinds(events, "checkpoint")


def test_a_divergence_leaves_the_walk_as_a_typed_failure(walk):
    with pytest.raises(Diverged, match="toy loss became non-finite at step 7"):
        list(walk("t0", tune={"diverge_at": 7}))


class Unlucky(StageStore):
    """A store whose outputs something happens to right after it has said that they are there."""

    happening = None

    def acquire(self, key, holder, wait_s=0.0):
        answer = super().acquire(key, holder, wait_s)
        if self.happening and isinstance(answer, Finished):
            self.happening(self.path(key))
            self.happening = None
        return answer


def flip_a_byte(output: Path) -> None:
    content = bytearray((output / "tensors.safetensors").read_bytes())
    content[-1] ^= 1
    (output / "tensors.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("happening", "reason"),
    [(flip_a_byte, "the stored output was damaged: "), (shutil.rmtree, "the stored output was removed")],
)
def test_an_output_lost_between_asking_and_reading_is_computed_again_and_the_reason_told(
    walk, tmp_path: Path, happening, reason
):
    first, second = list(walk("t0")), walk("t1")
    second.store = Unlucky(tmp_path / "stages")
    second.store.happening = happening
    events = list(second)
    # Seed 0 is the one it happens to: it counts as computed, not as saved.
    (again,) = kinds(events, "stage_computed")
    assert (again.seed, again.reason.startswith(reason)) == (0, True)
    assert [e.seed for e in kinds(events, "stage_reused")] == [1]
    assert [line for line in said(events) if line[1] == "tune"] == [
        line for line in said(first) if line[1] == "tune"
    ]


def test_many_trials_at_once_report_less_often_so_that_the_driver_keeps_up():
    from flowsweep.trainables.tune import report_every_s

    assert report_every_s(1) == report_every_s(200) == 1.0
    assert report_every_s(1000) == 5.0


def test_a_trial_that_is_asked_to_leave_lets_go_of_what_it_was_to_compute_for_all(walk, tmp_path: Path):
    asked = walk().request
    worker, store = StageWalk.__new__(StageWalk), StageStore(tmp_path / "stages")
    configs = {**asked.configs, "base": {**asked.configs["base"], "pause_s": 0.02}}
    request = asked.model_copy(update={"configs": configs}).model_dump(mode="json")
    worker.setup({"request": request}, store, tmp_path)
    assert not worker.step()["left"]
    (claim,) = (store.root / "claims").glob("*.json")
    assert store.held_by(claim.stem).startswith("t0 on ")
    (tmp_path / "trials" / "t0" / LEAVE).touch()
    said = worker.step()
    assert said["left"]
    assert [event["kind"] for event in said["events"]][-1] == "checkpoint"
    assert not store.held_by(claim.stem), "though the process lives on"
