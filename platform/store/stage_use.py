"""Who uses which stored stage output, and what sharing it has saved, as the journals of a home tell it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ...trainables.artifacts import Artifact
from ...trainables.events import StageReused
from ..errors import UserError
from ..journal.journal import writer_of
from ..journal.state import SweepState, read_sweep
from ..paths import Home, SweepPaths
from .base import Stages


@dataclass(frozen=True)
class SweepUse:
    """What one sweep needs of what is stored.

    Attributes:
        status: ``running``, ``interrupted``, ``died`` (it can be resumed), ``damaged`` or ``finished``.
        keys: every stage output its journal names.
        reused: by key, how often a trial took it from the store and the process time that saved, in seconds.
        over: trials that will never go on.
        store: the stage store its file names; None for the usual one.
    """

    paths: SweepPaths
    status: str
    keys: frozenset[str] = frozenset()
    reused: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    over: frozenset[str] = frozenset()
    store: str | None = None

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.paths.name

    @property
    def alive(self) -> bool:
        """Whether it may still need what it has used."""
        return self.status != "finished"


@dataclass(frozen=True)
class StoredStage:
    """A stage output in the store and who uses it.

    Attributes:
        last_used: unix seconds of its last use by anyone, this home's sweeps or not.
        path: where it is stored, a folder or an address.
        upstream: keys of the stage outputs it was computed from.
        users: (sweep, status) of every sweep of this home that names it.
        reused: how often a trial took it from the store.
        saved_cpu_s: process time that did not have to be spent again.
    """

    key: str
    stage: str
    seed: int | None
    steps: int
    bytes: int
    cpu_s: float
    created: float
    last_used: float
    path: str
    upstream: tuple[str, ...] = ()
    users: tuple[tuple[str, str], ...] = ()
    reused: int = 0
    saved_cpu_s: float = 0.0

    @property
    def alive_users(self) -> tuple[tuple[str, str], ...]:
        """Those of its users that may still need it."""
        return tuple((name, status) for name, status in self.users if status != "finished")


def sweep_uses(home: Home) -> list[SweepUse]:
    """What every sweep of a home needs; one whose journal is damaged counts as alive, with every key in it."""
    folders = sorted(home.sweeps.iterdir()) if home.sweeps.exists() else []
    return [sweep_use(paths) for paths in map(SweepPaths, folders) if paths.journal.exists()]


def sweep_use(paths: SweepPaths) -> SweepUse:
    """What one sweep needs."""
    try:
        return _use(read_sweep(paths, keep_reports=False))
    except UserError:
        text = ""
        with suppress(OSError):
            text = paths.journal.read_text(encoding="utf-8", errors="replace")
        return SweepUse(paths, "damaged", frozenset(re.findall(r"\b[0-9a-f]{64}\b", text)))


def _use(record: SweepState) -> SweepUse:
    paths = record.paths
    reused: dict[str, tuple[int, float]] = {}
    uses = [use for trial in record.trials.values() for use in trial.stages]
    for use in uses:
        if isinstance(use, StageReused):
            count, saved_cpu_s = reused.get(use.key, (0, 0.0))
            reused[use.key] = count + 1, saved_cpu_s + use.saved_cpu_s
    over = frozenset(name for name, trial in record.trials.items() if trial.status.is_final)
    store = record.spec.get("storage", {}).get("stages")
    return SweepUse(paths, _status(record), frozenset(use.key for use in uses), reused, over, store)


def _status(record: SweepState) -> str:
    if writer_of(record.paths.journal) is not None:
        return "running"
    return "died" if record.status == "running" else record.status


def stored_stages(store: Stages, uses: Iterable[SweepUse]) -> list[StoredStage]:
    """Everything in the store, what has saved most first; among equals the costliest."""
    uses = list(uses)
    found = [_stored(artifact, store, uses) for artifact in store.list()]
    return sorted(found, key=lambda stage: (-stage.saved_cpu_s, -stage.cpu_s, stage.key))


def _stored(artifact: Artifact, store: Stages, uses: list[SweepUse]) -> StoredStage:
    identity = artifact.provenance.identity
    times = [use.reused.get(artifact.key, (0, 0.0)) for use in uses]
    return StoredStage(
        key=artifact.key,
        stage=identity.get("stage", "?"),
        seed=identity.get("seed"),
        steps=artifact.provenance.steps,
        bytes=artifact.stored_bytes,
        cpu_s=artifact.provenance.cpu_s,
        created=artifact.created,
        last_used=artifact.last_used,
        path=store.where(artifact.key),
        upstream=tuple(identity.get("upstream", {}).values()),
        users=tuple((use.name, use.status) for use in uses if artifact.key in use.keys),
        reused=sum(count for count, _ in times),
        saved_cpu_s=sum(saved for _, saved in times),
    )


def saved_by_removed(stages: Iterable[StoredStage], uses: Iterable[SweepUse]) -> float:
    """Process time, in seconds, saved by outputs that are no longer stored."""
    kept = {stage.key for stage in stages}
    return sum(saved for use in uses for key, (_, saved) in use.reused.items() if key not in kept)
