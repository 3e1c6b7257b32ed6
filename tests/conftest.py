"""Fixtures shared by every room: a home of the tests' own, and one small real dataset in it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def flowsweep_home(tmp_path_factory: pytest.TempPathFactory):
    """A temporary home for this session, also seen by subprocesses; Minari datasets live in it too."""
    root: Path = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    patch.setenv("FLOWSWEEP_HOME", str(root))
    patch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
    yield root
    patch.undo()


@pytest.fixture(scope="session")
def ogbench_installed() -> None:
    """Skips what needs OGBench where that extra is not installed: it has no wheels from Python 3.13 on."""
    if find_spec("ogbench") is None:
        pytest.skip("OGBench is an extra that is not installed here")


@pytest.fixture(scope="session")
def umaze_dataset(flowsweep_home: Path) -> str:
    """Name of a PointMaze UMaze dataset of 20,000 steps, made once per session (about 2 CPU-seconds)."""
    from flowsweep.trainables.data.makers import make_dataset

    return make_dataset("pointmaze-umaze", steps=20_000, workers=1)
