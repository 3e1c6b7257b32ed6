"""What has become of each trial so far, told by its facts: proposed, ended, taken up again, taken further."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..record.journal import Fact

REOPENING = frozenset({"trial_retried", "trial_extended"})
"""Facts after which an earlier ending no longer counts."""
UNFINISHED = frozenset({"cancelled", "preempted"})
"""Endings that a resumed sweep takes up again."""


@dataclass
class Course:
    """One trial.

    Attributes:
        request: what it is asked to do, as it stands now.
        ending: its newest ``trial_ended``, unless it was reopened since.
        reopened: whether it was, after an ending that was final.
        facts: about it, from its proposal on; without those of an attempt that was given up to begin anew.
    """

    trial: str
    phase: str
    params: Mapping[str, Any]
    request: Mapping[str, Any]
    ending: Mapping[str, Any] | None = None
    reopened: bool = False
    facts: list[Fact] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it is to go on."""
        return self.ending is None or self.ending["status"] in UNFINISHED


def courses(recorded: Iterable[Fact]) -> dict[str, Course]:
    """The course of every trial, in the order they were proposed."""
    found: dict[str, Course] = {}
    for fact in recorded:
        if fact.trial is None:
            continue
        if fact.kind == "trial_proposed":
            data = fact.data
            found[fact.trial] = Course(
                fact.trial, data["phase"], data["params"], data.get("request", {}), facts=[fact]
            )
        elif (course := found.get(fact.trial)) is not None:
            if fact.kind == "trial_retried" and fact.data.get("afresh"):
                course.facts = course.facts[:1]  # what it once reported is not what it is now
            course.facts.append(fact)
            _take(course, fact)
    return found


def settled(recorded: Sequence[Fact]) -> list[Fact]:
    """The facts without endings that no longer count: what a search should be told."""
    last_reopened = {fact.trial: fact.seq for fact in recorded if fact.kind in REOPENING}
    return [
        fact
        for fact in recorded
        if fact.kind != "trial_ended" or fact.seq > last_reopened.get(fact.trial, -1)
    ]


def _take(course: Course, fact: Fact) -> None:
    if fact.kind == "trial_ended":
        course.ending, course.reopened = fact.data, False
    elif fact.kind in REOPENING:
        course.reopened = course.reopened or (
            course.ending is not None and course.ending["status"] not in UNFINISHED
        )
        course.ending = None
        if fact.kind == "trial_extended":
            course.request = fact.data["request"]
        else:
            course.request = {**course.request, "lanes": fact.data.get("lanes")}
