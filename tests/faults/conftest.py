"""Faults are brought about with real processes, by the code that `flowsweep drill` runs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flowsweep.platform.drill.checks import Account
from flowsweep.platform.drill.drill import FAULTS, Fault, Verdict, differences, perform
from flowsweep.platform.drill.rig import Rig

LIMIT_S = 600
"""A hang ends a test. On two quiet cores most take under a minute."""


@pytest.fixture(autouse=True)
def bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that takes too long; `pytest.mark.faults(limit_s=...)` gives another limit."""
    marker = request.node.get_closest_marker("faults")
    seconds = marker.kwargs.get("limit_s", LIMIT_S) if marker else LIMIT_S

    def too_long(number: int, frame: object) -> None:
        raise TimeoutError(f"{request.node.name} has taken {seconds} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Account:
    """What the drill's sweep comes to when nothing is done to it."""
    verdict, found = perform(FAULTS[0], tmp_path_factory.mktemp("calm"), None)
    assert verdict.verdict == "held", verdict.wrong
    assert found is not None
    return found


@pytest.fixture
def held(undisturbed: Account, tmp_path: Path) -> Callable[..., Verdict]:
    """Bring a fault about, and fail unless everything held."""

    def bring_about(fault: Fault, seed: int = 0) -> Verdict:
        verdict, _ = perform(fault, tmp_path, undisturbed, seed=seed)
        if verdict.verdict == "skipped":
            pytest.skip(verdict.wrong[0])
        assert (verdict.verdict, verdict.wrong) == ("held", ())
        return verdict

    return bring_about


@pytest.fixture
def assert_nothing_lost() -> Callable[[Rig, Account], None]:
    """Trials exact, every value once and bit-equal, best right; journal, study and MLflow tell the same."""

    def check(rig: Rig, undisturbed: Account) -> None:
        assert differences(rig, undisturbed) == []

    return check
