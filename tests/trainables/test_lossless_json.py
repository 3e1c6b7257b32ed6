"""JSON that keeps what JSON has no word for."""

from __future__ import annotations

import json
import math

import pytest
from flowsweep.trainables.lossless_json import dumps, loads


@pytest.mark.parametrize("as_bytes", [False, True])
def test_what_is_not_finite_comes_back_and_other_readers_can_parse_it(as_bytes):
    text = dumps({"a": [math.nan, math.inf], "b": {"c": -math.inf, "d": 0.1}})
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    back = loads(text.encode() if as_bytes else text)
    assert math.isnan(back["a"][0])
    assert back["a"][1] == math.inf
    assert back["b"] == {"c": -math.inf, "d": 0.1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [('{"a": NaN}', "not JSON"), ("[-Infinity]", "not JSON"), ("{", "Expecting"), (b"\xff", "decode")],
)
def test_text_that_is_not_json_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        loads(text)


def test_the_word_for_them_cannot_be_used_for_something_else():
    with pytest.raises(ValueError, match="reserved"):
        dumps({"$float": 1})
