"""Several sweeps on one cluster: who may run how many trials, decided alike by every driver from what all have written down.

Every driver writes what its sweep asks for into a folder that all see, anew every few seconds, and reads the others'. One that
stops writing, because it has ended or died, no longer counts after ``STALE_S``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...trainables.lossless_json import dumps, loads
from ..errors import UserError

STALE_S = 30.0
_EPS = 1e-6


@dataclass(frozen=True)
class Claim:
    """What one sweep asks of the cluster.

    Attributes:
        since: unix seconds; of equals the older one comes first.
        priority: larger ones are served first.
        most: trials it could run at once, were it alone.
        trial: what one trial takes, by kind of resource.
        reserve: what the workers of its stages take beside the trials.
    """

    sweep: str
    since: float
    priority: int
    most: int
    trial: Mapping[str, float]
    reserve: Mapping[str, float] = field(default_factory=dict)


def allot(have: Mapping[str, float], claims: Sequence[Claim]) -> dict[str, int]:
    """How many trials each sweep may run.

    By priority; among equals the next trial goes to the sweep with the smallest dominant share, which is the largest
    part it has of any one kind of resource (Ghodsi et al., Dominant Resource Fairness, NSDI 2011). Room for workers of
    stages is kept once, as large as the largest that any of them needs.

    Args:
        have: the cluster's resources.
    """
    given = {claim.sweep: 0 for claim in claims}
    left: Mapping[str, float] = have
    reserve: Mapping[str, float] = {}
    for priority in sorted({claim.priority for claim in claims}, reverse=True):
        asking = [claim for claim in claims if claim.priority == priority and claim.most > 0]
        while asking:
            first = min(
                asking, key=lambda claim: (_share(claim, given[claim.sweep], have), claim.since, claim.sweep)
            )
            wider = _larger(reserve, first.reserve)
            if not _fits(first.trial, left, wider):
                asking.remove(first)
                continue
            reserve = wider
            left = {kind: amount - first.trial.get(kind, 0) for kind, amount in left.items()}
            given[first.sweep] += 1
            if given[first.sweep] >= first.most:
                asking.remove(first)
    return given


def _larger(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {kind: max(one.get(kind, 0.0), other.get(kind, 0.0)) for kind in (*one, *other)}


def _share(claim: Claim, count: int, have: Mapping[str, float]) -> float:
    return max(
        (count * amount / have[kind] for kind, amount in claim.trial.items() if have.get(kind)), default=0.0
    )


def _fits(trial: Mapping[str, float], left: Mapping[str, float], reserve: Mapping[str, float]) -> bool:
    return all(
        left.get(kind, 0) - reserve.get(kind, 0) - amount > -_EPS
        for kind, amount in trial.items()
        if amount > 0
    )


class Board:
    """Where drivers of one cluster see what each other's sweeps ask for.

    Args:
        folder: seen by all of them; made when missing.
        sweep: whose claim is written here.
    """

    def __init__(self, folder: Path, sweep: str):
        self._folder, self._file = folder, folder / f"{sweep}.json"

    def post(self, claim: Claim) -> list[Claim]:
        """Write a claim down and read all that stand, this one among them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._file.with_suffix(".aside")
        aside.write_text(dumps(vars(claim)))
        os.replace(aside, self._file)
        # The age of files by the clock of whoever keeps them: those of the drivers' machines may differ.
        now_s = self._file.stat().st_mtime
        return [claim, *self._others(now_s)]

    def withdraw(self) -> None:
        """Ask for nothing any more."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)

    def _others(self, now_s: float) -> list[Claim]:
        found = []
        for file in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                if file != self._file and now_s - file.stat().st_mtime < STALE_S:
                    found.append(Claim(**loads(file.read_bytes())))
        return found


def board_folder(root: Path, cluster: str) -> Path:
    """Where the board of a cluster lies in a flowsweep home."""
    return root / "shares" / re.sub(r"[^A-Za-z0-9._-]", "-", cluster)


@dataclass(frozen=True)
class Wish:
    """What a person has last said about a running sweep; None where nothing was said."""

    max_concurrent: int | None = None
    priority: int | None = None


ALL = "all"


class Wishes:
    """Wishes for a sweep, one line each; the last word on each counts. Anybody may add, the driver reads.

    Args:
        path: the file; one that does not exist holds none.
    """

    def __init__(self, path: Path):
        self.path = path
        self._seen, self._last = -1, Wish()

    def add(self, **said: Any) -> None:
        """Append a wish: ``max_concurrent`` (a number, or ``all``) and ``priority``, whichever was said."""
        try:
            with open(self.path, "ab") as file:
                file.write(dumps(said).encode() + b"\n")
        except OSError as error:
            raise UserError(
                f"cannot be written: {error.strerror}", key=str(self.path), fix="Whose sweep is it?"
            ) from None

    def last(self) -> Wish:
        """What counts now."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._seen:
            self._seen, self._last = size, self._read() if size else Wish()
        return self._last

    def _read(self) -> Wish:
        said: dict[str, Any] = {}
        for line in self.path.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError):  # half a line is still being written
                said |= {key: value for key, value in dict(loads(line)).items() if key in vars(Wish())}
        if said.get("max_concurrent") == ALL:
            del said["max_concurrent"]
        return Wish(**said)
