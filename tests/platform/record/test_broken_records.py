"""One sweep whose record is broken, in every way that JSON can be, beside one that is whole."""

from __future__ import annotations

import json
import random

import pytest

SEEDS = range(12)
HARMS = ["null", "[]", "{}", "5", '{"seq": 0}', "not json", "\x00"]


def break_(text: str, seed: int) -> str:
    """A record with one line made something else: other JSON, or a fact some of whose values have another form."""
    dice, lines = random.Random(seed), text.splitlines()
    at = dice.randrange(len(lines))
    if seed % 3 == 0:
        lines[at] = dice.choice(HARMS)
        return "\n".join(lines) + "\n"
    fact = json.loads(lines[at])
    place, key = fact, "event"
    while isinstance(place[key], dict) and place[key] and dice.random() < 0.8:
        place = place[key]
        key = dice.choice(list(place))
    if seed % 3 == 1:
        place[key] = dice.choice([None, [], 5, "x", {"a": 1}, [{}]])
    else:
        del place[key]
    lines[at] = json.dumps(fact)
    return "\n".join(lines) + "\n"


@pytest.fixture
def two_sweeps(walked):
    walked("whole", "t0000")
    return walked("broken", "t0000")


def test_one_broken_record_breaks_no_command_for_the_others(two_sweeps, run):
    journal = two_sweeps.sweep("broken").journal
    text = journal.read_text()
    for seed in SEEDS:
        journal.write_text(break_(text, seed))
        for command in (("list", "--json"), ("stages", "--json"), ("gc", "--json"), ("delete", "broken")):
            code, _, err = run(*command)
            assert code in (0, 2), (seed, command, err)
            assert "Traceback" not in err
        listed = {one["name"]: one["status"] for one in json.loads(run("list", "--json")[1])}
        assert listed["whole"] == "finished"
        code, _, err = run("show", "broken")
        assert code in (0, 1, 2), (seed, err)
        assert "Traceback" not in err


def test_a_broken_record_is_told_with_its_path(two_sweeps, run):
    journal = two_sweeps.sweep("broken").journal
    journal.write_text("null\n" + journal.read_text())
    code, _, err = run("show", "broken")
    assert (code, f"{journal}: the record is damaged at line 1" in err) == (2, True)
