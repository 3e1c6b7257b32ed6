"""The events of a sweep: typed, frozen, told apart by their kind, and documented from their own words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from flowsweep.platform.errors import Refused, UserError
from flowsweep.platform.journal.events import EVENTS, UNRECORDED, Entry, TrialEnded, events_table
from flowsweep.platform.journal.journal import as_line, from_line, read
from flowsweep.trainables.events import Evaluated, Progress
from pydantic import ValidationError

RECORDS = Path(__file__).parents[3] / "docs" / "records.md"


def test_the_table_in_the_documentation_is_the_one_made_from_the_classes():
    assert events_table() in RECORDS.read_text(encoding="utf-8")


def test_every_event_says_what_it_is():
    assert not [kind for kind, event in EVENTS.items() if not (event.__doc__ or "").strip()]
    assert len({event.__doc__ for event in EVENTS.values()}) == len(EVENTS)
    assert all(event in EVENTS.values() for event in UNRECORDED)


def test_an_entry_comes_back_from_its_line_as_it_was():
    event = Evaluated(
        stage="tune", step=10, steps=40, seeds=(0, 1), metrics={"return": [0.1, 0.2]}, episodes=[{"return": [1.0]}, {}]
    )  # fmt: skip
    entry = Entry(seq=3, time=1.5, trial="t0", event=event)
    assert from_line(as_line(entry)) == entry


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_no_word_for_are_kept(value):
    event = Progress(stage="tune", step=1, steps=2, seeds=(0,), metrics={"loss": [value]})
    back = from_line(as_line(Entry(seq=0, time=0.0, trial="t0", event=event))).event
    assert isinstance(back, Progress)
    assert repr(back.metrics["loss"][0]) == repr(value)


def test_an_event_cannot_be_changed_and_takes_no_field_it_does_not_know():
    event = TrialEnded(status="finished")
    with pytest.raises(ValidationError):
        event.status = "failed"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        TrialEnded(status="finished", vaule=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="status"):
        TrialEnded(status="done")  # type: ignore[arg-type]


def test_a_journal_of_an_older_version_is_refused_in_words(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"seq":0,"time":1.0,"kind":"sweep_started","trial":null,"data":{"name":"old"}}\n')
    with pytest.raises(Refused, match=r"recorded by flowsweep 0\.1, which this version does not read"):
        list(read(path))


def test_an_unknown_kind_is_damage(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"seq":0,"time":1.0,"trial":null,"event":{"kind":"nonsense"}}\n')
    with pytest.raises(UserError, match="damaged at line 1"):
        list(read(path))


def test_a_line_that_only_says_more_is_told_as_one_of_a_newer_version(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(
        '{"seq":0,"time":1.0,"trial":null,"event":{"kind":"search_ended","reason":"x","mood":"good"}}\n'
    )
    with pytest.raises(UserError, match=r"does not know \(mood\): read it with the newer flowsweep"):
        list(read(path))
