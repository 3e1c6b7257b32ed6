"""A real PostgreSQL and a real MLflow with a login: started, used by a sweep, killed, ended and taken up again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from flowsweep.cluster import tracker
from flowsweep.cluster.tracker import TrackerStatus
from flowsweep.cluster.tracker_database import find_programs, given_database
from flowsweep.platform.errors import Refused, Unreachable, UserError
from flowsweep.platform.paths import Home
from flowsweep.platform.tracking.check import check_tracker

LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
SECRETS = ("password", "pgpass", "session-key", "auth.ini", "credentials")


@dataclass(frozen=True)
class Server:
    """A tracking server of these tests alone."""

    home: Home
    status: TrackerStatus

    @property
    def password(self) -> str:
        return Path(self.status.password_file).read_text().strip()

    @property
    def database_password(self) -> str:
        return Path(str(self.status.database_password_file)).read_text().strip().rpartition(":")[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_port) -> Iterator[Server]:
    try:
        find_programs(Path("/nowhere"), None)
    except UserError:
        pytest.skip("no PostgreSQL server on this machine")
    # As root the database runs as another user, who must be able to enter the folder.
    base = Path("/tmp" if os.geteuid() == 0 else tmp_path_factory.mktemp("tracker"))
    root = base / f"flowsweep-test-tracker-{os.getpid()}"
    root.mkdir(mode=0o755)
    home = Home(root)
    try:
        yield Server(home, tracker.up(home, {"port": free_port()}))
    finally:
        tracker.down(home)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def login(server, monkeypatch) -> Server:
    """The environment of somebody who may use the server."""
    monkeypatch.setenv(LOGIN[0], server.status.login)
    monkeypatch.setenv(LOGIN[1], server.password)
    monkeypatch.setenv("PGPASSFILE", str(server.status.database_password_file))
    return server


def holding(folder: Path, secrets: Mapping[str, str]) -> list[str]:
    """Files under ``folder`` that hold one of the secrets."""
    return [
        f"{file}: {name}"
        for file in folder.rglob("*")
        if file.is_file()
        for name, value in secrets.items()
        if value.encode() in file.read_bytes()
    ]


def test_it_serves_on_loopback_and_says_how_to_use_it(server):
    assert server.status.state == "running"
    assert server.status.loopback
    assert server.status.uri.startswith("http://127.0.0.1:")
    assert set(server.status.processes) == {"mlflow", "postgresql"}


def test_secrets_are_in_files_of_the_owner_alone_and_in_no_process_arguments_or_logs(server):
    folder = Path(server.status.folder)
    for name in SECRETS:
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    arguments = " ".join(
        " ".join(psutil.Process(pid).cmdline()) for pids in server.status.processes.values() for pid in pids
    )
    told = (folder / "mlflow.log").read_text() + (folder / "postgresql.log").read_text()
    for secret in (server.password, server.database_password):
        assert len(secret) >= 24
        assert secret not in arguments
        assert secret not in told


def test_a_sweep_is_recorded_there_with_its_study_and_leaves_no_login_behind(
    login, tmp_path, toy_folder, toy_sweep_values
):
    from mlflow import MlflowClient

    toy_sweep_values |= {"tracking": {"uri": login.status.uri}}
    toy_sweep_values["search"]["storage"] = login.status.studies
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump(toy_sweep_values))
    done = subprocess.run(
        [sys.executable, "-m", "flowsweep.platform.cli", "run", str(sweep), "--quiet"],
        env={**os.environ, "FLOWSWEEP_HOME": str(tmp_path), "PYTHONPATH": str(toy_folder)},
        capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    client = MlflowClient(login.status.uri)
    experiment = client.get_experiment_by_name("flowsweep/toy")
    runs = client.search_runs([experiment.experiment_id])
    states = {run.data.tags["flowsweep.run"]: run.data.tags["flowsweep.status"] for run in runs}
    assert states["sweep"] == states["trial:t0000"] == states["trial:t0001"] == "finished"
    assert any(client.list_artifacts(run.info.run_id) for run in runs)

    import optuna
    from flowsweep.platform.search.storages import open_storage, study_name

    paths = Home(tmp_path).sweep("toy")
    storage = open_storage(str(login.status.studies), paths)
    study = optuna.load_study(study_name=study_name(str(login.status.studies), paths), storage=storage)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]

    secrets = {"password": login.password, "database password": login.database_password}
    assert paths.journal.exists()
    assert paths.report.exists()
    assert holding(tmp_path, secrets) == []
    assert not any(secret in done.stdout + done.stderr for secret in secrets.values())


@pytest.mark.parametrize(
    ("password", "said"),
    [("not-the-password", "does not accept the login"), (None, "asks for a login and none was given")],
)
def test_a_wrong_login_is_said_before_anything_starts(login, tmp_path, monkeypatch, password, said):
    monkeypatch.setattr("pathlib.Path.home", lambda: tmp_path)
    if password is None:
        monkeypatch.delenv(LOGIN[0])
        monkeypatch.delenv(LOGIN[1])
    else:
        monkeypatch.setenv(LOGIN[1], password)
    with pytest.raises(Refused, match=said) as caught:
        check_tracker(login.status.uri)
    assert caught.value.exit_code == 3
    assert "MLFLOW_TRACKING_PASSWORD" in str(caught.value)


def test_a_server_that_has_gone_or_swallows_connections_is_given_up_within_ten_seconds(free_port):
    started = time.monotonic()
    with pytest.raises(Unreachable, match="does not answer"):
        check_tracker(f"http://127.0.0.1:{free_port()}")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        with pytest.raises(Unreachable, match="does not answer"):
            check_tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=2.0)
    assert time.monotonic() - started < 20.0  # two of them, on a machine that others use as well


def test_a_database_that_refuses_us_is_said_and_a_password_in_its_address_is_not(server, monkeypatch):
    address = str(server.status.database)
    monkeypatch.setenv("PGPASSWORD", "not-the-password")
    with pytest.raises(Unreachable, match="password authentication failed"):
        given_database(address)
    with pytest.raises(UserError) as caught:
        given_database(address.replace("flowsweep@", "flowsweep:hushhush@"))
    assert "hushhush" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", server.database_password)
    assert given_database(address).sqlalchemy.startswith("postgresql+psycopg://")


def test_starting_it_again_changes_nothing_and_other_settings_are_refused(server):
    assert tracker.up(server.home, {}).processes == server.status.processes
    with pytest.raises(Refused, match="in another way"):
        tracker.up(server.home, {"workers": 3})


def test_what_died_is_noticed_started_again_and_what_it_kept_is_there(login):
    from mlflow import MlflowClient

    client = MlflowClient(login.status.uri)
    kept = client.create_experiment("kept")
    database = psutil.Process(login.status.processes["postgresql"][0])
    database.kill()
    database.wait(60)
    found = tracker.status(login.home)
    assert found is not None
    assert found.state == "broken"
    assert "PostgreSQL has died" in str(found.problem)
    again = tracker.up(login.home, {})
    assert again.state == "running"
    assert again.uri == login.status.uri
    assert client.get_experiment(kept).name == "kept"
    assert tracker.down(login.home) == ["MLflow", "PostgreSQL"]
    assert not any(psutil.pid_exists(pid) for pids in again.processes.values() for pid in pids)
    stopped = tracker.status(login.home)
    assert stopped is not None
    assert stopped.state == "stopped"


@pytest.mark.slow
def test_with_a_certificate_it_speaks_https_to_the_network(login, monkeypatch):
    made, key = login.home.root / "certificate.pem", login.home.root / "key.pem"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", names, "-keyout", key, "-out", made], check=True, capture_output=True,
    )  # fmt: skip
    tracker.down(login.home)
    wanted = {"host": "0.0.0.0", "tls_certificate": str(made), "tls_key": str(key)}
    found = tracker.up(login.home, wanted)
    try:
        assert (found.state, found.loopback, found.tls) == ("running", False, True)
        address = f"https://localhost:{found.uri.rpartition(':')[2]}"
        with pytest.raises(Unreachable, match="certificate is not accepted"):
            check_tracker(address)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(made))
        check_tracker(address)
    finally:
        tracker.down(login.home)
        plain = tracker.up(login.home, dict.fromkeys(wanted, ""))
    assert (plain.uri, plain.loopback, plain.tls) == (login.status.uri, True, False)


@pytest.mark.slow
def test_a_password_changed_elsewhere_and_a_database_of_another_version_are_said(login):
    import psycopg

    tracker.down(login.home)
    right = login.password
    Path(login.status.password_file).write_text("another-password-than-that\n")
    try:
        with pytest.raises(Refused, match="is not the administrator's"):
            tracker.up(login.home, {})
    finally:
        Path(login.status.password_file).write_text(f"{right}\n")
    with psycopg.connect(str(login.status.database)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        connection.execute("UPDATE alembic_version SET version_num = 'da6fb0208061'")
    with pytest.raises(Unreachable, match="of another MLflow version") as caught:
        tracker.up(login.home, {})
    assert "mlflow db upgrade" in str(caught.value)
    with psycopg.connect(str(login.status.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [version])
    assert tracker.up(login.home, {}).state == "running"
