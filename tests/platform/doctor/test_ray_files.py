"""What others can read of a user's Ray is found, with what closes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from flowsweep.platform.doctor.ray_files import check_ray_files
from flowsweep.platform.running import ray_private
from flowsweep.platform.running.ray_private import PREFIX


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(ray_private, "LONGEST", 200)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def test_a_machine_where_nothing_is_open_is_well(temporary):
    (private := temporary / f"{PREFIX}abc").mkdir(mode=0o700)
    (private / "ray").mkdir(mode=0o777)
    (found,) = check_ray_files()
    assert found.level == "ok"


def test_a_token_that_others_can_read_is_told_with_the_command_that_closes_it(temporary, monkeypatch):
    token = temporary / "me" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("t" * 32)
    token.chmod(0o644)
    (found,) = check_ray_files()
    assert (found.level, found.fix) == ("warning", f"`chmod 600 {token}`")
    token.chmod(0o600)
    (found,) = check_ray_files()
    assert found.level == "ok"


def test_sessions_that_others_can_read_are_counted(temporary):
    for name in ("session_2026-01-01", "session_2026-01-02"):
        (temporary / "ray" / name).mkdir(parents=True)
        (temporary / "ray" / name).chmod(0o777)
    (found,) = check_ray_files()
    assert (found.level, "2 session(s)" in found.what) == ("warning", True)
    (temporary / "ray").chmod(0o700)
    (found,) = check_ray_files()
    assert found.level == "ok"


def test_a_private_folder_that_was_opened_is_a_problem(temporary):
    (temporary / f"{PREFIX}abc").mkdir()
    (temporary / f"{PREFIX}abc").chmod(0o755)
    (found,) = check_ray_files()
    assert (found.level, "chmod 700" in found.fix) == ("problem", True)
