"""Mistakes stay what they are, whoever wraps them."""

from __future__ import annotations

from flowsweep.platform.errors import Refused, UserError, behind


def wrapped(error: Exception, *, told: bool) -> Exception:
    try:
        try:
            raise error
        except Exception as inner:
            if told:
                raise RuntimeError("the loop failed") from inner
            raise RuntimeError("the loop failed")  # noqa: B904
    except RuntimeError as outer:
        return outer


def test_the_mistake_behind_another_library_s_exception_is_found():
    mistake = Refused("no", key="name")
    assert behind(mistake) is mistake
    assert behind(wrapped(mistake, told=True)) is mistake
    assert behind(wrapped(wrapped(mistake, told=False), told=False)) is mistake
    assert isinstance(mistake, UserError)


def test_what_is_no_mistake_has_none_behind_it():
    assert behind(wrapped(ValueError("a bug"), told=True)) is None
