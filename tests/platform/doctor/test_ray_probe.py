"""Whether Ray works is asked of a process that may hang, die or fail without harm to whoever asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from flowsweep.platform.doctor.ray_probe import answer_of


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import time; time.sleep(60)", "no answer within 1 s"),
        ("import sys; sys.exit('the daemon could not start')", "the daemon could not start"),
        ("import os; os.abort()", "exit status -6"),
        (
            "import sys; print('InvalidAuthToken: no', file=sys.stderr); print('{\"failure\": \"no\"}')",
            "asks for a token",
        ),
        ("print('chatter'); print('{\"failure\": \"said\"}'); print('more')", "said"),
    ],
)
def test_a_ray_that_hangs_dies_or_fails_is_told_and_ends_nobody_else(code, failure):
    assert failure in answer_of([sys.executable, "-c", code], timeout_s=1 if "sleep" in code else 30).failure


def test_what_a_hanging_probe_has_started_ends_with_it(tmp_path):
    told = tmp_path / "child"
    code = (
        "import pathlib, subprocess, sys, time; child = subprocess.Popen(['sleep', '60'], start_new_session=True); "
        f"pathlib.Path({str(told)!r}).write_text(str(child.pid)); time.sleep(60)"
    )
    assert answer_of([sys.executable, "-c", code], timeout_s=2).failure
    child = Path(f"/proc/{told.read_text()}/stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
