"""What was said and may not have been heard."""

from pathlib import Path

from flowsweep.trainables.spool import Spool


def test_what_was_said_is_there_for_the_next_process_until_it_was_heard(tmp_path: Path):
    spool = Spool(tmp_path / "t0")
    spool.say({"kind": "progress", "step": 1, "metrics": {"loss": [float("inf")]}})
    spool.say({"kind": "progress", "step": 2})
    assert [event["step"] for event in Spool(tmp_path / "t0").unheard()] == [1, 2]
    spool.heard()
    assert Spool(tmp_path / "t0").unheard() == []


def test_a_torn_last_line_was_never_said(tmp_path: Path):
    spool = Spool(tmp_path)
    spool.say({"step": 1})
    with open(spool.path, "a") as file:
        file.write('{"step": 2')
    assert spool.unheard() == [{"step": 1}]
    spool.say({"step": 3})
    assert spool.unheard() == [{"step": 1}, {"step": 3}]


def test_nothing_is_written_for_a_trial_that_said_nothing(tmp_path: Path):
    Spool(tmp_path).heard()
    assert Spool(tmp_path).unheard() == []
    assert not list(tmp_path.iterdir())
