"""Which cluster is meant, and what is said when it cannot be spoken to."""

from __future__ import annotations

import http.server
import socket
import threading
import tomllib
from pathlib import Path

import pytest
from flowsweep.cluster import endpoint as module
from flowsweep.cluster.endpoint import OLDEST_RAY, Endpoint, endpoint, ray_version
from flowsweep.platform.errors import Refused, Unreachable, UserError

ROOT = Path(__file__).parents[2]
REMOTE = "http://192.0.2.7:8265"  # a documentation address (RFC 5737): never anybody's machine


def test_the_address_given_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", "http://localhost:1")
    assert endpoint("http://localhost:2/").url == "http://localhost:2"
    assert endpoint().url == "http://localhost:1"


def test_flowsweeps_own_variable_wins_over_rays(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://localhost:1")
    assert endpoint().url == "http://localhost:1"
    monkeypatch.setenv("FLOWSWEEP_ADDRESS", "http://localhost:2")
    assert endpoint().url == "http://localhost:2"


def test_without_an_address_the_option_is_named():
    with pytest.raises(UserError, match=r"--address: is required.*FLOWSWEEP_ADDRESS"):
        endpoint()


@pytest.mark.parametrize(
    "wrong", ["auto", "10.0.0.1:6379", "ray://head:10001", "http://", "http://head:port"]
)
def test_what_is_not_a_dashboards_address_is_refused(wrong):
    with pytest.raises(UserError, match="http://HOST:8265"):
        endpoint(wrong)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UserError) as raised:
        endpoint("http://user:secret@head:8265")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_needs_no_token(host):
    assert endpoint(f"http://{host}:8265").token is None


def test_another_machine_in_plain_text_needs_a_token_or_a_word(monkeypatch):
    with pytest.raises(Refused, match="--allow-insecure"):
        endpoint(REMOTE)
    assert endpoint(REMOTE, allow_insecure=True).headers == {}
    assert endpoint(REMOTE.replace("http", "https")).headers == {}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "abc")
    assert endpoint(REMOTE).headers == {"Authorization": "Bearer abc"}


def test_a_token_file_is_read_and_an_empty_or_missing_one_is_explained(monkeypatch, tmp_path):
    file = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with pytest.raises(UserError, match="cannot be read"):
        endpoint(REMOTE)
    file.write_text("\n")
    with pytest.raises(UserError, match="empty"):
        endpoint(REMOTE)
    file.write_text("abc\n")
    assert endpoint(REMOTE).token == "abc"


def test_the_token_of_this_machines_clusters_leaves_it_only_when_asked(monkeypatch, tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("local")
    assert endpoint("http://localhost:8265").token == "local"
    assert endpoint(REMOTE, allow_insecure=True).token is None
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert endpoint(REMOTE).token == "local"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert endpoint("http://localhost:8265").token is None


def test_the_token_is_not_shown():
    assert "abc" not in repr(Endpoint("http://localhost:8265", "abc"))


def test_a_closed_port_is_unreachable():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="no cluster answers there: Connection refused"):
            ray_version(Endpoint(f"http://127.0.0.1:{closed.getsockname()[1]}"))


def test_one_that_accepts_and_stays_silent_is_unreachable_within_ten_seconds(monkeypatch):
    assert module.CONNECT_TIMEOUT_S + module.READ_TIMEOUT_S < 10
    monkeypatch.setattr(module, "READ_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="timed out"):
        ray_version(Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}"))


def test_a_server_that_is_not_ray_is_told_apart():
    with http.server.HTTPServer(("127.0.0.1", 0), _OtherServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(Unreachable, match="not a Ray dashboard"):
            ray_version(Endpoint(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()


class _OtherServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_):
        pass


def test_a_cluster_with_an_old_ray_is_refused():
    with pytest.raises(UserError, match=r"too old.*2\.9\.3.*2\.55"):
        module._checked_version("2.9.3")
    assert module._checked_version("2.60.0") == "2.60.0"


def test_the_oldest_ray_is_the_one_flowsweep_requires():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(
        text.startswith("ray[") and text.endswith(f">={OLDEST_RAY}") for text in project["dependencies"]
    )
