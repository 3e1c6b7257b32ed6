"""What would run: trials, rungs, stages computed and reused, episodes, hours, disk. Starts nothing."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...search_spaces.conditions import configurations
from ...search_spaces.parameters import Choice, Integer
from ...trainables.acceleration import check_acceleration
from ...trainables.base import Source, Stage, identity_key
from ..errors import UserError
from ..paths import Home
from ..record.findings import idle_ranges
from ..running.budget import estimates
from ..running.scheduling import rungs
from ..search.history import earlier_trials
from ..store.base import Stages
from ..store.opening import check_store, open_store
from ..store.stages import StageStore
from ..tracking.check import check_tracker
from .goals import Goals
from .resolve import Resolved, resolve
from .room import Node
from .search_checks import check_search, search_warnings
from .spec import Resources, SweepSpec
from .workers import ELSEWHERE, check_fit, crowded, trials_at_once


@dataclass(frozen=True)
class StageRow:
    """One stage in the plan.

    Attributes:
        workers: how many compute one output together.
        needed: times a trial needs the stage's output, over all trials and seeds.
        computed: times it is computed at most.
        stored: times it is already in the stage store.
        core_h: estimated core-hours of what is computed.
        saved_core_h: estimated core-hours that sharing saves.
    """

    stage: str
    phase: str
    steps: int
    workers: int
    needed: int
    computed: int
    stored: int
    core_h: float
    saved_core_h: float
    disk_bytes: int


@dataclass(frozen=True)
class Plan:
    """A sweep that can start.

    Attributes:
        source: description of what is learnt from.
        episodes: evaluation episodes if no trial stops early.
        core_h: estimated core-hours of training if no trial stops early.
        hours: the same on the cores the sweep may use.
        warnings: settings that are allowed but cannot do what they seem to ask, and ranges searched in vain.
    """

    resolved: Resolved
    fingerprint: str
    source: Mapping[str, Any]
    stages: tuple[StageRow, ...]
    rungs: tuple[int, ...]
    episodes: int
    concurrent: int
    core_h: float
    saved_core_h: float
    hours: float
    disk_bytes: int
    warnings: tuple[str, ...]

    @property
    def spec(self) -> SweepSpec:
        """The sweep file."""
        return self.resolved.spec

    @property
    def trials(self) -> int:
        """Search trials it can run: no more than there are different configurations."""
        return trials_to_run(self.resolved)

    @property
    def budget(self) -> dict[str, dict[str, float]]:
        """Every limit of the sweep's budget beside what the search is expected to take."""
        return estimates(self.spec.budget, self.stages, self.spec.resources.gpus, self.concurrent)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON."""
        spec = self.spec
        return {
            "name": spec.name,
            "system": spec.system,
            spec.source.kind: {"name": spec.source.name, "fingerprint": self.fingerprint},
            "objective": spec.objective.model_dump(),
            "constraints": [limit.text for limit in spec.constraints],
            "trials": self.trials,
            "searched": {
                key: parameter.model_dump(mode="json") for key, parameter in self.resolved.space.items()
            },
            "rungs": list(self.rungs),
            "stages": [asdict(row) for row in self.stages],
            "episodes": self.episodes,
            "concurrent": self.concurrent,
            "core_h": self.core_h,
            "saved_core_h": self.saved_core_h,
            "hours": self.hours,
            "disk_bytes": self.disk_bytes,
            "budget": self.budget,
            "warnings": list(self.warnings),
        }


def make_plan(spec: SweepSpec, home: Home, *, elsewhere: bool = False, ask_tracker: bool = True) -> Plan:
    """Check everything about a sweep and count what it would do.

    Args:
        home: where stages may already be stored.
        elsewhere: it will run on a cluster, whose size is looked at there; otherwise on this machine.
        ask_tracker: see that the tracker answers; one that runs already does not wait for it.

    Raises:
        UserError: something about the sweep cannot work.
        Unreachable: the tracker, the stage store or the study's storage does not answer.
    """
    resolved = resolve(spec)  # a mistake in the file is told before data are looked for
    if spec.tracking.uri and ask_tracker:
        check_tracker(spec.tracking.uri)
    if elsewhere:
        concurrent = spec.resources.concurrent or spec.search.trials
    else:
        concurrent = concurrent_trials(spec.resources, [here := local_capacity()])
        _check_threads(spec.resources, here)
    if not elsewhere:
        check_acceleration(spec.resources.acceleration)
        check_store(home, spec.storage.stages)
    source = resolved.system.open_source(spec.source.name)
    resolved = resolve(spec, source)
    spec = resolved.spec
    check_search(resolved, elsewhere=elsewhere)
    # On a cluster its own plan tries, with what is installed there.
    scored = [] if elsewhere else _tried(resolved, source)
    if not elsewhere and not home.sweep(spec.name).journal.exists():
        earlier_trials(resolved, source.fingerprint, home)  # refused now rather than when the sweep starts
    store = StageStore(home.stages) if elsewhere else open_store(home, spec.storage.stages)
    rows = [*_search_rows(resolved, source, store), *_confirm_rows(resolved, source)]
    core_h = sum(row.core_h for row in rows)
    steps, trials = resolved.configs[resolved.stage].steps, trials_to_run(resolved)
    return Plan(
        resolved=resolved,
        fingerprint=source.fingerprint,
        source=source.describe(),
        stages=tuple(rows),
        rungs=tuple(rungs(spec.stop, steps)),
        episodes=_episodes(resolved, steps, trials),
        concurrent=concurrent,
        core_h=core_h,
        saved_core_h=sum(row.saved_core_h for row in rows),
        hours=core_h / min(concurrent, trials),
        disk_bytes=sum(row.disk_bytes for row in rows),
        warnings=(*scored, *resolved.warnings(), *idle_ranges(resolved), *search_warnings(resolved)),
    )


def _tried(resolved: Resolved, source: Source) -> list[str]:
    """Whether every metric that is looked at can be reported, tried; what is worth knowing of it.

    Raises:
        UserError: one cannot.
    """
    metrics = [metric.split("/", 1)[1] for metric in Goals.of(resolved.spec).metrics]
    return resolved.system.stage(resolved.stage).check(source, metrics)


def local_capacity() -> Node:
    """CPUs this process may use and GPUs of this machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = (
        len(glob.glob("/dev/nvidia[0-9]*")) if visible is None else len([v for v in visible.split(",") if v])
    )
    return Node({"CPU": float(len(os.sched_getaffinity(0))), "GPU": float(gpus)})


