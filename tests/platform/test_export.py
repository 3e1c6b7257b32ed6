"""Exports load, score as recorded, and never overwrite; deleting says what stays and touches nothing unasked."""

from __future__ import annotations

import json

import pyarrow.parquet as parquet
import pytest
import yaml
from flowsweep.platform.export import export
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.paths import Home
from flowsweep.platform.store.stages import StageStore
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.exported import load_learner, load_policy


@pytest.fixture
def done(walked) -> Home:
    return walked("done", "t0", best_by=("return", False))


def evaluations(home: Home, sweep: str = "done") -> list:
    return [fact.event for fact in read(home.sweep(sweep).journal) if fact.event.kind == "evaluated"]


def test_an_export_scores_what_was_recorded_at_the_last_evaluation(done, run, tmp_path):
    code, said, _ = run("export", "done", str(tmp_path / "out"), "--json")
    told = json.loads(said)
    assert (code, told["trial"], told["step"]) == (0, "t0", 40)
    last = evaluations(done)[-1]
    (score,) = load_learner(tmp_path / "out").evaluate(last.seeds, 2)
    assert score.metrics["return"] == last.metrics["return"][0]
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["value"] == pytest.approx(last.metrics["return"][0])
    assert about["rule"].startswith("the last evaluation counts")
    assert about["best_checkpoint"]["step"] == 10
    assert set(about["stage_keys"]) == {"base seed 0"}
    assert "tracking" not in json.dumps(about)
    metrics = parquet.read_table(tmp_path / "out" / "metrics.parquet").to_pydict()
    assert set(metrics["trial"]) == {"t0"}
    assert len(metrics["value"]) == sum(
        len(f.event.metrics)
        for f in read(done.sweep("done").journal)
        if f.event.kind in ("progress", "evaluated")
    )
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["stages"]["tune"]["steps"] == 40
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "load_policy" in readme
    assert "best evaluation on the way was at step 10" in readme


def test_nothing_is_overwritten_and_a_failed_export_leaves_nothing(done, run, tmp_path):
    assert run("export", "done", str(tmp_path / "out"))[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    code, _, err = run("export", "done", str(tmp_path / "out"))
    assert code == 3
    assert "nothing is overwritten" in err
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    policy = done.sweep("done").trials / "t0" / "policy-seed-0" / "tensors.safetensors"
    policy.write_bytes(b"gone bad")
    code, _, err = run("export", "done", str(tmp_path / "other"))
    assert code == 2
    assert "the policy is damaged: the SHA-256" in err
    assert "flowsweep rerun done --trial t0" in err
    assert [path.name for path in tmp_path.iterdir() if "other" in path.name] == []


def test_a_trial_without_policies_or_of_another_name_is_refused(walked, run, tmp_path):
    walked("cut", "t0", ended="pruned", until=20)
    code, _, err = run("export", "cut", str(tmp_path / "out"), "--trial", "t0")
    assert code == 2
    assert "it left no policy: pruned at step 20 of 40" in err
    assert run("export", "cut", str(tmp_path / "out"), "--trial", "t9")[0] == 2
    assert "no trial of this sweep has finished" in run("export", "cut", str(tmp_path / "out"))[2]


def test_a_trial_that_ends_at_a_shared_stage_is_exported_from_the_store(walked, run, tmp_path):
    home = walked("base", "t0", through="base")
    done = export(home.sweep("base"), home, tmp_path / "out", "t0")
    last = evaluations(home, "base")[-1]
    (score,) = load_learner(tmp_path / "out").evaluate(last.seeds, 2)
    assert score.metrics["return"] == last.metrics["return"][0]
    assert done.trial == "t0"
    StageStore(home.stages).remove(StageStore(home.stages).list()[0].key)
    with pytest.raises(UserError, match="no longer in the stage store"):
        export(home.sweep("base"), home, tmp_path / "again", "t0")


def test_what_was_changed_after_the_export_is_not_loaded(done, run, tmp_path):
    run("export", "done", str(tmp_path / "out"))
    with pytest.raises(UserError, match="learns no policy"):
        load_policy(tmp_path / "out")
    weights = tmp_path / "out" / "policy-seed-0" / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match="is damaged"):
        load_learner(tmp_path / "out")
    with pytest.raises(UserError, match="is no export"):
        load_learner(tmp_path)


