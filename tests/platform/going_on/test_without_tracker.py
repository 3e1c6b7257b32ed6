"""A sweep that is gone on with does not wait for its tracker."""

from __future__ import annotations

import pytest
from flowsweep.platform.cli import going_on
from flowsweep.platform.errors import Unreachable
from flowsweep.platform.sweep.plan import make_plan


def test_a_dead_tracker_is_told_and_nothing_is_refused(capsys):
    going_on._look_for_tracker("http://127.0.0.1:9", "maze")
    said = capsys.readouterr().out
    assert "tracking.uri: the tracker does not answer" in said
    assert "flowsweep sync maze" in said


def test_only_what_is_new_needs_it(toy_sweep, tmp_path):
    from flowsweep.platform.paths import Home

    spec, home = toy_sweep(tracking={"uri": "http://127.0.0.1:9"}), Home(tmp_path)
    with pytest.raises(Unreachable):
        make_plan(spec, home)
    assert make_plan(spec, home, ask_tracker=False).concurrent
