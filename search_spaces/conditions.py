"""Parameters that are searched only where others have certain values, and the finite spaces one can count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..trainables.errors import UserError, nearest
from .parameters import Choice, Integer, Real, Space, same_value

MOST_COUNTED = 100_000
"""A finite space larger than this is not counted out."""


def in_order(space: Space) -> list[str]:
    """The parameters so that each follows those it depends on; otherwise in the space's own order.

    Raises:
        UserError: parameters depend on each other in a circle.
    """
    ordered: list[str] = []
    waiting = list(space)
    while waiting:
        ready = next((key for key in waiting if not set(space[key].when) & set(waiting)), None)
        if ready is None:
            raise UserError(
                "depends on itself: " + " and ".join(f"`{key}`" for key in waiting),
                key=f"space.{waiting[0]}.when",
                fix="Take one of these conditions out.",
            )
        ordered.append(ready)
        waiting.remove(ready)
    return ordered


def is_active(parameter: Real | Integer | Choice, params: Mapping[str, Any]) -> bool:
    """Whether a parameter is searched beside these; one whose parent is not searched is not either."""
    return all(
        parent in params and any(same_value(params[parent], value) for value in _allowed(wanted))
        for parent, wanted in parameter.when.items()
    )


def is_conditional(space: Space) -> bool:
    """Whether any parameter depends on another."""
    return any(parameter.when for parameter in space.values())


def supporting(space: Space, key: str) -> dict[str, Any]:
    """Values of other parameters under which ``key`` is searched: the first allowed of each parent, and of theirs."""
    found: dict[str, Any] = {}
    for parent, wanted in space[key].when.items():
        if parent in space:
            found |= {**supporting(space, parent), parent: _allowed(wanted)[0]}
    return found


def condition_errors(space: Space) -> Iterator[UserError]:
    """What is wrong with the conditions of a space."""
    for key, parameter in space.items():
        for parent, wanted in parameter.when.items():
            yield from _parent_errors(space, key, parent, _allowed(wanted))
    try:
        in_order(space)
    except UserError as error:
        yield error


def configurations(space: Space) -> int | None:
    """How many configurations a finite space holds; None where it is continuous or too large to count."""
    if any(isinstance(parameter, Real) for parameter in space.values()):
        return None
    if not is_conditional(space):
        count = 1
        for parameter in space.values():
            count *= len(_values(parameter))
        return count if count <= MOST_COUNTED else None
    count = 0
    for count, _ in enumerate(_all(space, in_order(space), {}), 1):
        if count > MOST_COUNTED:
            return None
    return count


def _all(space: Space, order: list[str], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not order:
        yield params
    elif not is_active(space[order[0]], params):
        yield from _all(space, order[1:], params)
    else:
        for value in _values(space[order[0]]):
            yield from _all(space, order[1:], {**params, order[0]: value})


def _parent_errors(space: Space, key: str, parent: str, allowed: tuple) -> Iterable[UserError]:
    where = f"space.{key}.when.{parent}"
    above = space.get(parent)
    if above is None:
        yield UserError("is not searched, so nothing can depend on it", key=where, fix=nearest(parent, space))
        return
    if isinstance(above, Real):
        yield UserError(
            "is a continuous range, and a condition names single values",
            key=where,
            fix="Search it as `values: [...]` or `type: integer`.",
        )
        return
    if not allowed:
        yield UserError("names no value", key=where, fix="Name the values under which it is searched.")
    for value in allowed:
        if not _contains(above, value):
            known = list(above.values) if isinstance(above, Choice) else f"{above.low} to {above.high}"
            yield UserError(f"is never this value; it is searched over {known}", key=where, value=value)


def _allowed(wanted: Any) -> tuple:
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _contains(parameter: Integer | Choice, value: Any) -> bool:
    if isinstance(parameter, Choice):
        return any(same_value(value, choice) for choice in parameter.values)
    return isinstance(value, int) and not isinstance(value, bool) and parameter.low <= value <= parameter.high


def _values(parameter: Real | Integer | Choice) -> Any:
    if isinstance(parameter, Choice):
        return parameter.values
    return range(int(parameter.low), int(parameter.high) + 1)
