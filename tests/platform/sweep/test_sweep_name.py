"""When a name is taken: once something is on record under it, and not before."""

from __future__ import annotations

import pytest
from flowsweep.platform.errors import Refused
from flowsweep.platform.going_on.provenance import provenance
from flowsweep.platform.going_on.taking_up import Going, check_going
from flowsweep.platform.journal.events import SweepStarted
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse


def test_a_driver_that_died_before_the_first_fact_has_not_taken_the_name(toy_system, tmp_path):
    home = Home(tmp_path)
    spec = {"name": "early", "system": "toy", "dataset": "toy/points", "objective": {"metric": "tune/return"}}
    plan, paths = make_plan(parse(SweepSpec, spec), home), home.sweep("early")
    with Journal(paths.journal):
        pass
    check_going(plan, paths, Going())
    with Journal(paths.journal) as journal:
        journal.append(SweepStarted(**provenance(plan)))
    with pytest.raises(Refused, match="a sweep of this name exists"):
        check_going(plan, paths, Going())
    check_going(plan, paths, Going(resume=True))
