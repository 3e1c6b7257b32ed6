"""Joining a cluster by Ray's own protocol: only this machine's without a token."""

from __future__ import annotations

import psutil
import pytest
from flowsweep.cluster.joining import check_joining
from flowsweep.platform.errors import Refused

ELSEWHERE = "192.0.2.77:6379"  # a documentation address (RFC 5737)


def test_another_machines_cluster_is_not_joined_without_a_token_or_a_word(monkeypatch):
    with pytest.raises(Refused, match="RAY_AUTH_MODE=token"):
        check_joining(ELSEWHERE)
    with pytest.raises(Refused):
        check_joining(f"ray://{ELSEWHERE}")
    monkeypatch.setenv("FLOWSWEEP_ALLOW_INSECURE", "1")
    check_joining(ELSEWHERE)
    monkeypatch.delenv("FLOWSWEEP_ALLOW_INSECURE")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    check_joining(ELSEWHERE)


def test_auto_means_what_rays_variable_says(monkeypatch):
    check_joining("auto")
    monkeypatch.setenv("RAY_ADDRESS", ELSEWHERE)
    with pytest.raises(Refused):
        check_joining("auto")


def test_this_machines_own_is_joined(monkeypatch):
    own = [a.address for found in psutil.net_if_addrs().values() for a in found if a.family.name == "AF_INET"]
    for address in (None, "127.0.0.1:6379", "localhost:6379", *(f"{one}:6379" for one in own)):
        check_joining(address)


def test_a_run_asks_first(monkeypatch, toy_sweep_file, tmp_path):
    from flowsweep.platform.cli.sweeps import carry_out, read_plan

    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    with pytest.raises(Refused, match="without a token"):
        carry_out(read_plan(str(toy_sweep_file), None, None, ELSEWHERE), address=ELSEWHERE)
    assert not (tmp_path / "home" / "sweeps").exists()
