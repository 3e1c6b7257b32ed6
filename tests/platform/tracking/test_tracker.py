"""The tracker against real MLflow: everything arrives exactly once, whatever dies in between."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from flowsweep.platform.errors import Unreachable, UserError
from flowsweep.platform.paths import SweepPaths
from flowsweep.platform.record.journal import Fact, Journal
from flowsweep.platform.tracking.check import check_tracker, checked_uri
from flowsweep.platform.tracking.runs import SWEEP, stage_run, translate, trial_run
from flowsweep.platform.tracking.tracker import Tracker, catch_up, tracker_status

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
KEY = "ab" * 32


def progress(step: int, value: float = 0.5, kind: str = "progress", metric: str = "critic_loss") -> dict:
    metrics = {metric: [value, value + 1]}
    return {
        "kind": kind,
        "stage": "refine",
        "step": step,
        "steps": 100,
        "seeds": [0, 1],
        "metrics": metrics,
        "cpu_s": 1,
    }


class Sweep:
    """A sweep's folder with a journal that is written as a driver would."""

    def __init__(self, root: Path):
        self.paths = SweepPaths(root)
        self.journal = Journal(self.paths.journal)

    def start(self) -> None:
        dataset = {"name": "D4RL/pointmaze/large-v2", "fingerprint": "f" * 64}
        self.journal.append(
            "sweep_started",
            name=self.paths.name,
            spec={"system": "fidec"},
            code_version="0123abc",
            dataset=dataset,
            host="here",
            device="cpu",
        )

    def propose(self, trial: str, kl_radius: float = 0.01) -> None:
        self.journal.append(
            "trial_proposed",
            trial,
            number=int(trial[1:]),
            phase="search",
            params={"refine.kl_radius": kl_radius},
            configs={"refine": {"kl_radius": kl_radius, "steps": 100, "critic": {"layers": [256, 256]}}},
            seeds=[0, 1],
            through="refine",
        )

    def say(self, trial: str, **event) -> None:
        self.journal.append(event.pop("kind"), trial, **event)

    def end(self, trial: str, status: str, reason: str = "", value: float | None = None) -> None:
        self.journal.append("trial_ended", trial, status=status, reason=reason, value=value)


