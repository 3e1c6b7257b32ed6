"""A full disk is known for what it is, whoever says so."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest
import torch
from flowsweep.trainables.disk_room import no_room
from flowsweep.trainables.failures import Failure, classified, log_of
from safetensors import SafetensorError
from safetensors.torch import save_file

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
def test_python_says_so_and_the_trial_leaves_no_traceback_that_would_not_fit_either(tmp_path: Path):
    with pytest.raises(OSError, match="No space") as raised:
        FULL.write_text("x")
    assert classified(raised.value) == Failure("disk_full", "No space left on device")
    assert log_of(raised.value, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_safetensors_says_so_in_words_of_its_own(tmp_path: Path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SafetensorError) as raised:
            save_file({"x": torch.zeros(100_000)}, tmp_path / "tensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert no_room(raised.value) == "File too large"


def test_behind_another_error_it_is_still_seen_and_other_errors_are_none():
    publishing = RuntimeError("publishing failed")
    publishing.__cause__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert no_room(publishing) == "Disk quota exceeded"
    assert no_room(OSError(errno.EACCES, "Permission denied")) is None
    assert classified(ValueError("space")).failure_class == "code_error"
