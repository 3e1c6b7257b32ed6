"""Constrained environments by name: those built in, those other packages bring, and gymnasium's own.

A package brings some by the entry point group ``flowsweep.environments``, each a :class:`Constrained`. Any environment
that gymnasium knows is ``gymnasium/ID``: with the cost in ``info["cost"]`` or as the third of six values of a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from ..errors import UserError, nearest
from .constrained import KEY, Constrained, ConstrainedEnvironment

GROUP = "flowsweep.environments"
BY_GYMNASIUM = "gymnasium/"
CONVENTION_LIMIT, CONVENTION_STEPS = 25.0, 1000
"""Of an environment that names neither: the convention of Safety-Gymnasium."""


@cache
def environments() -> Mapping[str, Constrained]:
    """Every constrained environment that has a name of its own, in order."""
    from .detour import EPISODE_STEPS, make_detour
    from .velocity import VELOCITY_TASKS

    detour = Constrained(
        name="detour-v0",
        title="a point mass reaches a goal behind a disc that costs",
        make=make_detour,
        episode_steps=EPISODE_STEPS,
        limit=1.0,
        cost="1 inside the disc",
    )
    found = {one.name: one for one in (detour, *VELOCITY_TASKS)}
    brought = (point.load() for point in entry_points(group=GROUP))
    return {**{one.name: one for one in brought}, **found}


@dataclass(frozen=True)
class EnvironmentSource:
    """An environment as a system's source: checked, and closed again."""

    definition: Constrained

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def fingerprint(self) -> str:
        return self.definition.fingerprint

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Observation size O and action size A.

        Raises:
            UserError: it cannot be built, reports no cost, or is not one a continuous policy can act in.
        """
        environment = ConstrainedEnvironment(self.definition)
        try:
            environment.reset(0)
            environment.step(np.zeros(environment.action_dim))
            return environment.observation_dim, environment.action_dim
        finally:
            environment.close()

    def describe(self) -> Mapping[str, Any]:
        """What it is, as plain JSON."""
        one, (observations, actions) = self.definition, self.sizes
        return {
            "environment": one.name,
            "title": one.title,
            "observation_dim": observations,
            "action_dim": actions,
            "episode_steps": one.episode_steps,
            "cost": one.cost,
            "cost_limit": one.limit,
            "limit_is_discounted": one.discounted,
            "fingerprint": one.fingerprint,
            "findings": [],
        }


@cache
def open_environment(name: str) -> EnvironmentSource:
    """A constrained environment by name, tried for one step.

    Raises:
        UserError: there is none of that name, or it cannot be learnt in: its actions are discrete or unbounded, or it
            reports no cost.
    """
    found = environments()
    if name.startswith(BY_GYMNASIUM):
        source = EnvironmentSource(_by_gymnasium(name))
    elif name in found:
        source = EnvironmentSource(found[name])
    else:
        raise UserError("unknown environment", key=KEY, value=name, fix=nearest(name, found))
    _ = source.sizes
    return source


def _by_gymnasium(name: str) -> Constrained:
    from .build import make_quiet_simulator
    from .registered import registered_spec

    env_id = name.removeprefix(BY_GYMNASIUM)
    steps = registered_spec(env_id).max_episode_steps
    return Constrained(
        name=name,
        title=f"{env_id} of gymnasium",
        make=lambda render: make_quiet_simulator(env_id, {}, render),
        episode_steps=steps or CONVENTION_STEPS,
        limit=CONVENTION_LIMIT,
    )
