"""Ray's own encryption between nodes: a sweep submitted to a head started with it runs with it, and nothing is set here."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from flowsweep.platform.journal.journal import read

pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).parents[1] / "support" / "dashboard_proxy.py"
SPEC = importlib.util.spec_from_file_location("dashboard_proxy", SUPPORT)
support = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(support)
TOY = Path(__file__).parents[1] / "support" / "toy"


@pytest.fixture
def encrypted(tmp_path):
    """What a node's environment says of certificates, good for this machine."""
    import psutil

    own = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family.name == "AF_INET"}
    authority, certificate = support.certificates(tmp_path, addresses=sorted(own | {"127.0.0.1"}))
    return {
        "RAY_USE_TLS": "1", "RAY_TLS_SERVER_CERT": str(certificate), "RAY_TLS_SERVER_KEY": str(certificate),
        "RAY_TLS_CA_CERT": str(authority),
    }  # fmt: skip


def test_a_sweep_runs_on_an_encrypted_cluster(
    flowsweep, encrypted, start_head, toy_sweep_file, tmp_path, monkeypatch
):
    with start_head(encrypted) as head:
        monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
        there = ("--home", str(tmp_path / "there"), "--python", sys.executable, "--address", head.url)
        path = ("--env", f"PYTHONPATH={os.environ['PYTHONPATH']}")
        assert flowsweep("submit", str(toy_sweep_file), *there, *path).code == 0
        followed = flowsweep("logs", "toy", "--follow", "--address", head.url)
        assert followed.code == 0, followed.out
    ends = [
        f.event.status
        for f in read(tmp_path / "there/sweeps/toy/journal.jsonl")
        if f.event.kind == "trial_ended"
    ]
    assert ends == ["finished"] * 3
