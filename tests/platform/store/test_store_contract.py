"""What every form of the stage store promises: a folder, and object stores on real servers of S3's and Google's protocol.

The object form also runs over a plain folder through pyarrow, which is cheap and tells times finely.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flowsweep.platform.store.base import StageClaim
from flowsweep.platform.store.object_store import ObjectStore
from flowsweep.platform.store.stages import StageStore
from flowsweep.trainables.artifacts import Damaged, Finished, Held, Provenance
from flowsweep.trainables.base import Snapshot, identity_key

torch.set_num_threads(1)
KEY = identity_key({"stage": "pretrain", "seed": 0})
OTHER = identity_key({"stage": "pretrain", "seed": 1})


@dataclass(frozen=True)
class Form:
    """A store under test, and the hands to reach beneath it."""

    store: Any
    elsewhere: Callable[[], Any]
    """The same store as another machine sees it: without this one's copies."""
    spoil: Callable[[str, str], None]
    """Damage a file of a key."""


def folder_form(tmp_path: Path) -> Form:
    store = StageStore(tmp_path / "stages", heartbeat_s=0.05, stale_s=0.5)

    def spoil(key: str, name: str) -> None:
        path = store.path(key) / name
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    return Form(store, lambda: store, spoil)


def object_form(place: str, tmp_path: Path) -> Form:
    from flowsweep.platform.store.object_copies import folder_of, look, manifests, publication
    from flowsweep.platform.store.object_files import files_at, get, put

    store = ObjectStore(place, tmp_path / "cache", heartbeat_s=0.1, stale_s=1.5)

    def spoil(key: str, name: str) -> None:
        path = f"{publication(manifests(look(place, folder_of(key)))[0])}/{name}"
        put(files_at(place), path, get(files_at(place), path)[:-1] + b"!")

    return Form(store, lambda: replace(store, cache=tmp_path / uuid.uuid4().hex), spoil)


@pytest.fixture(params=["folder", "objects in a folder", "s3", "gcs"])
def form(request, tmp_path: Path) -> Form:
    if request.param == "folder":
        return folder_form(tmp_path)
    if request.param == "s3":
        request.getfixturevalue("s3_endpoint")
        return object_form(f"s3://flowsweep/{uuid.uuid4().hex}", tmp_path)
    if request.param == "gcs":
        return object_form(request.getfixturevalue("gcs_place"), tmp_path)
    (tmp_path / "objects").mkdir()
    return object_form(f"file://{tmp_path}/objects", tmp_path)


def snapshot(value: float = 1.0) -> Snapshot:
    return Snapshot({"weights": torch.full((1, 3, 4), value)}, {"steps": 7, "loss": float("nan")})


def compute(store, key: str = KEY, value: float = 1.0) -> StageClaim:
    claim = store.acquire(key, "t0")
    assert isinstance(claim, StageClaim)
    with claim:
        claim.publish(snapshot(value), Provenance({"seed": 0}, cpu_s=12.5, steps=7, code_version="abc"))
    return claim


def test_an_output_is_computed_by_the_first_and_reused_everywhere(form):
    assert not form.store.has(KEY)
    assert compute(form.store).reason is None
    for store in (form.store, form.elsewhere(), pickle.loads(pickle.dumps(form.store))):
        found = store.acquire(KEY, "t1")
        assert isinstance(found, Finished)
        assert found.artifact.provenance == Provenance({"seed": 0}, 12.5, 0.0, 7, "abc")
        loaded = store.load(KEY)
        assert torch.equal(loaded.tensors["weights"], snapshot().tensors["weights"])
        assert loaded.meta["steps"] == 7
        assert loaded.meta["loss"] != loaded.meta["loss"]
    assert form.store.has(KEY)
    with pytest.raises(KeyError):
        form.store.load(OTHER)


def test_whoever_comes_second_is_told_who_computes_it_until_it_is_given_back(form):
    with form.store.acquire(KEY, "t0"):
        held = form.elsewhere().acquire(KEY, "t1")
        assert isinstance(held, Held)
        assert held.holder == "t0"
        assert abs(held.since - time.time()) < 60
        assert form.store.held_by(KEY).startswith("t0 on ")
        other = form.store.acquire(OTHER, "t1")
        assert isinstance(other, StageClaim)
        other.release()
    assert form.store.held_by(KEY) == ""
    again = form.elsewhere().acquire(KEY, "t1")
    assert isinstance(again, StageClaim)
    again.release()


def test_waiting_ends_with_the_artifact_when_the_holder_publishes(form):
    claim = form.store.acquire(KEY, "t0")
    publisher = threading.Timer(0.2, lambda: claim.publish(snapshot(), Provenance()))
    publisher.start()
    assert isinstance(form.elsewhere().acquire(KEY, "t1", wait_s=60), Finished)
    publisher.join()


