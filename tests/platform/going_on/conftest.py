"""Whole sweeps of the toy system in this process: trials are placed by us instead of Ray."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import optuna
import pytest
from flowsweep.platform import driver
from flowsweep.platform.going_on.extension import checked_extension
from flowsweep.platform.going_on.taking_up import Going
from flowsweep.platform.journal.events import Entry
from flowsweep.platform.journal.journal import read
from flowsweep.platform.journal.state import read_sweep
from flowsweep.platform.paths import Home
from flowsweep.platform.running.ray_bridge import Marshal, TrialQueue
from flowsweep.platform.sweep.plan import make_plan
from flowsweep.platform.sweep.room import Node
from flowsweep.platform.sweep.spec import load_spec
from flowsweep.trainables.events import event_of
from flowsweep.trainables.failures import Failure
from flowsweep.trainables.tune import StageWalk
from ray.tune.search import Searcher


def place(plan, paths, queue: TrialQueue, marshal: Marshal, store) -> None:
    """One trial after the other, as a single worker of Ray would take them."""
    number, desk = 0, marshal._desk
    while (config := queue.suggest(str(number))) != Searcher.FINISHED:
        if not config:
            continue
        trial, walk = config["request"]["trial"], StageWalk.__new__(StageWalk)
        walk.setup(config, store, paths.root)
        action = "continue"
        while action == "continue":
            said = walk.step()
            failure = Failure.from_json(said["failure"]) if said["failure"] else None
            events = [event_of(event) for event in said["events"]]
            decision = desk.receive(trial, events, said["complete"], failure, said["left"])
            action = decision.action
        if action == "retry":
            queue.take_up_again(str(number), decision.lanes)
        queue.on_trial_complete(str(number))
        number += 1


class NoTracker:
    def close(self, *_):
        return 0


class Sweep:
    """A sweep of the toy system under a name, and what is on record of it."""

    def __init__(self, home: Home, spec):
        self.home, self.spec, self.paths = home, spec, home.sweep(spec.name)
        self.said: list[Entry] = []

    def run(self, **how):
        plan = make_plan(self.spec, self.home)
        return driver.run_sweep(plan, self.home, watch=self.said.append, going=Going(**how))

    def resume(self, changes: dict[str, str] | None = None, **how):
        checked_extension(changes or {}, self.paths)
        self.spec = load_spec(self.paths.spec, changes)
        return self.run(resume=True, **how)

    def facts(self, *kinds: str) -> list[Entry]:
        return [fact for fact in read(self.paths.journal) if not kinds or fact.event.kind in kinds]

    def steps_scored(self, trial: str) -> list[int]:
        """Where a trial was scored in its own stage."""
        return [f.event.step for f in self.facts("evaluated") if f.trial == trial and f.event.stage == "tune"]

    def endings(self) -> dict[str, str]:
        trials = read_sweep(self.paths).trials
        return {name: str(trial.status) for name, trial in trials.items() if trial.status.has_ended}

    def study(self, name: str | None = None) -> optuna.Study:
        return optuna.load_study(study_name=name or self.spec.name, storage=self.paths.study)


@pytest.fixture
def sweep(toy_sweep, tmp_path: Path, monkeypatch):
    """Build a sweep with changes to the toy's; nothing but the placing and the tracker is other than in a real one."""
    monkeypatch.setattr(driver, "connection", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(driver, "places", partial(driver.places, look=lambda: [Node({"CPU": 1.0})]))
    monkeypatch.setattr(driver, "_place", place)
    monkeypatch.setattr(driver, "_tracker", lambda *_: NoTracker())
    monkeypatch.setattr(driver, "conclude", lambda *_: None)
    quick = {"stop": {"rule": "none"}, "confirm": {"top": 0, "baselines": []}, "search": {"trials": 3}}
    return lambda **changes: Sweep(Home(tmp_path), toy_sweep(**{**quick, **changes}))
