"""flowsweep share: what is asked for is written down, shown, and refused when it makes no sense."""

from __future__ import annotations

import json

import pytest
from flowsweep.platform.cli import app
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import CapacityChanged
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.running.sharing import Wish, Wishes
from typer.testing import CliRunner


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    return Home.default()


def share(*words: str) -> str:
    done = CliRunner().invoke(app, ["share", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def test_a_cap_and_a_priority_are_written_down_and_lifted(home):
    with Journal(home.sweep("one").journal) as journal:
        journal.append(CapacityChanged(trials=3, fit=4, reason="the share beside 1 other sweep(s)"))
        said = share("one", "--max-concurrent", "2", "--priority", "5")
        assert said == (
            "one: at most 2 at once, priority 5. Now 3 of the 4 that fit: the share beside 1 other sweep(s).\n"
        )
        assert json.loads(share("--json"))[0]["now"]["trials"] == 3
    assert Wishes(home.sweep("one").wishes).last() == Wish(2, 5)
    assert share("one", "--max-concurrent", "all").startswith("one: as many as fit at once, priority 5.")
    assert "Nobody runs it now" in share("one")
    assert share() == "No sweep of this home runs.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two", "--priority", "1"], "there is no sweep of this name"),
        (["one", "--max-concurrent", "-1"], "--max-concurrent: is no number"),
        (["one", "--max-concurrent", "2²"], "--max-concurrent: is no number"),
        (["--priority", "1"], "NAME: is required"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(home, words, message):
    with Journal(home.sweep("one").journal):
        pass
    with pytest.raises(UserError, match=message):
        share(*words)
    assert not home.sweep("one").wishes.exists()
