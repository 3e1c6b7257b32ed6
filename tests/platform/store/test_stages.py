"""The stage store under races, deaths and damage: each output computed once, never half there, never used when wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from flowsweep.platform.store.stages import StageClaim, StageStore
from flowsweep.trainables.artifacts import Damaged, Finished, Held, Provenance
from flowsweep.trainables.base import Snapshot, identity_key

torch.set_num_threads(1)
KEY = identity_key({"stage": "pretrain", "seed": 0})
OTHER = identity_key({"stage": "pretrain", "seed": 1})


@pytest.fixture
def store(tmp_path):
    return StageStore(tmp_path / "stages", heartbeat_s=0.05, stale_s=0.4)


def snapshot(value: float = 1.0) -> Snapshot:
    return Snapshot({"weights": torch.full((1, 3, 4), value)}, {"steps": 7, "loss": float("nan")})


def compute(store: StageStore, key: str = KEY, value: float = 1.0) -> StageClaim:
    claim = store.acquire(key, "t0")
    assert isinstance(claim, StageClaim)
    with claim:
        claim.publish(
            snapshot(value), Provenance(identity={"seed": 0}, cpu_s=12.5, steps=7, code_version="abc")
        )
    return claim


def spawn(code: str, *args: object) -> subprocess.Popen:
    head = (
        "import os, pathlib, sys, time\n"
        "from flowsweep.platform.store.stages import StageClaim, StageStore\n"
        "from flowsweep.trainables.artifacts import Finished, Held, Provenance\n"
        "from flowsweep.trainables.base import Snapshot\n"
        "store, key = StageStore(pathlib.Path(sys.argv[1]), 0.05, float(sys.argv[3])), sys.argv[2]\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *map(str, args)], stdout=subprocess.PIPE, text=True
    )


HOLD = "claim = store.acquire(key, 'dying'); print(type(claim).__name__, flush=True); time.sleep(60)"


def line_of(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_waiting_in_vain_ends_with_the_holder_named(store):
    with store.acquire(KEY, "t0"):
        assert isinstance(store.acquire(KEY, "t1", wait_s=0.1), Held)


def test_eight_processes_racing_for_one_key_compute_it_once(store):
    code = (
        "import torch\n"
        "go, children = time.time() + 0.3, []\n"
        "for _ in range(8):\n"
        "    children.append(os.fork())\n"
        "    if children[-1]: continue\n"
        "    time.sleep(go - time.time())\n"
        "    for n in range(20):\n"
        "        answer = store.acquire(f'{n:064x}', 'racer', wait_s=60)\n"
        "        if isinstance(answer, StageClaim):\n"
        "            with open(sys.argv[4], 'a') as log: log.write(f'{n}\\n')\n"
        "            with answer: answer.publish(Snapshot({'n': torch.tensor(n)}, {}), Provenance())\n"
        "        else: assert isinstance(answer, Finished), answer\n"
        "    os._exit(7)\n"
        "print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])"
    )
    log = store.root.parent / "computed.txt"
    racers = spawn(code, store.root, KEY, 30, log)
    assert line_of(racers) == str([7] * 8)
    assert racers.wait() == 0
    assert Counter(log.read_text().split()) == {str(n): 1 for n in range(20)}
    assert len(store.list()) == 20


def test_the_claim_of_a_killed_process_is_taken_over_at_once_and_says_why(tmp_path):
    patient = StageStore(tmp_path, heartbeat_s=5, stale_s=1000)
    holder = spawn(HOLD, tmp_path, KEY, 1000)
    assert line_of(holder) == "StageClaim"
    assert isinstance(patient.acquire(KEY, "t1"), Held)
    end(holder)
    claim = patient.acquire(KEY, "t1")
    assert isinstance(claim, StageClaim)
    assert claim.reason == f"taken over from dying: its process {holder.pid} has ended"
    claim.release()


def test_the_claim_of_a_frozen_process_lapses_and_both_may_publish(store):
    claim = store.acquire(KEY, "frozen")
    assert isinstance(claim, StageClaim)
    claim._stop()  # No heartbeat any more, as in a frozen process or on a lost machine.
    time.sleep(store.stale_s + 0.1)
    taken = store.acquire(KEY, "t1")
    assert isinstance(taken, StageClaim)
    assert taken.reason is not None
    assert "taken over from frozen: silent on" in taken.reason
    first = claim.publish(snapshot(), Provenance(cpu_s=1))
    assert isinstance(store.acquire(KEY, "t2"), Finished)
    assert taken.publish(snapshot(), Provenance(cpu_s=2)) == first


def test_many_threads_taking_over_one_lapsed_claim_make_one_holder(store):
    for n in range(10):
        key = f"{n:064x}"
        store.acquire(key, "frozen")._stop()  # type: ignore[union-attr]
        os.utime(store.root / "claims" / f"{key}.json", (1, 1))
        barrier, answers = threading.Barrier(8), []

        def take_over(key=key, barrier=barrier, answers=answers):
            barrier.wait()
            answers.append(store.acquire(key, "t1"))

        threads = [threading.Thread(target=take_over) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        claims = [answer for answer in answers if isinstance(answer, StageClaim)]
        assert len(claims) == 1
        assert sum(isinstance(answer, Held) for answer in answers) == 7
        claims[0].release()


def test_a_late_owner_does_not_end_the_claim_of_its_successor(store):
    late = store.acquire(KEY, "late")
    assert isinstance(late, StageClaim)
    late._stop()
    os.utime(store.root / "claims" / f"{KEY}.json", (1, 1))
    successor = store.acquire(KEY, "successor")
    assert isinstance(successor, StageClaim)
    store._release(late)
    assert isinstance(store.acquire(KEY, "t2"), Held)
    successor.release()


def test_a_damaged_output_is_set_aside_and_computed_again(store):
    compute(store)
    damage(store.path(KEY) / "tensors.safetensors")
    claim = store.acquire(KEY, "t1")
    assert isinstance(claim, StageClaim)
    assert claim.reason is not None
    assert "damaged: the SHA-256 of tensors.safetensors" in claim.reason
    assert len(list((store.root / "quarantine").iterdir())) == 1
    with claim:
        claim.publish(snapshot(), Provenance())
    assert isinstance(store.acquire(KEY, "t2"), Finished)


@pytest.mark.parametrize("name", ["tensors.safetensors", "meta.json", "manifest.json"])
def test_damage_to_any_file_is_noticed_on_loading(store, name):
    compute(store)
    store.load(KEY)
    path = store.path(KEY) / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Damaged):
        store.load(KEY)
    with pytest.raises(KeyError):
        store.load(KEY)


def test_a_publisher_killed_at_any_moment_leaves_a_whole_artifact_or_none(tmp_path):
    # One child per system call that could leave something half done, killed just before that call.
    code = (
        "import signal, torch\n"
        "def killing(call, point, calls=[0]):\n"
        "    def wrapped(*a, **k):\n"
        "        calls[0] += 1\n"
        "        if calls[0] == point: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return call(*a, **k)\n"
        "    return wrapped\n"
        "status, point = -signal.SIGKILL, 0\n"
        "while status == -signal.SIGKILL:\n"
        "    point += 1\n"
        "    if (child := os.fork()) == 0:\n"
        "        store = StageStore(store.root / str(point))\n"
        "        claim = store.acquire(key, 'dying')\n"
        "        for name in ('fsync', 'rename', 'replace', 'unlink', 'open', 'mkdir'):\n"
        "            setattr(os, name, killing(getattr(os, name), point))\n"
        "        claim.publish(Snapshot({'w': torch.ones(1000)}, {}), Provenance())\n"
        "        os._exit(7)\n"
        "    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "print(point, status)"
    )
    publishers = spawn(code, tmp_path, KEY, 1000)
    points, status = map(int, line_of(publishers).split())
    assert publishers.wait() == 0
    assert status == 7  # The last child met no more calls to die before.
    whole = []
    for point in range(1, points + 1):
        store = StageStore(tmp_path / str(point))
        answer = store.acquire(KEY, "t1")
        if isinstance(answer, Finished):
            assert torch.equal(store.load(KEY).tensors["w"], torch.ones(1000))
        else:
            assert isinstance(answer, StageClaim)
            assert store.list() == []
            answer.release()
        store.remove_leftovers(older_than_s=-1)
        assert not list((store.root / "aside").glob("*"))
        whole.append(isinstance(answer, Finished))
    # Absent until the rename, there from then on.
    assert whole == sorted(whole)
    assert whole.count(False) > 5
    assert whole.count(True) > 2


def test_an_unchanged_file_is_hashed_once_per_process(store):
    compute(store)
    store.load(KEY)
    path = store.path(KEY) / "tensors.safetensors"
    stat = path.stat()
    damage(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    store.load(KEY)  # Same time, size and inode: this process trusts what it has checked,
    fresh = spawn("print(type(store.acquire(key, 't1')).__name__)", store.root, KEY, 30)
    assert line_of(fresh) == "StageClaim"  # and another one checks for itself.
    fresh.wait()


def test_the_store_lists_sizes_and_costs_and_frees_what_is_removed(store):
    compute(store)
    compute(store, OTHER)
    assert [artifact.key for artifact in store.list()] == [KEY, OTHER]
    artifact = store.list()[0]
    on_disk = sum((artifact.path / name).stat().st_size for name in ("tensors.safetensors", "meta.json"))
    assert artifact.bytes == on_disk
    assert store.remove(KEY) > on_disk
    assert store.remove(KEY) == 0
    assert [artifact.key for artifact in store.list()] == [OTHER]


def test_the_manifest_is_json_anyone_can_read(store):
    compute(store)
    manifest = json.loads((store.path(KEY) / "manifest.json").read_text())
    assert manifest["key"] == KEY
    assert manifest["provenance"]["cpu_s"] == 12.5
    assert set(manifest["digests"]) == {"tensors.safetensors", "meta.json"}
