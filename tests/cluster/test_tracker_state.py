"""What a tracking server is told and keeps, and what it must not touch; nothing of it runs here."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from flowsweep.cluster import tracker
from flowsweep.cluster.tracker_database import find_programs
from flowsweep.cluster.tracker_mlflow import mlflow_problem
from flowsweep.cluster.tracker_state import TrackerFolder, secret
from flowsweep.platform.errors import Refused, Unreachable, UserError
from flowsweep.platform.paths import Home


def test_only_its_own_processes_are_ended(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        folder = tmp_path / "tracker"
        folder.mkdir()
        (folder / "settings.json").write_text("{}")
        mark = {"pid": other.pid, "started": psutil.Process(other.pid).create_time() - 100}
        (folder / "processes.json").write_text(json.dumps({"mlflow": [mark], "postgresql": [mark]}))
        assert tracker.down(Home(tmp_path)) == []
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_taken_port_is_said_and_nothing_is_left_running(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unreachable, match="nothing can listen there"):
            tracker.up(Home(tmp_path), {"port": taken.getsockname()[1]})
    assert tracker.status(Home(tmp_path)) is None


def test_a_machine_without_postgresql_is_told_the_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("flowsweep.cluster.tracker_database._PLACES", ())
    with pytest.raises(UserError) as caught:
        find_programs(tmp_path / "data", None)
    for way in ("apt install", "--postgres-bin", "--database postgresql://"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"port": 0}, "greater than or equal to 1"),
        ({"tls_certificate": __file__}, "go together"),
        ({"database": "mysql://h/d"}, "no address of a PostgreSQL database"),
        ({"postgres_bin": "/nowhere/at/all"}, "names no file"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, free_port, wanted, said):
    with pytest.raises(UserError, match=said):
        tracker.up(Home(tmp_path), {"port": free_port(), **wanted})


def test_a_damaged_record_of_settings_is_told_with_the_way_out(tmp_path):
    folder = TrackerFolder(tmp_path / "tracker")
    folder.root.mkdir()
    folder.settings.write_text('{"port": ')
    for command in (tracker.status, lambda home: tracker.up(home, {})):
        with pytest.raises(UserError, match=r"settings\.json: is no record of settings.*Delete it"):
            command(Home(tmp_path))


def test_two_commands_do_not_change_it_at_the_same_time(tmp_path):
    folder = TrackerFolder(tmp_path / "tracker")
    with folder.locked(), pytest.raises(Refused, match="another command starts or ends it"):
        tracker.up(Home(tmp_path), {})


class _Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.heard.append(dict(self.headers))
        self.send_error(502)

    def log_message(self, *_):
        pass


def test_no_proxy_hears_the_administrators_password(tmp_path, monkeypatch, free_port):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        proxy.heard = []
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        folder = TrackerFolder(tmp_path / "tracker")
        assert secret(folder.password)
        problem = mlflow_problem(folder, tracker.TrackerSettings(port=free_port()))
        proxy.shutdown()
    assert problem == "no answer (ConnectionError)"
    assert proxy.heard == []
