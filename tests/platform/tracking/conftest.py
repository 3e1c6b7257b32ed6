"""A sweep's journal as a driver writes it, and what MLflow makes of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowsweep.platform.journal.events import EVENTS, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import SweepPaths

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


class Sweep:
    """A sweep's folder with a journal that is written as a driver would."""

    def __init__(self, root: Path):
        self.paths = SweepPaths(root)
        self.journal = Journal(self.paths.journal)

    def start(self) -> None:
        dataset = {"name": "D4RL/pointmaze/large-v2", "fingerprint": "f" * 64}
        self.journal.append(SweepStarted(name=self.paths.name, spec={"system": "fidec"}, code_version="0123abc", source={"kind": "dataset", **dataset}, host="here", device="cpu"))  # fmt: skip

    def propose(self, trial: str, kl_radius: float = 0.01) -> None:
        configs = {"refine": {"kl_radius": kl_radius, "steps": 100, "critic": {"layers": [256, 256]}}}
        self.journal.append(TrialProposed(number=int(trial[1:]), phase="search", params={"refine.kl_radius": kl_radius}, configs=configs, seeds=[0, 1], through="refine"), trial)  # fmt: skip

    def report(
        self, trial: str, step: int, value: float = 0.5, kind: str = "progress", metric: str = "critic_loss", **more
    ) -> None:  # fmt: skip
        event = EVENTS[kind](
            stage="refine", step=step, steps=100, seeds=[0, 1], metrics={metric: [value, value + 1]}, cpu_s=1,
            **more,
        )  # fmt: skip
        self.journal.append(event, trial)

    def end(self, trial: str, status: str, reason: str = "", value: float | None = None) -> None:
        self.journal.append(TrialEnded(status=status, reason=reason, value=value), trial)

    def tracked(self, uri: str, experiment: str) -> dict:
        """What MLflow has: run name to (run, points by metric key). Fails when a run is there twice."""
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        runs = {}
        for run in client.search_runs([found.experiment_id], max_results=1000):
            name = run.data.tags["flowsweep.run"]
            assert name not in runs
            histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
            points = {key: [(m.step, m.value) for m in found] for key, found in histories.items()}
            runs[name] = run, points
        return runs


@pytest.fixture
def sweep(tmp_path):
    sweep = Sweep(tmp_path / f"maze-{tmp_path.name[-20:]}")
    yield sweep
    sweep.journal.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
