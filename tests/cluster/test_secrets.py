"""Planted secrets are in no file that a sweep leaves, in no log and on no screen, though its trials shout them out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-key-0001",
    "RAY_AUTH_TOKEN": "planted-ray-token-0002",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-pw-0003",
    "DATABASE_URL": "postgresql://bob:planted-db-pw-0004@127.0.0.1:1/x",
}
LOGIN = "planted-login-0005"
PLANTED = [*(value for name, value in SECRETS.items() if name != "DATABASE_URL"), "planted-db-pw-0004", LOGIN]
LEAK = f"""
import os
from flowsweep.trainables.errors import Diverged

def shout(config, step):
    words = " ".join(os.environ.get(name, "") for name in {list(SECRETS)!r})
    said = f"denied: {{words}} at https://user:{LOGIN}@host/x?X-Amz-Signature={LOGIN} and s3://key:{LOGIN}@bucket"
    if config.offset < 1:
        raise RuntimeError(said)
    raise Diverged(said, step)
"""


@pytest.fixture
def loud(toy_sweep_file, tmp_path) -> Path:
    """The toy's source with a learner whose failures hold every secret it can see; the folder to put on the path."""
    toy = Path(os.environ["PYTHONPATH"].split(":")[0])
    folder = tmp_path / "loud"
    (folder / "loud_system-1.dist-info").mkdir(parents=True)
    source = (toy / "toy_system.py").read_text().replace('name="toy"', 'name="loud"')
    place = '            if getattr(self.config, "fail_at", None) == self.step and not never_fails:\n'
    assert place in source
    source = source.replace(
        place,
        f"            if self.step == 5 and hasattr(self.config, 'offset'):\n                shout(self.config, self.step)\n{place}",
    )
    (folder / "loud_system.py").write_text(source + LEAK)
    points = (toy / "toy_system-0.1.dist-info" / "entry_points.txt").read_text()
    (folder / "loud_system-1.dist-info" / "entry_points.txt").write_text(
        points.replace("toy_system", "loud_system").replace("toy =", "loud =").replace("toy=", "loud=")
    )
    (folder / "loud_system-1.dist-info" / "METADATA").write_text("Name: loud-system\nVersion: 1\n")
    return folder


@pytest.mark.slow
def test_no_planted_secret_is_left_anywhere(loud, toy_sweep_file, tmp_path):
    home = tmp_path / "home"
    toy_sweep_file.write_text(
        toy_sweep_file.read_text().replace("system: toy", "system: loud").replace("trials: 2", "trials: 4")
    )
    environment = {
        **os.environ, **SECRETS, "FLOWSWEEP_HOME": str(home), "PYTHONPATH": str(loud), "RAY_AUTH_MODE": "disabled",
        "COLUMNS": "400",
    }  # fmt: skip

    def flowsweep(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flowsweep.platform.cli", *arguments],
            env=environment, capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        return done.stdout + done.stderr

    said = flowsweep("run", str(toy_sweep_file))
    said += (
        flowsweep("show", "toy")
        + flowsweep("show", "toy", "--json")
        + flowsweep("report", "toy")
        + flowsweep("sync", "toy")
    )
    statuses = [
        trial["status"] for trial in json.loads(flowsweep("show", "toy", "--json"))["trials"].values()
    ]
    assert set(statuses) <= {"failed", "diverged"}, said
    assert len(statuses) == 4
    assert "denied: ***" in said
    files = [file for file in home.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {
        "journal.jsonl",
        "mlflow.db",
        "optuna.db",
        "tracking.json",
        "report.html",
        "traceback.txt",
    } <= names
    assert "denied: ***" in "".join(file.read_text() for file in files if file.name == "traceback.txt")
    for secret in PLANTED:
        assert secret not in said
        leaked = [str(file.relative_to(home)) for file in files if secret.encode() in file.read_bytes()]
        assert not leaked, secret


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (f"tracking: {{uri: 'https://user:{LOGIN}@mlflow'}}", "MLFLOW_TRACKING_PASSWORD"),
        (f"storage: {{stages: 's3://key:{LOGIN}@bucket/p'}}", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_sweep_file_that_holds_a_secret_is_refused_without_repeating_it(
    flowsweep, toy_sweep_file, part, said
):
    toy_sweep_file.write_text(f"{toy_sweep_file.read_text()}{part}\n")
    ended = flowsweep("plan", str(toy_sweep_file))
    assert (ended.code, said in ended.err) == (2, True), ended
    assert LOGIN not in ended.out + ended.err


def test_a_password_for_the_studys_database_is_refused_without_repeating_it(flowsweep, toy_sweep_file):
    address = f"postgresql://bob:{LOGIN}@127.0.0.1:1/x"
    ended = flowsweep("plan", str(toy_sweep_file), "--set", f"search.storage={address}")
    assert (ended.code, "PGPASSWORD" in ended.err) == (2, True), ended
    assert LOGIN not in ended.out + ended.err


@pytest.mark.parametrize(
    "variable", ["AWS_SECRET_ACCESS_KEY=planted", "HF_TOKEN=planted", "URL=postgresql://a:planted-9@h/d"]
)
def test_a_secret_is_not_sent_along_where_the_dashboard_would_show_it(flowsweep, toy_sweep_file, variable):
    ended = flowsweep("submit", str(toy_sweep_file), "--address", "http://127.0.0.1:1", "--env", variable)
    assert (ended.code, "holds a secret" in ended.err) == (3, True), ended
    assert "planted" not in ended.out + ended.err


def test_a_crash_prints_no_secret(tmp_path):
    program = (
        "import flowsweep.platform.cli as cli\n"
        "def fail(): raise RuntimeError('with planted-aws-key-0001')\n"
        "cli.app = fail\ncli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "RuntimeError: with ***" in done.stderr) == (1, True), done.stderr