@pytest.fixture
def sweep(tmp_path):
    sweep = Sweep(tmp_path / f"maze-{tmp_path.name[-20:]}")
    yield sweep
    sweep.journal.close()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def recorded(uri: str, experiment: str) -> dict:
    """What MLflow has: run name within the sweep to (run, points by metric key). Fails when a run is there twice."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = {}
    for run in client.search_runs([found.experiment_id], max_results=1000):
        name = run.data.tags["flowsweep.run"]
        assert name not in runs
        histories = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        runs[name] = (run, {key: [(m.step, m.value) for m in points] for key, points in histories.items()})
    return runs


def test_a_sweep_its_trials_and_its_stages_become_runs_that_point_at_each_other(sweep, database):
    sweep.start()
    sweep.propose("t0")
    sweep.journal.append(
        "stage_computed", "t0", stage="pretrain", key=KEY, seed=0, steps=9, cpu_s=3.5, wall_s=4, bytes=7
    )
    sweep.say("t0", **progress(50))
    sweep.say("t0", **progress(100, 0.25, "evaluated", "success_rate"), episodes=[{}, {}], episodes_spent=20)
    for place in ("t0/config.json", "t0/step_100/tensors.safetensors"):
        path = sweep.paths.trials / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(place)
    sweep.journal.append("artifact", "t0", path="trials/t0/config.json", role="config")
    sweep.journal.append("artifact", "t0", path="trials/t0/step_100", role="checkpoint")
    sweep.end("t0", "finished", "all steps done", 0.75)
    sweep.propose("t1")
    sweep.journal.append("stage_reused", "t1", stage="pretrain", key=KEY, seed=0, saved_cpu_s=3.5)
    sweep.journal.append("decision", "t1", action="stop", rule="median", reason="below the median")
    sweep.end("t1", "pruned", "median: below the median")
    sweep.journal.append("sweep_ended", status="finished", reason="2 of 2 trials")
    assert catch_up(sweep.paths, database, "flowsweep/links") == 13
    assert catch_up(sweep.paths, database) == 0

    runs = recorded(database, "flowsweep/links")
    assert set(runs) == {SWEEP, trial_run("t0"), trial_run("t1"), stage_run(KEY)}
    parent, (trial, points), (other, _), (stage, _) = (
        runs[SWEEP][0],
        runs[trial_run("t0")],
        runs[trial_run("t1")],
        runs[stage_run(KEY)],
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in (trial, other, stage)} == {parent.info.run_id}
    link = "flowsweep.stage.pretrain.seed_0"
    assert trial.data.tags[link] == other.data.tags[link] == stage.info.run_id
    assert stage.data.metrics["cpu_s"] == 3.5
    assert points["refine/critic_loss"] == [(50, 1.0)]
    assert points["refine/critic_loss.seed_0"] == [(50, 0.5)]
    assert points["refine/critic_loss.seed_1"] == [(50, 1.5)]
    assert points["refine/success_rate"] == [(100, 0.75)]
    assert points["refine/episodes_spent"] == [(100, 20)]
    assert points["value"] == [(0, 0.75)]
    assert trial.data.params == {
        "refine.kl_radius": "0.01",
        "refine.steps": "100",
        "refine.critic.layers": "[256, 256]",
    }
    assert [run.info.status for run in (parent, trial, other, stage)] == [
        "FINISHED",
        "FINISHED",
        "KILLED",
        "FINISHED",
    ]
    assert other.data.tags["flowsweep.status"] == "pruned"
    assert other.data.tags["flowsweep.decision"] == "stop by median: below the median"
    assert trial.data.tags["mlflow.source.git.commit"] == "0123abc"
    [dataset] = trial.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("D4RL/pointmaze/large-v2", "f" * 36)

    from mlflow import MlflowClient

    client = MlflowClient(database)
    listed = [
        file.path
        for folder in ("config", "checkpoint/step_100")
        for file in client.list_artifacts(trial.info.run_id, folder)
    ]
    assert listed == ["config/config.json", "checkpoint/step_100/tensors.safetensors"]
    assert (Path(database.removeprefix("sqlite:///")).parent / "mlflow-artifacts").is_dir()


def test_a_place_lost_after_sending_doubles_nothing(sweep, database):
    sweep.start()
    sweep.propose("t0")
    for step in range(1, 40):
        sweep.say("t0", **progress(step, float("nan") if step == 7 else float("inf") if step == 8 else step))
    catch_up(sweep.paths, database, "flowsweep/lost")
    once = recorded(database, "flowsweep/lost")
    sweep.paths.tracking.unlink()
    assert catch_up(sweep.paths, database, "flowsweep/lost") == 41
    again = recorded(database, "flowsweep/lost")
    assert again.keys() == once.keys()
    assert repr(again[trial_run("t0")][1]) == repr(once[trial_run("t0")][1])
    assert len(once[trial_run("t0")][1]["refine/critic_loss"]) == 39


def test_what_the_tracker_refuses_is_noted_and_the_rest_arrives(sweep, database):
    sweep.start()
    sweep.propose("t0", 0.01)
    sweep.propose("t0", 0.02)  # Params cannot be changed at the tracker.
    sweep.journal.append("artifact", "t0", path="../../etc/passwd", role="config")
    sweep.journal.append("artifact", "t0", path="media/gone.png", role="media")
    sweep.say("t0", **progress(1))
    catch_up(sweep.paths, database, "flowsweep/refused")
    sweep.propose("t0", 0.03)
    sweep.end("t0", "finished")
    catch_up(sweep.paths, database)
    refused = "\n".join(tracker_status(sweep.paths).refused)
    assert "passwd is not in the sweep's folder" in refused
    assert "gone.png is not in the sweep's folder" in refused
    assert "refine.kl_radius" in refused
    assert recorded(database, "flowsweep/refused")[trial_run("t0")][0].info.status == "FINISHED"


def test_a_tracker_that_lost_its_runs_gets_everything_again(sweep, database):
    from mlflow import MlflowClient

    sweep.start()
    sweep.propose("t0")
    sweep.say("t0", **progress(1))
    catch_up(sweep.paths, database, "flowsweep/emptied")
    client = MlflowClient(database)
    emptied = client.get_experiment_by_name("flowsweep/emptied")
    assert emptied is not None
    client.rename_experiment(emptied.experiment_id, "flowsweep/elsewhere")
    sweep.say("t0", **progress(2))
    assert catch_up(sweep.paths, database, "flowsweep/emptied") == 4
    points = recorded(database, "flowsweep/emptied")[trial_run("t0")][1]
    assert [step for step, _ in points["refine/critic_loss"]] == [1, 2]


def test_a_sender_killed_while_sending_is_continued_without_loss_or_repetition(sweep, database):
    sweep.start()
    trials = [f"t{n}" for n in range(4)]
    for trial in trials:
        sweep.propose(trial)
    for step in range(1, 1001):
        for trial in trials:
            sweep.say(trial, **progress(step))
    tracker = Tracker(sweep.paths, database, "flowsweep/killed")
    wait_until(lambda: 0 < tracker.status().unsent < 3500)
    tracker._process.send_signal(signal.SIGKILL)
    tracker._process.wait()
    assert tracker.status().unsent > 0
    for trial in trials:
        sweep.end(trial, "finished")
    assert tracker.close(timeout_s=180) == 0  # Closing notices the death and sends the rest.
    runs = recorded(database, "flowsweep/killed")
    assert len(runs) == 5
    for trial in trials:
        assert runs[trial_run(trial)][1]["refine/critic_loss"] == [(step, 1.0) for step in range(1, 1001)]
        assert runs[trial_run(trial)][0].info.status == "FINISHED"


def wait_until(true, timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A real tracking server on this machine that can be killed and started again with what it had."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--workers",
            "1",
        ]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, **quiet},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=1).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def test_a_server_killed_during_a_sweep_and_started_again_has_everything_once(sweep, tmp_path):
    server = Server(tmp_path)
    server.start()
    try:
        check_tracker(server.uri)
        tracker = Tracker(sweep.paths, server.uri, "flowsweep/outage")
        sweep.start()
        sweep.propose("t0")
        for step in range(1, 200):
            sweep.say("t0", **progress(step))
        wait_until(lambda: tracker.status().unsent == 0)
        server.kill()
        with pytest.raises(Unreachable, match=r"tracking\.uri"):
            check_tracker(server.uri, timeout_s=1)
        for step in range(200, 400):
            sweep.say("t0", **progress(step))
        (sweep.paths.root / "curve.png").write_bytes(b"a plot")
        sweep.journal.append("artifact", "t0", path="curve.png", role="plot")
        wait_until(lambda: tracker.status().error is not None)
        assert tracker.status().unsent == 201
        server.start()
        sweep.end("t0", "failed", "ValueError: no")
        seen = []
        assert tracker.close(timeout_s=180, on_progress=seen.append) == 0
        assert seen
        run, points = recorded(server.uri, "flowsweep/outage")[trial_run("t0")]
        assert points["refine/critic_loss"] == [(step, 1.0) for step in range(1, 400)]
        assert (run.info.status, run.data.tags["flowsweep.reason"]) == ("FAILED", "ValueError: no")
        assert (tmp_path / "artifacts").is_dir()
        assert [file.read_bytes() for file in (tmp_path / "artifacts").rglob("curve.png")] == [b"a plot"]
    finally:
        server.kill()


def test_a_dead_tracker_delays_only_its_own_end_and_is_caught_up_later(sweep, database):
    tracker = Tracker(sweep.paths, f"http://127.0.0.1:{free_port()}", "flowsweep/down")
    sweep.start()
    sweep.propose("t0")
    began = time.monotonic()
    assert tracker.close(timeout_s=0.5) == 2
    assert time.monotonic() - began < 5
    with pytest.raises(Unreachable, match="flowsweep sync"):
        catch_up(sweep.paths, tracker.target.uri)
    assert catch_up(sweep.paths, database, "flowsweep/down") == 2
    assert tracker_status(sweep.paths).unsent == 0


def test_steps_repeated_after_a_resume_are_sent_once():
    steps: dict = {}
    facts = [
        Fact(n, 0.0, "progress", "t0", progress(step)) for n, step in enumerate((10, 20, 30, 20, 30, 40))
    ]
    first = translate(facts[:3], steps, {}, [])[trial_run("t0")].metrics
    second = translate(facts[3:], steps, {}, [])[trial_run("t0")].metrics
    sent = [step for key, _, _, step in first + second if key == "refine/critic_loss"]
    assert sent == [10, 20, 30, 40]


def test_a_stage_trained_seed_by_seed_has_one_curve_per_seed():
    facts = [Fact(0, 0.0, "trial_proposed", "t0", {"seeds": [0, 1]})]
    for seed in (0, 1):
        said = {"stage": "pretrain", "step": 5, "seeds": [seed], "metrics": {"loss": [float(seed)]}}
        facts.append(Fact(1 + seed, 0.0, "progress", "t0", said))
    points = translate(facts, {}, {}, [])[trial_run("t0")].metrics
    assert [(key, value) for key, value, _, _ in points] == [
        ("pretrain/loss.seed_0", 0.0),
        ("pretrain/loss.seed_1", 1.0),
    ]


def test_a_fact_that_makes_no_sense_does_not_hold_up_the_others():
    unfit: list[str] = []
    facts = [Fact(3, 0.0, "progress", "t0", {"stage": "refine"}), Fact(4, 0.0, "progress", "t0", progress(1))]
    assert len(translate(facts, {}, {}, unfit)[trial_run("t0")].metrics) == 3
    assert unfit == ["fact 3 (progress): KeyError 'step'"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("finished", "FINISHED"),
        ("pruned", "KILLED"),
        ("preempted", "KILLED"),
        ("cancelled", "KILLED"),
        ("diverged", "FAILED"),
        ("out_of_memory", "FAILED"),
        ("failed", "FAILED"),
    ],
)
def test_every_way_to_end_keeps_its_own_word_beside_mlflows(status, expected):
    fact = Fact(0, 1.0, "trial_ended", "t0", {"status": status, "reason": "because", "value": None})
    update = translate([fact], {}, {}, [])[trial_run("t0")]
    assert (update.status, update.end_ms) == (expected, 1000)
    # Records from before failures had classes are read by their status.
    failures = {"diverged": "diverged", "out_of_memory": "out_of_memory", "failed": "code_error"}
    failure = {"flowsweep.failure": failures[status]} if status in failures else {}
    assert update.tags == {"flowsweep.status": status, "flowsweep.reason": "because", **failure}


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "./mlruns", "sqlite:///mlflow.db", "ftp://x", "http://"]
)
def test_an_unfit_address_is_refused_with_the_way_out(uri):
    with pytest.raises(UserError, match=r"tracking\.uri: .*(Write|Leave)"):
        checked_uri(uri)


def test_a_database_that_is_none_is_found_before_launch(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has the name of one")
    with pytest.raises(Unreachable, match="not a database"):
        check_tracker(f"sqlite:///{tmp_path}/mlflow.db")
