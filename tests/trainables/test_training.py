"""A learner's course: what it reports does not depend on interruptions."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flowsweep.trainables.artifacts import MANIFEST
from flowsweep.trainables.base import Learner, Score, Snapshot
from flowsweep.trainables.checkpoints import (
    NEVER,
    CheckpointPolicy,
    Checkpoints,
    best_of,
    drop_unnamed_rows,
    step_of,
)
from flowsweep.trainables.errors import EnvironmentFailed
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


def training(folder: Path, **more) -> Training:
    return Training("walk", Wanderer(), 1050, [3, 4], folder, evaluate_at=[500, 1050], episodes=2, **more)


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


def test_the_state_is_stored_by_steps_and_the_newest_and_the_best_are_kept(tmp_path: Path):
    policy = CheckpointPolicy(every_s=None, every_steps=250, keep_last=2)
    events = list(training(tmp_path, policy=policy, best_by=("return", True)))
    stored = [event.step for event in events if event.kind == "checkpoint"]
    scores = {e.step: sum(e.metrics["return"]) / 2 for e in events if e.kind == "evaluated"}
    best = max(scores, key=lambda step: scores[step])
    assert best in stored
    kept = {int(path.name[5:]) for path in tmp_path.glob("step-*")}
    assert kept == {*stored[-2:], best}
    marked = best_of(tmp_path)
    assert marked is not None
    assert step_of(marked) == best
    assert Checkpoints(tmp_path).best_value() == scores[best]


@pytest.mark.parametrize("above", [True, False])
def test_a_score_that_breaks_a_limit_is_never_the_best_on_the_way(tmp_path: Path, above: bool):
    scores = {
        step: sum(metrics["return"]) / 2
        for kind, step, metrics in said(training(tmp_path / "free"))
        if kind == "evaluated"
    }
    low, high = sorted(scores, key=lambda step: scores[step])
    limit = (scores[low] + scores[high]) / 2
    within = (("return", "min" if above else "max", limit), ("unreported", "max", 0.0))
    list(training(tmp_path / "kept", best_by=("return", not above), best_within=within))
    marked = best_of(tmp_path / "kept")
    assert marked is not None
    assert step_of(marked) == (high if above else low)
    list(training(tmp_path / "none", best_by=("return", True), best_within=(("return", "max", -1e9),)))
    assert best_of(tmp_path / "none") is None


def test_by_time_the_state_is_stored_between_reports_too(tmp_path: Path, monkeypatch):
    ticks = iter(range(10_000))
    monkeypatch.setattr("flowsweep.trainables.checkpoints.time.monotonic", lambda: float(next(ticks)))
    walk = Training("walk", Wanderer(), 10_000, [3, 4], tmp_path, policy=CheckpointPolicy(every_s=2))
    stored = [event.step for event in walk if event.kind == "checkpoint"]
    assert [step for step in stored if step % 500]  # reports come every 500


def test_when_and_what_is_stored_changes_nothing_that_is_said(tmp_path: Path):
    policy = CheckpointPolicy(every_s=None, every_steps=100)
    often = said(training(tmp_path / "often", policy=policy, best_by=("return", False)))
    assert often == said(training(tmp_path / "never", policy=NEVER))


def test_a_damaged_checkpoint_is_said_and_the_one_before_continued(tmp_path: Path):
    whole = said(training(tmp_path / "whole"))
    first = training(tmp_path / "hurt")
    heard = []
    for count, event in enumerate(first):
        heard.append(event)
        if count in (6, 11):
            first.save()
        if count == 14:
            break
    older, newest = sorted((tmp_path / "hurt").glob("step-*"))
    (newest / "tensors.safetensors").write_bytes(b"half")
    again = list(training(tmp_path / "hurt"))
    (damaged,) = [event for event in again if event.kind == "checkpoint_damaged"]
    assert (damaged.step, damaged.resumed_step) == (step_of(newest), step_of(older))
    assert "the SHA-256 of tensors.safetensors is" in damaged.reason
    assert not newest.exists()
    assert said(again) == whole[-len(said(again)) :]


@pytest.mark.parametrize("hurt", ["half-written", "file missing", "not a manifest"])
def test_with_no_whole_checkpoint_left_the_stage_begins_anew_and_says_so(hurt, tmp_path: Path):
    Checkpoints(tmp_path).save(700, Snapshot({"x": torch.ones(2)}, {}))
    place = tmp_path / "step-0000000700"
    if hurt == "half-written":
        (place / MANIFEST).unlink()
    elif hurt == "file missing":
        (place / "meta.json").unlink()
    else:
        (place / MANIFEST).write_text("{")
    events = list(training(tmp_path))
    assert [(e.step, e.resumed_step) for e in events if e.kind == "checkpoint_damaged"] == [(700, 0)]
    assert said(events) == said(training(tmp_path / "whole"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_without_room_for_a_checkpoint_the_trial_goes_on_and_nothing_half_written_is_left(tmp_path: Path):
    # A limit on the size of files fails a write as a full disk does, with another number. It holds for one process.
    code = (
        "import json, pathlib, resource, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_training import *\n"
        "torch.set_num_threads(1)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "walk = training(folder, policy=CheckpointPolicy(every_s=None, every_steps=100))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "kinds, left = [], []\n"
        "for event in walk:\n"
        "    kinds.append(event.kind)\n"
        "    if kinds.count('checkpoint') == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))\n"
        "    if kinds.count('checkpoint_skipped') == 2:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "        left = left or sorted(path.name for path in folder.iterdir())\n"
        "print(json.dumps([kinds, left]))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    kinds, left = json.loads(done.stdout)
    assert left == ["step-0000000100", "step-0000000200"]
    stored = [kind for kind in kinds if kind.startswith("checkpoint")]
    assert stored[:4] == ["checkpoint", "checkpoint", "checkpoint_skipped", "checkpoint_skipped"]
    assert set(stored[4:]) == {"checkpoint"}
    assert kinds.count("evaluated") == 2


class Appender(Wanderer):
    """Remembers every place it has been at, and may be stopped by its environment."""

    def __init__(self, fail_at: int = 0):
        super().__init__()
        self.places, self.fail_at = torch.empty(0, 2), fail_at

    def advance(self, steps):
        for done in range(steps):
            if self.step + 1 == self.fail_at:
                raise EnvironmentFailed("the wind broke it", done, {"place": [0.5, 0.5]} if done else {})
            super().advance(1)
            self.places = torch.cat([self.places, self.x.unsqueeze(0)])
        return {"place": self.x.tolist()}

    def state(self):
        state = super().state()
        return Snapshot(state.tensors, state.meta, {"capacity_changed": self.places})

    def load_state(self, snapshot):
        super().load_state(snapshot)
        self.places = snapshot.log["capacity_changed"]


def appending(folder: Path, learner: Learner, every_steps: int = 100) -> Training:
    policy = CheckpointPolicy(every_s=None, every_steps=every_steps, keep_last=2)
    return Training("walk", learner, 1000, [3, 4], folder, policy=policy)


def test_rows_that_are_only_appended_are_written_once_and_checkpoints_do_not_grow(tmp_path: Path):
    checkpoint_bytes, rows_bytes = {}, {}
    for event in appending(tmp_path, Appender()):
        if event.kind == "checkpoint":
            newest = max(tmp_path.glob("step-*"))
            checkpoint_bytes[event.step] = (newest / "tensors.safetensors").stat().st_size
            rows_bytes[event.step] = sum(file.stat().st_size for file in (tmp_path / "rows").iterdir())
    assert len(set(checkpoint_bytes.values())) == 1
    assert rows_bytes[1000] < 1000 * 2 * 4 + 10 * 200, "every row lies there once"
    assert len(Checkpoints(tmp_path).latest().log["capacity_changed"]) == 1000


def test_a_killed_run_goes_on_with_the_rows_its_checkpoint_stands_on(tmp_path: Path):
    whole = Appender()
    list(appending(tmp_path / "whole", whole))
    killed = Appender()
    for event in appending(tmp_path / "killed", killed):
        if event.step >= 350:
            break
    resumed = Appender()
    training = appending(tmp_path / "killed", resumed)
    assert resumed.step == 300
    assert torch.equal(resumed.places, whole.places[:300])
    list(training)
    assert torch.equal(resumed.places, whole.places)


def test_damaged_rows_make_their_checkpoints_unusable_and_never_pass_for_whole(tmp_path: Path):
    list(appending(tmp_path, Appender(), every_steps=500))
    newest = sorted((tmp_path / "rows").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-4] + b"junk")
    checkpoints = Checkpoints(tmp_path)
    assert len(checkpoints.latest().log["capacity_changed"]) == 500
    assert "SHA-256 of rows" in checkpoints.passed_over[0].reason


def test_rows_no_checkpoint_stands_on_are_deleted_with_the_last_that_did(tmp_path: Path):
    list(appending(tmp_path, Appender()))
    assert drop_unnamed_rows(tmp_path) == 0
    for path in tmp_path.glob("step-*"):
        shutil.rmtree(path)
    assert drop_unnamed_rows(tmp_path) > 0
    assert not list((tmp_path / "rows").iterdir())


def test_what_was_learnt_before_an_environment_failed_is_stored(tmp_path: Path):
    with pytest.raises(EnvironmentFailed, match="the wind broke it"):
        list(appending(tmp_path, Appender(fail_at=373), every_steps=10_000))
    mended = Appender()
    training = appending(tmp_path, mended)
    assert mended.step == 372
    list(training)
    assert mended.step == 1000


def test_what_was_learnt_before_an_evaluation_failed_is_stored_and_the_evaluation_still_owed(tmp_path: Path):
    class Unlucky(Wanderer):
        def evaluate(self, seeds, episodes):
            raise EnvironmentFailed("the wind broke it")

    with pytest.raises(EnvironmentFailed):
        list(Training("walk", Unlucky(), 100, [3, 4], tmp_path, evaluate_at=[50, 100], episodes=2))
    later = said(Training("walk", Wanderer(), 100, [3, 4], tmp_path, evaluate_at=[50, 100], episodes=2))
    whole = said(Training("walk", Wanderer(), 100, [3, 4], tmp_path / "w", evaluate_at=[50, 100], episodes=2))
    assert later == whole[-len(later) :]
    assert [step for kind, step, _ in later if kind == "evaluated"] == [50, 100]
