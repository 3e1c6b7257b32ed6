"""Which stage store is meant, what is refused, and commands and walks on one in an object store."""

from __future__ import annotations

import json
import pickle
import threading
import time
import uuid
from pathlib import Path

import pytest
import torch
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.paths import Home
from flowsweep.platform.store.base import StageClaim
from flowsweep.platform.store.object_files import check_writable, checked_address
from flowsweep.platform.store.object_store import ObjectStore
from flowsweep.platform.store.opening import check_store, is_shared, open_store
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.artifacts import Finished, Provenance
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.walk import Walk


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Home:
    monkeypatch.delenv("FLOWSWEEP_STAGES", raising=False)
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


@pytest.fixture
def place(s3_endpoint) -> str:
    return f"s3://flowsweep/{uuid.uuid4().hex}"


@pytest.fixture
def walk(toy_sweep, tmp_path: Path):
    """One toy trial over a store; its events."""
    configs = resolve(toy_sweep()).trial_configs({"tune.offset": 2.0})

    def go(store, trial: str) -> list:
        request = TrialRequest(
            trial=trial, system="toy", source=SourceRef(kind="dataset", name="toy/points"),
            configs=configs, seeds=(0,), through="tune", episodes=2
        )  # fmt: skip
        return list(Walk(request, store, tmp_path / trial))

    return go


def test_the_store_is_the_sweeps_own_else_the_environments_else_the_homes(home, monkeypatch, tmp_path):
    assert open_store(home) == StageStore(home.stages)
    monkeypatch.setenv("FLOWSWEEP_STAGES", "s3://team/stages")
    found = open_store(home)
    assert isinstance(found, ObjectStore)
    assert found.place == "s3://team/stages"
    assert open_store(home, str(tmp_path / "team")) == StageStore(tmp_path / "team")
    assert open_store(home, f"file://{tmp_path}/team") == StageStore(tmp_path / "team")
    assert isinstance(open_store(home, "gs://team/stages"), ObjectStore)
    assert [
        is_shared(open_store(home, p), home) for p in (None, str(home.stages), str(tmp_path / "team"))
    ] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("place", "rule"),
    [
        ("ftp://host/stages", "is no kind of store known here"),
        ("s3:///stages", "names no bucket and prefix"),
        ("s3://bucket/a/../../other", "names no bucket and prefix"),
        ("s3://bucket/a//b", "names no bucket and prefix"),
        ("s3://bucket/a/%2e%2e/b", "names no bucket and prefix"),
        ("s3://bucket/a?endpoint=x", "the option 'endpoint' is not known"),
        ("stages", "needs an absolute path"),
    ],
)
def test_a_place_that_cannot_be_a_store_is_refused_with_the_rule(home, place, rule):
    with pytest.raises(UserError, match=rule) as refused:
        open_store(home, place)
    assert refused.value.key == "storage.stages"


def test_credentials_in_an_address_are_refused_and_not_repeated(toy_sweep, home):
    for address in ("s3://AKIAX:planted-secret@bucket/stages", "gs://planted-secret@bucket/stages"):
        with pytest.raises(UserError, match="must not hold credentials") as refused:
            open_store(home, address)
        assert "planted-secret" not in str(refused.value)
        with pytest.raises(UserError, match="must not hold credentials"):
            toy_sweep(storage={"stages": address})
    assert checked_address("s3://bucket/a/b?region=eu-central-1", "k").path == "bucket/a/b"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://flowsweep/stages?endpoint_override=http://127.0.0.1:9", "nothing answers at that address"),
        ("s3://no-such-bucket/stages", "there is no such bucket"),
        ("s3://flowsweep/stages?endpoint_override=http://no.such.host.invalid", "name cannot be resolved"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_within_ten_seconds(s3_endpoint, home, place, said):
    started_s = time.monotonic()
    with pytest.raises(Unreachable, match=said) as told:
        check_store(home, place)
    assert time.monotonic() - started_s < 10
    assert told.value.key == "storage.stages"


def test_a_server_that_never_answers_is_given_up(s3_endpoint):
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"s3://flowsweep/x?endpoint_override=http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="no answer within 1 s"):
            check_writable(place, "storage.stages", timeout_s=1.0)


def test_a_store_that_falls_silent_is_asked_again_and_then_given_up(place, s3_endpoint, home, monkeypatch):
    monkeypatch.setattr("flowsweep.platform.store.object_store.PAUSES_S", (0.3,) * 20)
    store = open_store(home, place)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    back = threading.Timer(1.0, lambda: monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint))
    back.start()
    claim = store.acquire("0" * 64, "t0")
    back.join()
    assert isinstance(claim, StageClaim)
    claim.release()
    monkeypatch.setattr("flowsweep.platform.store.object_store.PAUSES_S", (0.01,))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="the stage store does not answer: nothing answers at that address"):
        store.acquire("0" * 64, "t0")


