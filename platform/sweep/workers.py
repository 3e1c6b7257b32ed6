"""Who computes a stage with what: what may be asked for, what nodes have, and the room kept beside the trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...trainables.base import System
from ...trainables.request import Share, Workers
from ..errors import UserError, nearest
from .room import Demand, Node, described, fits_somehow, trials_beside, trials_that_fit
from .spec import Resources

ELSEWHERE = "Lower it, or run on a cluster that has them (`flowsweep submit`)."


def workers_of(resources: Resources) -> Workers:
    """What a trial is told."""
    counts = {stage: count for stage, count in resources.workers.items() if count > 1}
    trial = Share(cpus=resources.cpus, gpus=resources.gpus, custom=resources.custom, labels=resources.labels)
    stages = {
        stage: trial.model_copy(update=dict(own.model_dump(exclude_none=True)))
        for stage, own in resources.stages.items()
    }
    return Workers(counts=counts, stages=stages, retries=resources.retries, **trial.model_dump())


def demand_of(resources: Resources) -> Demand:
    """What a trial asks a node for."""
    return Demand({"CPU": resources.cpus, "GPU": resources.gpus, **resources.custom}, resources.labels)


def worker_errors(resources: Resources, system: System) -> Iterable[UserError]:
    """Stages that do not exist, that one worker must compute alone, or that are the trial's own."""
    stages = {stage.name: stage for stage in system.stages}
    own = system.stages[-1].name
    able = [name for name, stage in stages.items() if stage.spread and name != own]
    for name, count in resources.workers.items():
        where = f"resources.workers.{name}"
        if name not in stages:
            yield UserError("unknown stage", key=where, fix=nearest(name, able or stages))
        elif count > 1 and name not in able:
            fix = f"Several may compute: {', '.join(able)}." if able else "No stage of this system can be."
            yield UserError("cannot be computed by several workers", key=where, value=count, fix=fix)
    for name in resources.stages:
        where = f"resources.stages.{name}"
        if name not in stages:
            yield UserError("unknown stage", key=where, fix=nearest(name, [s for s in stages if s != own]))
        elif name == own:
            fix = "Give the trial what it needs: `resources.cpus`, `resources.gpus`."
            yield UserError("is computed by the trial itself", key=where, fix=fix)


def nodes() -> list[Node]:
    """What each living node of the cluster has that this process is part of."""
    import ray

    return [
        Node(dict(node["Resources"]), dict(node.get("Labels") or {})) for node in ray.nodes() if node["Alive"]
    ]


def check_fit(resources: Resources, nodes: Sequence[Node]) -> None:
    """Refuse what no node has.

    Raises:
        UserError: naming what is asked for, and what the nodes have.
    """
    for key, kind, wanted in (("cpus", "CPU", resources.cpus), ("gpus", "GPU", resources.gpus)):
        there = sum(node.resources.get(kind, 0) for node in nodes)
        if wanted > there:
            problem = f"one trial asks for more {kind}s than there are ({there:g})"
            raise UserError(problem, key=f"resources.{key}", value=wanted, fix=ELSEWHERE)
    for key, who, demand in _demands(resources, len(nodes)):
        if not any(node.fits(demand) for node in nodes):
            raise UserError(
                f"{who} asks for {demand}, which no node has; there are {described(nodes)}",
                key=key,
                fix="Ask for less, or run on a cluster that has it. Where nodes are still to come, set "
                "`resources.wait_for_nodes_s`.",
            )


def _demands(resources: Resources, count: int) -> Iterator[tuple[str, str, Demand]]:
    yield "resources", "one trial", demand_of(resources)
    for stage, _, demand in _crews(resources, count):
        where = "stages" if stage in resources.stages else "workers"
        yield f"resources.{where}.{stage}", f"a worker of `{stage}`", demand


def _crews(resources: Resources, count: int) -> Iterator[tuple[str, int, Demand]]:
    """Stages that workers compute beside the trial, with how many, and what each asks for."""
    workers = workers_of(resources)
    for stage in dict.fromkeys((*workers.counts, *workers.stages)):
        yield stage, workers.of(stage), Demand(workers.each(stage, count), workers.labels_of(stage))


def trials_at_once(resources: Resources, nodes: Sequence[Node], limit: int | None = None) -> int:
    """How many trials can run while there is still room for the workers of one stage.

    Trials that wait for a stage keep what they occupy, so without that room they and the workers could wait for each
    other for ever. 0 where not even one and its workers fit.

    Args:
        limit: no more than these are of interest.
    """
    trial = demand_of(resources)
    fits = [trials_that_fit(trial, nodes), *([limit] if limit is not None else [])]
    for _, count, demand in _crews(resources, len(nodes)):
        fits.append(trials_beside(trial, demand, count, nodes, min(fits)))
    return min(fits)


def reserve_of(resources: Resources, count: int) -> dict[str, float]:
    """What is kept free for workers on a cluster of ``count`` nodes, by kind of resource."""
    kept: dict[str, float] = {}
    for _, workers, demand in _crews(resources, count):
        for kind, each in demand.bundle.items():
            kept[kind] = max(kept.get(kind, 0.0), workers * each)
    return kept


def crowded(resources: Resources, nodes: Sequence[Node]) -> UserError:
    """What to say where not even one trial and the workers of its stages fit."""
    crews, trial = list(_crews(resources, len(nodes))), demand_of(resources)
    stage, count, demand = min(crews, key=lambda crew: trials_beside(trial, crew[2], crew[1], nodes))
    key = f"resources.{'workers' if stage in resources.workers else 'stages'}.{stage}"
    if fits_somehow(trial, demand, count, nodes):
        return UserError(
            f"a trial may come to lie where only workers of this stage fit, {demand} each, and wait for them for ever; "
            f"there are {described(nodes)}",
            key=key,
            value=count,
            fix="Keep trials off those nodes by `resources.labels`, such as `{zone: '!a'}`, and workers on them by "
            "`resources.stages`; or ask for less.",
        )
    have = ", ".join(
        f"{sum(node.resources.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU")
    )
    return UserError(
        f"a trial and so many workers ask for more than there is ({have} on {len(nodes)} node(s))",
        key=key,
        value=count,
        fix="Lower it or `resources.cpus`, or run on a cluster that has more (`flowsweep submit`).",
    )
