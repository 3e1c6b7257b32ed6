"""What was got over is on record and shown: damage to checkpoints and stored outputs, torn lines."""

from __future__ import annotations

import json

import pytest
from flowsweep.platform import cli
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.record.incidents import incidents
from flowsweep.platform.store.stages import StageStore
from flowsweep.trainables.checkpoints import best_of, step_of
from flowsweep.trainables.events import CheckpointDamaged, CheckpointSkipped


def test_a_damaged_stage_output_is_computed_again_and_the_record_and_the_table_say_so(
    walked, monkeypatch, capsys
):
    home = walked("first", "t0")
    (artifact,) = StageStore(home.stages).list()
    (artifact.path / "tensors.safetensors").write_bytes(b"gone bad")
    walked("second", "t0")
    assert incidents(read(home.sweep("first").journal)) == []
    (found,) = incidents(read(home.sweep("second").journal))
    assert found.trial == "t0"
    assert found.what.startswith(
        "base seed 0 computed again: the stored output was damaged: the SHA-256 of tensors"
    )
    assert len(StageStore(home.stages).list()) == 1
    monkeypatch.setenv("FLOWSWEEP_HOME", str(home.root))
    assert found.what[:60] in shown(monkeypatch, capsys, "second")
    told = json.loads(shown(monkeypatch, capsys, "second", "--json"))["incidents"]
    assert [incident["kind"] for incident in told] == ["stage_computed"]


def test_a_torn_line_and_a_damaged_checkpoint_are_told_in_words(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append(CheckpointDamaged(stage="tune", step=4000, reason="x", resumed_step=2000), "t3")
        journal.append(CheckpointDamaged(stage="tune", step=4000, reason="x", resumed_step=0), "t4")
        journal.append(CheckpointSkipped(stage="tune", step=5000, reason="no space left on device"), "t4")
    with open(path, "ab") as file:
        file.write(b'{"seq": 3')
    Journal(path).close()
    assert [(i.trial, i.what) for i in incidents(read(path))] == [
        ("t3", "the checkpoint of tune at step 4,000 was damaged (x); resumed from step 2,000"),
        ("t4", "the checkpoint of tune at step 4,000 was damaged (x); started over"),
        ("t4", "no checkpoint of tune at step 5,000: no space left on device; the trial went on"),
        (None, "a torn last line of the record (9 bytes) was dropped"),
    ]


def test_the_best_checkpoint_of_a_trial_is_kept_beside_its_last(walked):
    home = walked("sweep", "t0", best_by=("return", False))
    folder = home.sweep("sweep").trials / "t0" / "tune"
    scores = {
        f.event.step: f.event.metrics["return"][0]
        for f in read(home.sweep("sweep").journal)
        if f.event.kind == "evaluated"
    }
    best = best_of(folder)
    assert best is not None
    assert step_of(best) == min(scores, key=lambda step: scores[step]) == 10


def shown(monkeypatch, capsys, *arguments: str) -> str:
    monkeypatch.setattr("sys.argv", ["flowsweep", "show", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return capsys.readouterr().out
