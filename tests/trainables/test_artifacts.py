"""Snapshots on disk: by value, whole, and replaced at once."""

from __future__ import annotations

import math
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from flowsweep.trainables.artifacts import read_snapshot, write_snapshot
from flowsweep.trainables.base import Snapshot


def test_aliased_and_strided_tensors_are_stored_by_value(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "base": base,
        "alias": base,
        "transposed": base.T,
        "row": base[1],
        "scalar": torch.tensor(3),
        "none": torch.zeros(0, 2),
        "none_too": torch.zeros(2, 0),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
    }
    write_snapshot(tmp_path / "step_7", Snapshot(tensors, {"random": 2**80}))
    back = read_snapshot(tmp_path / "step_7")
    assert back.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert torch.equal(back.tensors[name], tensor)
    assert back.meta["random"] == 2**80


def test_writing_a_snapshot_again_replaces_the_older_one(tmp_path):
    write_snapshot(tmp_path / "last", Snapshot({"weights": torch.ones(2)}))
    write_snapshot(tmp_path / "last", Snapshot({"weights": torch.ones(2) * 2}))
    assert read_snapshot(tmp_path / "last").tensors["weights"].unique().item() == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_non_finite_numbers_in_the_json_part_survive(tmp_path):
    write_snapshot(tmp_path / "s", Snapshot({}, {"best": -math.inf, "nested": [{"loss": math.nan}]}))
    meta = read_snapshot(tmp_path / "s").meta
    assert meta["best"] == -math.inf
    assert math.isnan(meta["nested"][0]["loss"])


def test_a_full_disk_is_told_as_such_and_leaves_nothing_half_written(tmp_path):
    # A filesystem of 64 KiB, seen by one process only.
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=64k tmpfs {tmp_path}"
    if not shutil.which("unshare") or subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount in a namespace of their own")
    code = (
        "import sys, pathlib, torch\n"
        "from flowsweep.trainables.base import Snapshot\n"
        "from flowsweep.trainables.checkpoints import Checkpoints\n"
        "from flowsweep.trainables.disk_room import no_room\n"
        "kept, said = Checkpoints(pathlib.Path(sys.argv[1]) / 'tune'), []\n"
        "for step in range(1, 5):\n"
        "    try: kept.save(step, Snapshot({'x': torch.zeros(5000)}, {}))\n"
        "    except OSError as error: said.append(no_room(error))\n"
        "assert said == ['No space left on device'] * 2, said\n"
        "assert sorted(p.name[-1] for p in kept.folder.iterdir()) == ['1', '2']\n"
        "assert kept.latest() is not None\n"
        "print('whole')"
    )
    run = f"{mount} && {shlex.quote(sys.executable)} -c {shlex.quote(code)} {tmp_path}"
    done = subprocess.run([*inside, run], capture_output=True, text=True)
    assert done.stdout.strip() == "whole", done.stderr