def test_best_says_which_steps_policies_it_shows_and_where_the_best_on_the_way_is(done, run):
    said = run("best", "done")[1]
    assert "the policies of step 40: the last evaluation counts" in said
    assert "best on the way: step 10" in said
    told = json.loads(run("best", "done", "--json")[1])
    assert (told["policy_step"], told["best_checkpoint"]["step"]) == (40, 10)


def test_deleting_shows_what_goes_and_stays_and_touches_nothing_unasked(walked, run):
    walked("done", "t0")
    home = walked("other", "t0", width=2.0)
    code, said, _ = run("delete", "other")
    assert code == 0
    assert "1 finished" in said
    assert "stays: the MLflow records" in said
    assert "1 stage outputs" in said
    assert "Nothing was touched" in said
    told = json.loads(run("delete", "other", "--json")[1])
    assert (told["dry_run"], told["freed_bytes"], told["freeable"]) == (True, 0, 1)
    assert home.sweep("other").journal.exists()


def test_a_deleted_sweep_is_gone_and_the_stages_it_shared_are_not(walked, run):
    walked("done", "t0")
    home = walked("same", "t0")
    told = json.loads(run("delete", "same", "--yes", "--json")[1])
    assert (told["freeable"], told["freed_bytes"]) == (0, told["bytes"])
    assert [path.name for path in home.sweeps.iterdir()] == ["done"]
    assert len(StageStore(home.stages).list()) == 1
    assert run("delete", "same", "--yes")[0] == 2
    assert json.loads(run("list", "--json")[1])[0]["name"] == "done"


def test_a_running_sweep_is_not_deleted(walked, run):
    home = walked("done", "t0")
    with Journal(home.sweep("done").journal):
        code, _, err = run("delete", "done", "--yes")
        assert code == 3
        assert "it is being run by pid" in err
    assert home.sweep("done").journal.exists()


def test_a_sweep_with_a_damaged_record_can_be_deleted(walked, run):
    home = walked("done", "t0")
    home.sweep("done").journal.write_bytes(b"{broken}\n")
    assert run("delete", "done", "--yes")[0] == 0
    assert not home.sweep("done").root.exists()


def test_a_login_to_the_tracker_is_not_repeated(walked, run):
    home = walked("done", "t0")
    journal = home.sweep("done").journal
    text = journal.read_text().replace('"uri":null', '"uri":"http://me:planted-secret@host:5000"')
    assert "planted-secret" in text
    journal.write_text(text)
    said = run("delete", "done")[1]
    assert "http://host:5000" in said
    assert "planted-secret" not in said


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "[" * 5000, "{}", '{"format": 1}', '{"format": 1, "system": "toy", "stage": 3, "seeds": [0]}',
     '{"format": 1, "system": "toy", "stage": "tune", "seeds": ["../../x"], "configs": {}, "dataset": {"name": "toy/p"}}',
     '{"format": [1]}'],
)  # fmt: skip
def test_an_export_of_another_form_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "export.json").write_text(content)
    for load in (load_learner, load_policy):
        with pytest.raises(UserError, match=r"is no export|has format|is damaged") as told:
            load(tmp_path)
        assert "\n" not in str(told.value)


def test_an_export_is_not_scored_on_other_data_of_the_same_name(done, run, tmp_path):
    assert run("export", "done", str(tmp_path / "out"))[0] == 0
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    (tmp_path / "out" / "export.json").write_text(
        json.dumps({**about, "dataset": {**about["dataset"], "fingerprint": "0" * 64}})
    )
    with pytest.raises(UserError, match="was learnt from other content than the dataset toy/points has here"):
        load_learner(tmp_path / "out")
