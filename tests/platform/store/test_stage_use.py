"""Who uses what is stored, and what reuse has saved, from real walks over a real store and their journals."""

from __future__ import annotations

import json

import pytest
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.paths import Home
from flowsweep.platform.store.stage_use import StoredStage, saved_by_removed, stored_stages, sweep_uses
from flowsweep.platform.store.stages import StageStore


def stored(home: Home) -> list[StoredStage]:
    return stored_stages(StageStore(home.stages), sweep_uses(home))


def statuses(home: Home) -> dict[str, str]:
    return {use.name: use.status for use in sweep_uses(home)}


def test_what_reuse_saved_is_counted_over_the_journals_of_all_sweeps(walked):
    for sweep in ("first", "second", "third"):
        home = walked(sweep, "t0")
    walked("other", "t0", width=2.0)
    shared, alone = stored(home)
    assert (shared.stage, shared.seed, shared.steps, shared.reused) == ("base", 0, 40, 2)
    told = [
        f.event.saved_cpu_s
        for name in ("second", "third")
        for f in read(home.sweep(name).journal)
        if f.event.kind == "stage_reused"
    ]
    assert shared.saved_cpu_s == pytest.approx(sum(told)) == pytest.approx(2 * shared.cpu_s)
    assert [name for name, _ in shared.users] == ["first", "second", "third"]
    assert (alone.users, alone.reused, alone.saved_cpu_s) == ((("other", "finished"),), 0, 0.0)


def test_every_sweep_but_a_finished_one_is_alive(walked):
    walked("finished", "t0")
    walked("interrupted", "t0", status="interrupted")
    home = walked("died", "t0", ended=None, status=None)
    assert statuses(home) == {"died": "died", "finished": "finished", "interrupted": "interrupted"}
    (stage,) = stored(home)
    assert stage.alive_users == (("died", "died"), ("interrupted", "interrupted"))


def test_a_sweep_whose_journal_is_being_written_is_running_whatever_it_says(walked):
    home = walked("again", "t0")
    with Journal(home.sweep("again").journal):
        assert statuses(home) == {"again": "running"}
    assert statuses(home) == {"again": "finished"}


def test_a_sweep_with_a_damaged_journal_is_alive_and_keeps_every_key_in_it(walked):
    home = walked("broken", "t0")
    (key,) = (stage.key for stage in stored(home))
    journal = home.sweep("broken").journal
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{not json}\n", *lines[1:]]))
    (stage,) = stored(home)
    assert stage.key == key
    assert stage.alive_users == (("broken", "damaged"),)


def test_trials_that_may_be_taken_up_again_are_not_over(walked):
    walked("sweep", "t0", ended="pruned")
    walked("cut", "t0", ended="cancelled", status="interrupted")
    home = walked("open", "t0", ended=None, status=None)
    assert {use.name: set(use.over) for use in sweep_uses(home)} == {
        "sweep": {"t0"},
        "cut": set(),
        "open": set(),
    }


def test_what_removed_outputs_saved_is_not_forgotten(walked):
    walked("first", "t0")
    home = walked("second", "t0")
    (stage,) = stored(home)
    assert saved_by_removed(stored(home), sweep_uses(home)) == 0
    StageStore(home.stages).remove(stage.key)
    assert saved_by_removed([], sweep_uses(home)) == pytest.approx(stage.saved_cpu_s)


def test_the_command_shows_and_prints_what_is_stored(walked, run):
    walked("first", "t0")
    home = walked("second", "t0", status="interrupted")
    (stage,) = stored(home)
    code, said, _ = run("stages")
    assert code == 0
    assert stage.key[:12] in said
    assert "second (interrupted)" in said
    (row,) = json.loads(run("stages", "--json")[1])["stages"]
    assert (row["key"], row["reused"], row["saved_cpu_s"]) == (stage.key, 1, stage.saved_cpu_s)
    assert row["users"] == [
        {"sweep": "first", "status": "finished", "alive": False},
        {"sweep": "second", "status": "interrupted", "alive": True},
    ]


def test_an_empty_home_is_said_and_not_made(run, tmp_path):
    code, said, _ = run("stages")
    assert (code, "No stage output is stored yet" in said) == (0, True)
    assert json.loads(run("stages", "--json")[1])["stages"] == []
    assert not (tmp_path / "home").exists()
