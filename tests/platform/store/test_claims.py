"""Claims under a clock that was set back: silence is then watched, not computed."""

import dataclasses
import os
import time
from pathlib import Path

from flowsweep.platform.store.claims import Claims

KEY = "ab" * 32


def elsewhere(claims: Claims, ahead_s: float):
    """A claim held on another machine whose last beat lies ahead of the clock as it is now."""
    claims.folder.mkdir(parents=True, exist_ok=True)
    token = claims.write(KEY, "t0")
    later = time.time() + ahead_s
    os.utime(claims.folder / f"{KEY}.json", (later, later))
    record = claims.read(KEY)
    assert record is not None
    return token, dataclasses.replace(record, machine="another")


def test_a_holder_that_is_silent_since_the_clock_was_set_back_loses_its_claim(tmp_path: Path):
    claims = Claims(tmp_path, stale_s=0.3)
    _, record = elsewhere(claims, 3600)
    assert claims.lapsed(KEY, record) is None
    time.sleep(0.5)
    assert "silent on" in (claims.lapsed(KEY, record) or "")


def test_a_holder_that_lives_keeps_its_claim_over_a_clock_set_back(tmp_path: Path):
    claims = Claims(tmp_path, stale_s=30.0)
    token, record = elsewhere(claims, 3600)
    assert claims.lapsed(KEY, record) is None
    assert claims.beat(KEY, token)
    assert claims.lapsed(KEY, record) is None
