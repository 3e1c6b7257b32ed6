"""The sbatch script, run on this machine: only what Slurm itself does is stood in for, Ray and the sweep are real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from flowsweep.cluster.launch.description import read_description
from flowsweep.cluster.launch.rendering import render

SRUN = '#!/bin/bash\nwhile [[ "$1" == --* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\necho "$3"\n'


@pytest.fixture
def job(tmp_path, toy_folder, toy_sweep_values):
    """Starts the script as Slurm would on a job of one node; returns the process, whose output is in ``log``."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:$PATH"
    wanted = {"home": str(tmp_path / "home"), "activate": f'export PATH="{path}"', "tracker": "false"}
    given = read_description(None, "slurm", {**wanted, "nodes.max": "1", "cpus": "1"})
    (tmp_path / "sweep.sbatch").write_text(render(given)["sweep.sbatch"].text)
    started = []

    def start(**changes) -> subprocess.Popen:
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({**toy_sweep_values, **changes}))
        number = str(os.getpid() % 100_000 + len(started))
        slurm = {"JOB_ID": number, "JOB_NODELIST": "here", "JOB_NUM_NODES": "1", "CPUS_PER_TASK": "1"}
        environment = {
            **os.environ,
            **{f"SLURM_{k}": v for k, v in slurm.items()},
            "PYTHONPATH": str(toy_folder),
        }
        with (tmp_path / "log").open("a") as log:
            started.append(
                subprocess.Popen(
                    ["bash", "sweep.sbatch", "sweep.yaml"], cwd=tmp_path, env=environment,
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.slow
def test_a_job_runs_a_sweep_stores_it_when_its_time_is_up_and_goes_on_when_submitted_again(job, tmp_path):
    journal = tmp_path / "home" / "sweeps" / "toy" / "journal.jsonl"
    many = {"search": {"trials": 80, "sampler": "random"}}
    first = job(**many)
    deadline = time.monotonic() + 300
    while not (journal.exists() and b'"trial_ended"' in journal.read_bytes()):
        assert first.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    first.send_signal(signal.SIGTERM)
    assert first.wait(300) == 130
    assert "everything is stored" in (tmp_path / "log").read_text()
    assert not list((tmp_path / "home").glob(".slurm-*"))

    before = journal.read_bytes().count(b'"trial_ended"')
    assert job(**many).wait(600) == 0
    assert "is on record here; going on with it" in (tmp_path / "log").read_text()
    assert journal.read_bytes().count(b'"trial_ended"') >= before + 1