def test_neither_plan_nor_copies_hold_the_credentials(walk, place, s3_endpoint, home, toy_sweep, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    store = open_store(home, place)
    walk(store, "t0")
    assert "planted-secret" not in str(make_plan(toy_sweep(storage={"stages": place}), home).to_json())
    assert b"planted-secret" not in pickle.dumps(store)
    assert not [p for p in home.root.rglob("*") if p.is_file() and b"planted-secret" in p.read_bytes()]


def test_a_plan_with_an_unreachable_store_ends_before_anything_starts(toy_sweep, home, s3_endpoint):
    with pytest.raises(Unreachable, match="there is no such bucket"):
        make_plan(toy_sweep(storage={"stages": "s3://no-such-bucket/stages"}), home)


def test_trials_of_two_homes_share_a_stage_through_an_object_store(walk, place, home, tmp_path):
    first = walk(open_store(home, place), "t0")
    second = walk(open_store(Home(tmp_path / "other"), place), "t1")
    (computed,) = [e for e in first if e.kind == "stage_computed"]
    (reused,) = [e for e in second if e.kind == "stage_reused"]
    assert (reused.key, reused.saved_cpu_s) == (computed.key, computed.cpu_s)
    scores = [[e.metrics for e in events if e.kind == "evaluated"] for events in (first, second)]
    assert scores[0] == scores[1]
    assert list((tmp_path / "home" / "stage-cache").rglob("tensors.safetensors"))


def test_a_plan_counts_what_the_object_store_has(walk, toy_sweep, place, home):
    spec = toy_sweep(storage={"stages": place}, seeds={"tune": [0], "test": [10]})
    assert make_plan(spec, home).stages[0].stored == 0
    walk(open_store(home, place), "t0")
    assert make_plan(spec, home).stages[0].stored == 1


def test_the_commands_list_and_free_what_lies_in_an_object_store(walk, place, home, run):
    (key,) = [e.key for e in walk(open_store(home, place), "t0") if e.kind == "stage_computed"]
    code, said, _ = run("stages", "--store", place, "--json")
    (row,) = json.loads(said)["stages"]
    assert (code, row["key"]) == (0, key)
    assert row["path"] == f"{place}/v1/{key[:2]}/{key}"
    assert json.loads(run("stages", "--json")[1])["stages"] == []
    told = json.loads(run("gc", "--store", place, "--budget", "0B", "--json")[1])
    (kept,) = [d for d in told["decisions"] if d["item"]["kind"] == "artifact"]
    assert kept["action"] == "keep"
    assert "within 30 d" in kept["reason"]
    assert run("gc", "--store", place, "--budget", "0B", "--older-than", "0d", "--yes")[0] == 0
    assert open_store(home, place).has(key)  # used within the hour


def test_a_stored_output_may_go_once_it_is_old_enough(walk, place, home, monkeypatch):
    from flowsweep.platform.store.collect import Limits, decide
    from flowsweep.platform.store.collect_disk import carry_out, survey

    store = open_store(home, place)
    walk(store, "t0")
    limits = Limits(budget_bytes=0, grace_s=-60.0)
    decisions = decide(survey(home, store), limits)
    freed = [c for c in carry_out(decisions, home, limits, lambda c: None, store) if not c.problem]
    assert [c.decision.item.kind for c in freed] == ["artifact"]
    assert freed[0].freed_bytes > 0
    assert store.list() == []


def test_copies_nobody_has_read_for_a_day_go_and_come_back_when_needed(walk, place, home):
    import os

    from flowsweep.platform.store.collect import Limits, decide
    from flowsweep.platform.store.collect_disk import carry_out, survey

    store = open_store(home, place)
    (key,) = [e.key for e in walk(store, "t0") if e.kind == "stage_computed"]
    (copy,) = (home.root / "stage-cache").glob("*/??/*")
    assert not [d for d in decide(survey(home, store), Limits()) if d.action == "drop"]
    os.utime(copy / "manifest.json", (1, time.time() - 2 * 86_400))
    decisions = decide(survey(home, store), Limits())
    assert [(d.item.kind, d.action) for d in decisions if d.item.kind == "copy"] == [("copy", "drop")]
    carry_out(decisions, home, Limits(), lambda c: None, store)
    assert not copy.exists()
    assert isinstance(store.acquire(key, "t1"), Finished)
    assert copy.exists()


def test_a_publisher_broken_off_before_its_manifest_leaves_nothing_that_counts(place, home, monkeypatch):
    from flowsweep.platform.store import object_copies

    store, key = open_store(home, place), "0" * 64
    write = object_copies.put

    def broken(files, path, content):
        if path.endswith("manifest.json"):
            raise KeyboardInterrupt
        write(files, path, content)

    claim = store.acquire(key, "dying")
    assert isinstance(claim, StageClaim)
    with monkeypatch.context() as patch:
        patch.setattr(object_copies, "put", broken)
        with pytest.raises(KeyboardInterrupt):
            claim.publish(Snapshot({"x": torch.ones(1000)}, {}), Provenance())
    claim.release()
    assert not store.has(key)
    (left,) = store.leftovers()
    assert left.bytes > 4000
    again = store.acquire(key, "t1")
    assert isinstance(again, StageClaim)
    with again:
        again.publish(Snapshot({"x": torch.ones(1000)}, {}), Provenance())
    assert store.load(key).tensors["x"].sum().item() == 1000
    assert store.remove_leftover(left.name) == left.bytes
    assert store.has(key)
    assert [other.kind for other in store.leftovers()] == ["copy"]


def test_the_doctor_asks_the_store_the_environment_names(place, home, monkeypatch):
    from flowsweep.platform.doctor.checkup import check_stages

    assert list(check_stages(home)) == []
    monkeypatch.setenv("FLOWSWEEP_STAGES", place)
    (finding,) = check_stages(home)
    assert (finding.level, finding.what) == ("ok", f"{place} takes and gives back an object")
    monkeypatch.setenv("FLOWSWEEP_STAGES", "s3://no-such-bucket/stages")
    with pytest.raises(Unreachable, match="there is no such bucket"):
        list(check_stages(home))


def test_the_stages_command_says_which_sweeps_keep_theirs_elsewhere(toy_sweep, home, run, tmp_path):
    from flowsweep.platform.journal.journal import Journal

    spec = toy_sweep(name="away", storage={"stages": str(tmp_path / "team")}).model_dump(mode="json")
    with Journal(home.sweep("away").journal) as journal:
        journal.append(SweepStarted(name="away", spec=spec))
    said = run("stages")[1]
    assert f"1 sweep keeps its stages in {tmp_path / 'team'}" in " ".join(said.split())
    assert "keeps its stages" not in run("stages", "--store", str(tmp_path / "team"))[1]
