"""Trials that failed, tried again because somebody asked for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Refused, UserError, nearest
from ..paths import SweepPaths
from ..record.journal import Fact
from ..running.failures import CLASSES, class_of
from .courses import Course, courses


@dataclass(frozen=True)
class Chosen:
    """Which failures to try again.

    Attributes:
        classes: of failures; all when empty.
        trials: by name; all when empty.
    """

    classes: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.classes:
            if name not in CLASSES:
                raise UserError("no class of failures", key="--class", value=name, fix=nearest(name, CLASSES))


def failed_trials(recorded: Sequence[Fact], chosen: Chosen) -> dict[str, str]:
    """The failed trials that are meant, and the class each failed with.

    Raises:
        UserError: a trial does not exist.
        Refused: a named trial has not failed, or no trial is meant.
    """
    known = courses(recorded)
    for name in chosen.trials:
        if name not in known:
            raise UserError(
                "no such trial in this sweep", key="--trial", value=name, fix=nearest(name, known)
            )
        if _class(known[name]) is None:
            raise Refused(
                f"has not failed: it {_state(known[name])}",
                key="--trial",
                value=name,
                fix="Only failed trials are tried again; `flowsweep resume` continues unfinished ones.",
            )
    meant = {
        name: failed
        for name, course in known.items()
        if (failed := _class(course))
        and (not chosen.trials or name in chosen.trials)
        and (not chosen.classes or failed in chosen.classes)
    }
    if not meant:
        there = sorted({failed for course in known.values() if (failed := _class(course))})
        raise Refused(
            "no trial of this sweep failed like that" if there else "no trial of this sweep has failed",
            key="--class" if chosen.classes else None,
            fix=f"There are: {', '.join(there)}." if there else "See `flowsweep show`.",
        )
    return meant


def reopen_failed(
    meant: Mapping[str, str],
    recorded: Sequence[Fact],
    paths: SweepPaths,
    record: Callable[..., Any],
    code_changed: bool,
) -> None:
    """Put on record that failed trials are tried again; the next to take up the sweep runs them.

    They go on from their last checkpoint. One that diverged begins anew, as do all whose code has changed since: what is
    left of them is put away first.

    Args:
        record: puts a fact about a trial on record (``record(kind, trial, **data)``).
    """
    known = courses(recorded)
    for trial, failed in meant.items():
        course = known[trial]
        afresh = code_changed or failed == "diverged"
        if afresh:
            _forget(paths, trial)
        seeds = course.request.get("seeds", (0,))
        lanes = 1 if failed == "out_of_memory" and len(seeds) > 1 else course.request.get("lanes")
        reason = (course.ending or {}).get("reason") or ""
        said = {"class": failed, "reason": reason, "lanes": lanes, "asked": True, "afresh": afresh}
        record("trial_retried", trial, **said)


def _class(course: Course) -> str | None:
    return class_of(course.ending) if course.ending else None


def _state(course: Course) -> str:
    if course.ending is None:
        return "has not ended"
    return {"finished": "ran to its end", "pruned": "was stopped early"}.get(
        course.ending["status"], f"is {course.ending['status']}"
    )


def _forget(paths: SweepPaths, trial: str) -> None:
    folder = paths.trials / trial
    stale: Collection[Any] = [*folder.glob("*/step-*"), *folder.glob("*/best.json"), folder / "unheard.jsonl"]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
