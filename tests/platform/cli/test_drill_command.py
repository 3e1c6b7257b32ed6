"""`flowsweep drill` before it starts anything."""

from __future__ import annotations

import json

import pytest


def test_what_there_is_can_be_listed_and_chosen(run):
    code, out, _ = run("drill", "--list", "--json")
    names = [fault["name"] for fault in json.loads(out)]
    assert code == 0
    assert len(names) == len(set(names)) > 10
    code, out, _ = run("drill", "--list", "--only", "disk-full", "--json")
    assert [fault["name"] for fault in json.loads(out)] == [names[0], "disk-full"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "disk-ful"], "--only: no such fault (got 'disk-ful'). Did you mean `disk-full`?"),
        (["--folder", "/no/such/place"], "--folder: is no folder"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(run, tmp_path, arguments, said):
    code, _, err = run("drill", *arguments)
    assert (code, said in err) == (2, True), err
    assert not (tmp_path / "home").exists()
