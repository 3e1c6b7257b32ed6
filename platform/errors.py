"""Mistakes and refusals of the platform, with the exit code each one ends the command with."""

from __future__ import annotations

from ..trainables.errors import UserError, UserErrors, nearest

__all__ = ["Refused", "Unreachable", "UserError", "UserErrors", "behind", "nearest"]


class Refused(UserError):
    """The request is well formed but must not be carried out now (a name is taken, a sweep is running)."""

    exit_code = 3


class Unreachable(UserError):
    """A server or cluster the request needs does not answer."""

    exit_code = 4


def behind(error: BaseException) -> UserError | None:
    """The mistake or refusal that another library has wrapped into an exception of its own, if there is one."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, UserError):
        seen = seen.__cause__ or seen.__context__
    return seen