def test_a_heartbeat_keeps_a_claim_far_beyond_the_stale_time(form):
    other = form.elsewhere()
    with form.store.acquire(KEY, "t0"):
        ends = time.monotonic() + 3 * form.store.stale_s
        while time.monotonic() < ends:
            assert isinstance(other.acquire(KEY, "t1"), Held)
            time.sleep(0.1)


def test_the_claim_of_a_frozen_process_lapses_and_the_first_to_publish_is_kept(form):
    frozen = form.store.acquire(KEY, "frozen")
    frozen._stop()  # No heartbeat any more, as in a frozen process or on a lost machine.
    other = form.elsewhere()
    deadline = time.monotonic() + 60
    while isinstance(taken := other.acquire(KEY, "t1"), Held) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert isinstance(taken, StageClaim)
    assert taken.reason is not None
    assert "taken over from frozen: " in taken.reason
    frozen.publish(snapshot(1.0), Provenance(cpu_s=1))
    assert taken.publish(snapshot(2.0), Provenance(cpu_s=2)).provenance.cpu_s == 1
    assert form.elsewhere().load(KEY).tensors["weights"].unique().item() == 1.0
    assert form.store.held_by(KEY) == ""


def test_the_claim_of_a_killed_process_is_taken_over_at_once(form):
    code = (
        "import pickle, sys, time\n"
        "store = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(type(store.acquire(sys.argv[2], 'dying')).__name__, flush=True); time.sleep(120)"
    )
    patient = replace(form.store, stale_s=1000, heartbeat_s=0.05)
    argv = [sys.executable, "-c", code, pickle.dumps(patient).hex(), KEY]
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "StageClaim"
    assert isinstance(patient.acquire(KEY, "t1"), Held)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    time.sleep(0.1)
    claim = patient.acquire(KEY, "t1")
    assert isinstance(claim, StageClaim)
    assert claim.reason == f"taken over from dying: its process {holder.pid} has ended"
    claim.release()


def test_threads_racing_for_a_key_make_one_holder(form):
    for n in range(3):
        key, barrier, answers = f"{n:064x}", threading.Barrier(4), []

        def race(key=key, barrier=barrier, answers=answers):
            barrier.wait()
            answers.append(form.store.acquire(key, "t1"))

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claims = [answer for answer in answers if isinstance(answer, StageClaim)]
        assert len(claims) == 1
        claims[0].release()


@pytest.mark.parametrize("name", ["tensors.safetensors", "meta.json"])
def test_damage_is_noticed_never_used_and_computed_again_with_the_reason(form, name):
    compute(form.store)
    form.spoil(KEY, name)
    with pytest.raises(Damaged, match=f"the SHA-256 of {name}"):
        form.elsewhere().load(KEY)
    with pytest.raises(KeyError):
        form.elsewhere().load(KEY)
    assert [left.bytes > 0 for left in form.store.leftovers() if left.kind == "leftover"] == [True]
    claim = form.elsewhere().acquire(KEY, "t1")
    assert isinstance(claim, StageClaim)
    with claim:
        claim.publish(snapshot(3.0), Provenance())
    assert form.elsewhere().load(KEY).tensors["weights"].unique().item() == 3.0


def test_whoever_finds_the_damage_while_asking_is_told(form):
    compute(form.store)
    form.spoil(KEY, "tensors.safetensors")
    claim = form.elsewhere().acquire(KEY, "t1")
    assert isinstance(claim, StageClaim)
    assert claim.reason is not None
    assert "damaged: the SHA-256 of tensors.safetensors" in claim.reason
    claim.release()


def test_the_store_lists_sizes_uses_and_costs_and_frees_what_is_removed(form):
    compute(form.store)
    compute(form.store, OTHER)
    first, second = form.store.list()
    assert (first.key, second.key) == (KEY, OTHER)
    assert first.provenance.cpu_s == 12.5
    assert first.stored_bytes > first.bytes > 0
    assert abs(first.last_used - time.time()) < 60
    assert form.store.last_used(KEY) == pytest.approx(first.last_used, abs=5)
    assert form.store.remove(KEY) == first.stored_bytes
    assert form.store.remove(KEY) == 0
    assert not form.store.has(KEY)
    assert form.store.last_used(KEY) == 0
    assert [artifact.key for artifact in form.store.list()] == [OTHER]
    again = form.store.acquire(KEY, "t1")
    assert isinstance(again, StageClaim)
    again.release()


def test_a_key_that_is_no_digest_never_becomes_a_path(form):
    for key in ("../../etc/passwd", "abc", KEY.upper()):
        with pytest.raises(ValueError, match="not a stage key"):
            form.store.acquire(key, "t0")
