"""Over a real dashboard: what stands in the way is told within seconds, and a client that dies leaves nothing half."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
import ray
from flowsweep.cluster import jobs
from flowsweep.cluster.attach import sweeps_on, watch
from flowsweep.cluster.connection import connected
from flowsweep.cluster.endpoint import Endpoint
from flowsweep.cluster.profiles import Profile
from flowsweep.cluster.submit import SWEEP_FILE, Order, submit
from flowsweep.cluster.target import Target
from flowsweep.platform.errors import Refused, Unreachable
from flowsweep.platform.journal.events import SweepEnded, SweepStarted
from flowsweep.platform.journal.journal import Journal

WITHIN_S = 10.0
SUPPORT = Path(__file__).parents[1] / "support" / "dashboard_proxy.py"
SPEC = importlib.util.spec_from_file_location("dashboard_proxy", SUPPORT)
support = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(support)


class _OldRay(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"ray_version": "2.9.3", "version": "4"}).encode())

    def log_message(self, *_):
        pass


class _Elsewhere(_OldRay):
    asked: ClassVar[list] = []

    def do_GET(self):
        self.asked.append(self.headers.get("Authorization"))
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:1/api/version")
        self.end_headers()


class _NoWebSockets(_OldRay):
    """A dashboard behind a proxy that lets only plain requests through."""

    def do_GET(self):
        if self.headers.get("Upgrade"):
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"ray_version": ray.__version__, "version": "4"}).encode())


@pytest.fixture
def server():
    """Starts an http server with a handler; its address."""
    running = []

    def start(handler) -> str:
        one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=one.serve_forever, daemon=True).start()
        running.append(one)
        return f"http://127.0.0.1:{one.server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({}, 3, "asks for a token and none was sent"),
        ({"RAY_AUTH_TOKEN": "wrong-token-000"}, 3, "does not accept the token"),
    ],
)
def test_no_token_and_a_wrong_one(flowsweep, head, toy_sweep_file, monkeypatch, environment, code, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = flowsweep("submit", str(toy_sweep_file), "--address", head.url)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert "wrong-token-000" not in ended.out + ended.err


def test_a_cluster_with_an_older_ray_is_refused(flowsweep, server, toy_sweep_file):
    ended = flowsweep("submit", str(toy_sweep_file), "--address", server(_OldRay))
    assert (ended.code, "the cluster's Ray is too old (got '2.9.3')" in ended.err) == (3, True)


def test_a_described_cluster_that_cannot_be_used_ends_the_check_with_4(flowsweep, server, tmp_path):
    file = tmp_path / ".config" / "flowsweep" / "clusters.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[clusters.old]\naddress = "{server(_OldRay)}"\n')
    assert flowsweep("clusters").code == 0
    asked = flowsweep("clusters", "--check")
    assert (asked.code, "the cluster's Ray is too old" in asked.out) == (4, True), asked


def test_a_redirect_does_not_lead_the_token_elsewhere(server):
    _Elsewhere.asked.clear()
    with (
        pytest.raises(Unreachable, match="status 302"),
        connected(Endpoint(server(_Elsewhere), "secret-token")),
    ):
        pass
    assert _Elsewhere.asked == ["Bearer secret-token"]


def test_logs_that_cannot_be_followed_through_a_proxy_are_told(server):
    job = jobs.Job("flowsweep-far", "far", "running", None, None, None)
    with connected(Endpoint(server(_NoWebSockets))) as client, pytest.raises(Unreachable, match="403"):
        jobs.follow(client, job, print)


def test_a_cluster_whose_python_cannot_answer_is_told_and_not_asked_for_ever(head):
    at = Endpoint(head.url, head.token)
    with pytest.raises(Unreachable, match=r"ended without an answer.*the profile's `python`"):
        sweeps_on(Target(at, Profile(address=head.url, python="/no/such/python"), name="lab"))


def test_a_certificate_is_checked_and_a_wrong_or_expired_one_told(head, tmp_path, monkeypatch):
    authority, certificate = support.certificates(tmp_path)
    with support.proxy(head.url, certificate) as url:
        refused = pytest.raises(Unreachable, match=r"certificate was not accepted.*ca_file")
        with refused, connected(Endpoint(url, head.token)):
            pass
        with connected(Endpoint(url, head.token, str(authority))) as client:
            jobs.list_jobs(client)
    expired = tmp_path / "expired"
    expired.mkdir()
    authority, certificate = support.certificates(expired, expired=True)
    with support.proxy(head.url, certificate) as url:
        refused = pytest.raises(Unreachable, match="certificate has expired")
        with refused, connected(Endpoint(url, head.token, str(authority))):
            pass


def test_over_https_a_sweep_is_submitted_watched_and_found_by_ones_own_authority(head, tmp_path, monkeypatch):
    authority, certificate = support.certificates(tmp_path)
    home = tmp_path / "home"
    folder = home / "sweeps" / "far"
    with Journal(folder / "journal.jsonl") as journal:
        spec = {
            "name": "far", "objective": {"metric": "tune/return", "direction": "maximize"},
            "space": {}, "search": {"trials": 1},
        }  # fmt: skip
        journal.append(SweepStarted(name="far", spec=spec))
        journal.append(SweepEnded(status="finished", reason=""))
    with support.proxy(head.url, certificate) as url:
        at = Endpoint(url, head.token, str(authority))
        order = Order("far", ("take-up", SWEEP_FILE), python=sys.executable, home=str(home))
        with connected(at) as client:
            # A job that has ended: what is watched is its record. It cannot start, for want of a sweep file.
            done = submit(order, at)
            _wait(lambda: jobs.find(client, done.job).over)
            assert jobs.find(client, "far").exit_code == 2
            seen = list(watch(Target(at, Profile(address=url)), "far"))
            assert [getattr(item, "event", item).kind for item in seen] == [
                "sweep_started",
                "sweep_ended",
                "now",
                "over",
            ]
            left = [job for job in client.list_jobs() if "flowsweep.side" in (job.metadata or {})]
        assert not left, "a job that only answers goes when it has"


def test_a_client_killed_between_upload_and_start_leaves_nothing_and_the_next_one_starts(
    head, toy_sweep_file, tmp_path
):
    killed = threading.Event()
    client: list[subprocess.Popen] = []

    def before(method: str, path: str) -> None:
        if method == "POST" and not killed.is_set():
            client[0].kill()
            client[0].wait()
            killed.set()
            raise ConnectionAbortedError("its client is dead")

    with support.proxy(head.url, before=before) as url:
        command = [
            sys.executable,
            "-m",
            "flowsweep.platform.cli",
            "submit",
            str(toy_sweep_file),
            "--address",
            url,
        ]
        home = ("--home", str(tmp_path / "home"), "--python", "/bin/true", "--wait", "0")
        environment = {**os.environ, "RAY_AUTH_TOKEN": head.token}
        client.append(subprocess.Popen([*command, *home], env=environment))
        assert killed.wait(120)
        assert client[0].returncode == -signal.SIGKILL
        at = Endpoint(head.url, head.token)
        with connected(at) as there:
            assert not [job for job in jobs.list_jobs(there) if job.sweep == "toy"]
        assert subprocess.run([*command, *home], env=environment, check=False).returncode == 0
        with connected(at) as there:
            assert [job.sweep for job in jobs.list_jobs(there) if job.sweep == "toy"] == ["toy"]


def test_a_dashboard_that_falls_silent_is_given_up(head, monkeypatch):
    stalled = threading.Event()

    def before(method: str, path: str) -> None:
        if stalled.is_set():
            time.sleep(2)

    from flowsweep.cluster import connection

    assert connection.ANSWER_S < WITHIN_S
    monkeypatch.setattr(connection, "ANSWER_S", 0.5)
    given_up = pytest.raises(Unreachable, match="stopped answering")
    with (
        support.proxy(head.url, before=before) as url,
        given_up,
        connected(Endpoint(url, head.token)) as client,
    ):
        stalled.set()
        jobs.list_jobs(client)


def test_a_token_that_is_changed_meanwhile_is_told(head):
    refused = pytest.raises(Refused, match="does not accept the token any more")
    with refused, connected(Endpoint(head.url, head.token)) as client:
        client._headers["Authorization"] = "Bearer of-yesterday"
        jobs.list_jobs(client)


def test_a_package_whose_requirements_the_cluster_lacks_ends_the_submission(
    flowsweep, head, toy_sweep_file, tmp_path, monkeypatch
):
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "wanting"\nversion = "1"\ndependencies = ["numpy>=99"]\n'
        '[tool.setuptools]\npy-modules = ["wanting"]\n'
    )
    (project / "wanting.py").write_text("")
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    there = ("--address", head.url, "--python", sys.executable, "--home", str(tmp_path / "home"))
    ended = flowsweep("submit", str(toy_sweep_file), *there, "--package", str(project), "--wait", "120")
    assert ended.code == 3, ended
    assert "the cluster did not start it" in ended.err
    assert "but >=99 is asked for" in ended.err


def _wait(done, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.3)
