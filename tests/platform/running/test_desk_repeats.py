"""What the desk takes for a repetition, and what for a new fact of the same place."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowsweep.platform.journal.events import TrialProposed
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.scheduling import make_pruner
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.events import StageComputed


@pytest.fixture
def desk(toy_sweep, tmp_path: Path):
    spec = toy_sweep(stop={"rule": "none"})
    study = f"sqlite:///{tmp_path / 'optuna.db'}"
    search = StudySearch("s", study, spec.search, resolve(spec).space, "maximize", make_pruner(spec.stop))
    with Journal(tmp_path / "journal.jsonl") as journal:
        made = Desk(journal, spec, search)
        made.propose("t0000", TrialProposed(through="tune", number=0))
        yield made
    search.close()


def computed(reason: str | None) -> StageComputed:
    return StageComputed(
        stage="base", key="ab", seed=0, steps=40, cpu_s=1.0, wall_s=1.0, bytes=1, reason=reason
    )


def test_an_output_computed_again_after_damage_is_on_record_though_the_trial_had_computed_it_before(desk):
    for reason in (None, None, "the stored output was damaged: its digest is wrong"):
        desk.receive("t0000", [computed(reason)], False, None)
    reasons = [f.event.reason for f in read(desk.journal.path) if f.event.kind == "stage_computed"]
    assert reasons == [None, "the stored output was damaged: its digest is wrong"]
