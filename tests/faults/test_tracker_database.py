"""A sender killed while MLflow makes its tables: the next one is not kept from recording by what was left."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from flowsweep.platform.tracking.sender import _one_at_a_time

pytestmark = pytest.mark.faults

MAKE = "import sys; from flowsweep.platform.tracking.sender import _one_at_a_time as o\nwith o(sys.argv[1]): pass"


def test_tables_half_made_are_in_nobodys_way(tmp_path: Path):
    from mlflow import MlflowClient

    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    maker = subprocess.Popen([sys.executable, "-c", MAKE, uri])
    while maker.poll() is None and not any(path.stat().st_size > 20_000 for path in tmp_path.glob("*.aside")):
        time.sleep(0.001)
    maker.kill()
    assert maker.wait() != 0, "it had made the tables before it was killed"
    assert not database.exists()
    with _one_at_a_time(uri):
        assert MlflowClient(uri).search_experiments(max_results=1)
