"""Names and paths that others write cannot lead out of the folder they belong in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowsweep.cluster.relay import relay
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import Entry, TrialProposed, TrialRetried
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.paths import Home
from flowsweep.platform.report.figures import media_pictures
from flowsweep.platform.store.base import checked_key
from flowsweep.platform.store.object_files import checked_address
from flowsweep.platform.tracking.place import Target
from flowsweep.platform.tracking.sender import Sender
from flowsweep.trainables.data.dataset import EvaluationSpec
from flowsweep.trainables.data.names import parse_name
from flowsweep.trainables.envs.build import make_environment
from flowsweep.trainables.events import Produced

WAYS_OUT = (
    "..", "../x", "a/../../x", "/etc/passwd", "a/b", "a\\b", "a\0b", ".hidden", "", " ", "a\n", "a" * 81, "~root",
    "naïve", "a\u2215b", "\u202egpj", "a\u0000", "ａ", "%2e%2e", "$HOME", "a b", "-", "a;b",
)  # fmt: skip


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_sweep_name_leads_out_of_the_home(tmp_path, name):
    with pytest.raises(UserError, match="must be 1 to 80 letters"):
        Home(tmp_path).sweep(name)


@pytest.mark.parametrize("name", ["..", "../other", "/etc"])
def test_no_name_sent_to_the_cluster_leads_out_of_its_home(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path))
    with pytest.raises(UserError):
        relay([name])


@pytest.mark.parametrize(
    "name",
    [*WAYS_OUT, "../a-v0", "/a-v0", "a/../b-v0", "a//b-v0", "a\0-v0", "ä-v0", "a/b/c/d/e/f-v0", f"{'a' * 200}-v0", "a-v0\n", "a-v0#task0"],
)  # fmt: skip
def test_no_dataset_id_leads_out_of_the_datasets(name):
    with pytest.raises(UserError, match="must be a Minari id"):
        parse_name(name)


@pytest.mark.parametrize("key", ["..", "a" * 63, "A" * 64, "/" + "a" * 63, "a" * 64 + "\n", "../" + "a" * 61])
def test_no_stage_key_is_anything_but_a_digest(key):
    with pytest.raises(ValueError, match="not a stage key"):
        checked_key(key)


@pytest.mark.parametrize(
    "place", ["s3://b", "s3://bucket/a/../b", "s3://bucket/a/./b", "s3://bucket/a//b", "s3:///p"]
)
def test_no_object_address_leads_out_of_its_prefix(place):
    with pytest.raises(UserError, match="names no bucket and prefix"):
        checked_address(place, "storage.stages")


@pytest.fixture
def sweep(tmp_path):
    """A sweep whose record names artifacts outside it, and a link to the outside within it."""
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"\x89PNG not yours")
    paths = Home(tmp_path / "home").sweep("s")
    (paths.trials / "t0").mkdir(parents=True)
    (paths.trials / "t0" / "link.png").symlink_to(outside)
    os.symlink(tmp_path, paths.trials / "t0" / "folder")
    named = [
        "../../../outside.png",
        str(outside),
        "trials/t0/link.png",
        "trials/t0/folder/outside.png",
        "trials/../../../../outside.png",
    ]
    with Journal(paths.journal) as journal:
        journal.append(TrialProposed(), "t0")
        for name in named:
            journal.append(Produced(path=name, role="media"), "t0")
    return paths, named


@pytest.mark.parametrize("trial", ["../../other", "..", "/etc", "t0/../../x"])
def test_no_trials_name_in_a_record_leads_out_of_the_sweep(tmp_path, trial):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(TrialRetried(failure="preempted"), trial)
    with pytest.raises(UserError, match="the record is damaged at line 1"):
        list(read(tmp_path / "journal.jsonl"))


def test_no_picture_from_outside_comes_into_a_report(sweep):
    paths, named = sweep
    facts = [
        Entry(seq=i, time=0.0, trial="t0", event=Produced(path=name, role="media"))
        for i, name in enumerate(named)
    ]
    record = SweepState.of([Entry(seq=0, time=0.0, trial="t0", event=TrialProposed()), *facts], paths)
    assert len(record.trials["t0"].artifacts) == len(named)
    assert media_pictures(record) == []


def test_no_file_from_outside_goes_to_the_tracker(sweep, tmp_path):
    class Nobody:
        """Fails the test if anything is uploaded."""

        def __getattr__(self, name):
            raise AssertionError(f"{name} was called")

    paths, named = sweep
    sender = Sender(paths, Target("sqlite:////nowhere/mlflow.db", "e"))
    for name in named:
        sender._upload(Nobody(), "run", name, "media")  # type: ignore[arg-type]
    assert len(sender.place.refused) == len(named)


def test_no_dataset_names_a_module_that_is_then_imported(tmp_path, monkeypatch):
    (tmp_path / "planted_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = EvaluationSpec(
        library="gymnasium", id="planted_module:Env-v0", kwargs={}, observation_keys=(), action_low=(-1.0,),
        action_high=(1.0,), max_episode_steps=10,
    )  # fmt: skip
    with pytest.raises(UserError, match="without a module to import"):
        make_environment(spec)
    assert not Path(tmp_path / "ran").exists()
