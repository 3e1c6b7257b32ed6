"""The tracker against real MLflow that dies, or whose sender does: nothing is lost and nothing doubled."""

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
from flowsweep.platform.errors import Unreachable
from flowsweep.platform.tracking.check import check_tracker
from flowsweep.platform.tracking.runs import trial_run
from flowsweep.platform.tracking.tracker import Tracker, catch_up, tracker_status
from flowsweep.trainables.events import Produced


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
            "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
            "--artifacts-destination", str(self.folder / "artifacts"),
        ]  # fmt: skip
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


def test_a_sender_killed_while_sending_is_continued_without_loss_or_repetition(sweep, database):
    sweep.start()
    trials = [f"t{n}" for n in range(4)]
    for trial in trials:
        sweep.propose(trial)
    for step in range(1, 1001):
        for trial in trials:
            sweep.report(trial, step)
    tracker = Tracker(sweep.paths, database, "flowsweep/killed")
    wait_until(lambda: 0 < tracker.status().unsent < 3500)
    tracker._process.send_signal(signal.SIGKILL)
    tracker._process.wait()
    assert tracker.status().unsent > 0
    for trial in trials:
        sweep.end(trial, "finished")
    assert tracker.close(timeout_s=180) == 0  # Closing notices the death and sends the rest.
    runs = sweep.tracked(database, "flowsweep/killed")
    assert len(runs) == 5
    for trial in trials:
        assert runs[trial_run(trial)][1]["refine/critic_loss"] == [(step, 1.0) for step in range(1, 1001)]
        assert runs[trial_run(trial)][0].info.status == "FINISHED"


def test_a_server_killed_during_a_sweep_and_started_again_has_everything_once(sweep, tmp_path):
    server = Server(tmp_path)
    server.start()
    try:
        check_tracker(server.uri)
        tracker = Tracker(sweep.paths, server.uri, "flowsweep/outage")
        sweep.start()
        sweep.propose("t0")
        for step in range(1, 200):
            sweep.report("t0", step)
        wait_until(lambda: tracker.status().unsent == 0)
        server.kill()
        with pytest.raises(Unreachable, match=r"tracking\.uri"):
            check_tracker(server.uri, timeout_s=1)
        for step in range(200, 400):
            sweep.report("t0", step)
        (sweep.paths.root / "curve.png").write_bytes(b"a plot")
        sweep.journal.append(Produced(path="curve.png", role="plot"), "t0")
        wait_until(lambda: tracker.status().error is not None)
        assert tracker.status().unsent == 201
        server.start()
        sweep.end("t0", "failed", "ValueError: no")
        seen = []
        assert tracker.close(timeout_s=180, on_progress=seen.append) == 0
        assert seen
        run, points = sweep.tracked(server.uri, "flowsweep/outage")[trial_run("t0")]
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
