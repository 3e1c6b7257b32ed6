"""Stages computed by several workers: what may be asked for, and the room to keep for them beside the trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ...trainables.base import System
from ...trainables.request import Workers
from ..errors import UserError, nearest
from .spec import Resources


def workers_of(resources: Resources) -> Workers:
    """What a trial is told."""
    counts = {stage: count for stage, count in resources.workers.items() if count > 1}
    return Workers(counts=counts, cpus=resources.cpus, gpus=resources.gpus, retries=resources.retries)


def worker_errors(resources: Resources, system: System) -> Iterable[UserError]:
    """Stages that do not exist, or that one worker must compute alone."""
    stages = {stage.name: stage for stage in system.stages}
    able = [name for name, stage in stages.items() if stage.spread and stage is not system.stages[-1]]
    for name, count in resources.workers.items():
        where = f"resources.workers.{name}"
        if name not in stages:
            yield UserError("unknown stage", key=where, fix=nearest(name, able or stages))
        elif count > 1 and name not in able:
            fix = f"Several may compute: {', '.join(able)}." if able else "No stage of this system can be."
            yield UserError("cannot be computed by several workers", key=where, value=count, fix=fix)


def nodes() -> list[Mapping[str, float]]:
    """What each living node of the cluster has that this process is part of."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def trials_beside_workers(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int | None:
    """How many trials can run while there is still room for the workers of one stage; None where none are asked for.

    Trials that wait for a stage keep what they occupy, so without that room they and the workers could wait for each
    other for ever.

    Args:
        nodes: what each node of the cluster has, as Ray names it.

    Raises:
        UserError: not even one trial and its workers fit.
    """
    stage, most = max(resources.workers.items(), key=lambda item: item[1], default=("", 1))
    if most == 1:
        return None
    each = workers_of(resources).each(stage, len(nodes))
    # Of equal shares every node holds a whole number whatever comes first, and what is left of it fits the rest.
    if len(nodes) == 1 and not resources.gpus:
        fit = math.floor((nodes[0].get("CPU", 0) - each["CPU"] * most) / resources.cpus + 1e-6)
    else:
        fit = sum(int(node.get("CPU", 0) // resources.cpus) for node in nodes) - most
        if resources.gpus:
            whole = sum(int(node.get("GPU", 0) // each["GPU"]) for node in nodes) - most
            shared = max(
                1, int(1 / resources.gpus)
            )  # trials on one GPU; on every further node one may lie alone
            fit = min(fit, whole * shared - (len(nodes) - 1) * (shared - 1))
    if fit < 1:
        have = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
        raise UserError(
            f"a trial and so many workers ask for more than there is ({have} on {len(nodes)} node(s))",
            key=f"resources.workers.{stage}",
            value=most,
            fix="Lower it or `resources.cpus`, or run on a cluster that has more (`flowsweep submit`).",
        )
    return fit
