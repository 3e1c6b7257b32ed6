"""When a name is taken: once something is on record under it, and not before."""

from __future__ import annotations

import pytest
from flowsweep.platform.driver import _claim_name
from flowsweep.platform.errors import Refused
from flowsweep.platform.journal import Journal
from flowsweep.platform.paths import Home


def test_a_driver_that_died_before_the_first_fact_has_not_taken_the_name(tmp_path):
    paths = Home(tmp_path).sweep("early")
    with Journal(paths.journal) as journal:
        _claim_name(paths, resume=False)
        journal.append("sweep_started", name="early")
    with pytest.raises(Refused, match="a sweep of this name exists"):
        _claim_name(paths, resume=False)
    _claim_name(paths, resume=True)