def concurrent_trials(resources: Resources, nodes: Sequence[Node]) -> int:
    """How many trials run at once.

    Args:
        nodes: what there is to run them on.

    Raises:
        UserError: not even one fits.
    """
    check_fit(resources, nodes)
    if not (fit := trials_at_once(resources, nodes, resources.concurrent)):
        raise crowded(resources, nodes)
    return fit


def trials_to_run(resolved: Resolved) -> int:
    """Search trials wanted, or all the configurations there are where these are fewer."""
    wanted = resolved.spec.search.trials
    size = configurations(resolved.space)
    return wanted if size is None else min(wanted, size)


def _check_threads(resources: Resources, here: Node) -> None:
    cores = int(here.resources["CPU"])
    if resources.threads > cores:
        raise UserError(
            f"more threads than the {cores} cores of this machine", key="resources.threads",
            value=resources.threads, fix=ELSEWHERE,
        )  # fmt: skip


def _search_rows(resolved: Resolved, source: Source, store: Stages) -> list[StageRow]:
    spec, rows, variants = resolved.spec, [], 1
    trials = trials_to_run(resolved)
    keys: dict[int, dict[str, str]] = {seed: {} for seed in spec.seeds.tune}
    for stage in _walked(resolved):
        needed = trials * len(spec.seeds.tune)
        searched = [p for key, p in resolved.space.items() if key.split(".", 1)[0] == stage.name]
        variants = min(trials, variants * _variants(searched, trials))
        stored = 0
        if stage is resolved.system.stages[-1]:
            computed = needed
        else:
            computed = variants * len(spec.seeds.tune)
            if variants == 1:
                outputs = _outputs(resolved, stage, source, keys)
                computed, stored = len(outputs), sum(store.has(key) for key in outputs)
        rows.append(_row(resolved, stage, source, "search", needed, computed - stored, stored))
    return rows


def _confirm_rows(resolved: Resolved, source: Source) -> list[StageRow]:
    spec = resolved.spec
    top = min(spec.confirm.top, trials_to_run(resolved))
    if top == 0 and not spec.confirm.baselines:
        return []
    rows, variants = [], 1
    tuned: dict[int, dict[str, str]] = {seed: {} for seed in spec.seeds.tune}
    tested: dict[int, dict[str, str]] = {seed: {} for seed in spec.seeds.test}
    for stage in _walked(resolved):
        searched = any(key.split(".", 1)[0] == stage.name for key in resolved.space)
        variants = top if searched or stage is resolved.system.stages[-1] else variants
        needed, computed = max(top, 1) * len(spec.seeds.test), variants * len(spec.seeds.test)
        if variants == 1 and stage is not resolved.system.stages[-1]:
            # An output that does not depend on the seed is there since the search.
            there = _outputs(resolved, stage, source, tuned)
            computed = len(_outputs(resolved, stage, source, tested) - there)
        rows.append(_row(resolved, stage, source, "confirm", needed, computed, 0))
    return rows


def _row(
    resolved: Resolved, stage: Stage, source: Source, phase: str, needed: int, computed: int, stored: int
) -> StageRow:
    config = resolved.configs[stage.name]
    cost = stage.cost(resolved.configs, source)
    core_h = cost.core_s / 3600
    return StageRow(
        stage.name,
        phase,
        config.steps,
        resolved.spec.resources.workers.get(stage.name, 1),
        needed,
        computed,
        stored,
        core_h * computed,
        core_h * (needed - computed),
        cost.disk_bytes * computed,
    )


def _walked(resolved: Resolved) -> tuple[Stage, ...]:
    stages = resolved.system.stages
    return stages[: stages.index(resolved.system.stage(resolved.stage)) + 1]


def _variants(parameters: list[Any], trials: int) -> int:
    count = 1
    for parameter in parameters:
        if isinstance(parameter, Choice):
            count *= len(parameter.values)
        else:
            count *= parameter.high - parameter.low + 1 if isinstance(parameter, Integer) else trials
    return count


def _outputs(resolved: Resolved, stage: Stage, source: Source, keys: dict[int, dict[str, str]]) -> set[str]:
    """The keys of a stage's outputs that the seeds need, each once; ``keys`` holds those of earlier stages by seed."""
    for seed, upstream in keys.items():
        identity = stage.identity(resolved.configs[stage.name], upstream, source.fingerprint, seed)
        upstream[stage.name] = identity_key(identity)
    return {upstream[stage.name] for upstream in keys.values()}


def _episodes(resolved: Resolved, steps: int, trials: int) -> int:
    spec = resolved.spec
    if not resolved.system.stage(resolved.stage).episodic:
        return 0
    every = spec.evaluation.every_steps or steps
    each = -(-steps // every) * spec.evaluation.episodes
    confirmed = (
        (min(spec.confirm.top, trials) + len(spec.confirm.baselines))
        * len(spec.seeds.test)
        * spec.confirm.episodes
    )
    return trials * len(spec.seeds.tune) * each + confirmed
