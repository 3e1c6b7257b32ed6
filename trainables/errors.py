"""Failures as typed values: what the user can mend, and how a training can end early."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

SHOWN = 160
"""Characters of a value that a message repeats."""


def shortened(text: str) -> str:
    """A text fit to stand in a message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


class UserError(Exception):
    """Something the user wrote or asked for cannot work; the message says how to mend it.

    Args:
        problem: what is wrong, one sentence without a full stop.
        key: the setting concerned, as the user would write it (``refine.kl_radius``).
        value: what the user gave; omitted from the message when not passed.
        fix: the way out, one imperative sentence.
    """

    exit_code = 2
    _ABSENT = object()

    def __init__(self, problem: str, *, key: str | None = None, value: Any = _ABSENT, fix: str | None = None):
        self.problem, self.key, self.fix = problem, key, fix
        self.value = None if value is self._ABSENT else value
        head = f"{key}: " if key else ""
        got = "" if value is self._ABSENT else f" (got {shortened(repr(value))})"
        super().__init__(f"{head}{problem}{got}." + (f" {fix}" if fix else ""))

    def __reduce__(self):
        # Crosses process boundaries in Ray; the default would call __init__ with the finished message.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[UserError], args: tuple, state: dict) -> Exception:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class PackageMissing(UserError):
    """Code that is asked for cannot be loaded where it is asked for; elsewhere it may be."""


class UnknownSystem(UserError):
    """No package that is installed where it is asked for registers the system; elsewhere one may."""


class UserErrors(UserError):
    """Several mistakes found in one reading, so that the user mends them all at once."""

    def __init__(self, errors: list[UserError]):
        self.errors = errors
        Exception.__init__(
            self, "\n".join(f"- {error}" for error in errors) if len(errors) > 1 else str(errors[0])
        )


class Diverged(Exception):
    """A loss or parameter became non-finite; the trial ends and the search is told, without a retry.

    Args:
        what: the quantity that became non-finite.
        step: the update at which it was noticed.
    """

    def __init__(self, what: str, step: int):
        self.what, self.step = what, step
        super().__init__(f"{what} became non-finite at step {step}")

    def __reduce__(self):
        return type(self), (self.what, self.step)


class EnvironmentFailed(Exception):
    """An environment raised, or answered with what is not a number, in mid-episode; the learner's state is whole.

    Args:
        what: what happened, in the environment's own words where it has any.
        steps: environment steps of the interrupted advance that were taken.
        metrics: means over them, one value per lane, as :meth:`.base.Learner.advance` would have returned.
    """

    def __init__(self, what: str, steps: int = 0, metrics: dict[str, list[float]] | None = None):
        self.what, self.steps, self.metrics = what, steps, metrics or {}
        super().__init__(what)

    def __reduce__(self):
        return type(self), (self.what, self.steps, self.metrics)


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: ``did you mean `a`?``, or the list of what is known."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(known)}."
