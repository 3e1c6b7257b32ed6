"""Velocity tasks: gymnasium's MuJoCo walkers with a cost for going too fast.

Two costs, both read from the simulator's own velocity v:

- ``indicator``: 1[v > threshold], at most 25 such steps in 1,000; the thresholds of Safety-Gymnasium's
  ``Safety*Velocity-v1`` (PKU-Alignment/safety-gymnasium): half of what an unconstrained PPO agent reaches.
- ``speed``: |v| itself, with a limit on its discounted sum; the limits of FOCOPS (Zhang, Vuong and Ross, 2020,
  ymzhang01/focops), which later off-policy work took over.

v is the signed velocity along x where the walker is to run along x, and the speed in the plane for Ant and Humanoid;
the cost ``speed`` takes the speed in the plane wherever y is reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium

from .build import make_quiet_simulator
from .constrained import COST, Constrained

EPISODE_STEPS = 1000
INDICATOR_LIMIT = 25.0


@dataclass(frozen=True)
class Walker:
    """One walker.

    Attributes:
        body: gymnasium's name without version.
        threshold: velocity above which a step costs, in m/s.
        speed_limit: largest discounted sum of speeds.
        plane: whether ``indicator`` reads the speed in the plane, else the velocity along x.
        arguments: for gymnasium, so that observations have the sizes published results have.
    """

    body: str
    threshold: float
    speed_limit: float
    plane: bool = False
    arguments: tuple[tuple[str, Any], ...] = ()


_FORCES_LEFT_OUT = tuple(
    (f"include_{part}_in_observation", False) for part in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
)
WALKERS = (
    Walker("Swimmer", 0.2282, 24.516),
    Walker("Hopper", 0.7402, 82.748),
    Walker("HalfCheetah", 3.2096, 151.989),
    Walker("Walker2d", 2.3415, 81.886),
    Walker("Ant", 2.6222, 103.115, True, (("include_cfrc_ext_in_observation", False),)),
    Walker("Humanoid", 1.4149, 20.140, True, _FORCES_LEFT_OUT),
)


class VelocityCost(gymnasium.Wrapper):
    """Sets ``info["cost"]`` from the velocities the walker reports.

    Args:
        env: the walker.
        walker: its threshold and how velocity is read.
        kind: which cost.
    """

    def __init__(self, env: Any, walker: Walker, kind: Literal["indicator", "speed"]):
        super().__init__(env)
        self._walker, self._kind = walker, kind

    def step(self, action: Any):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, {**info, COST: self._cost(info)}

    def _cost(self, info: dict[str, Any]) -> float:
        along, across = float(info["x_velocity"]), info.get("y_velocity")
        plane = abs(along) if across is None else math.hypot(along, float(across))
        if self._kind == "speed":
            return plane
        return float((plane if self._walker.plane else along) > self._walker.threshold)


def definition(walker: Walker, kind: Literal["indicator", "speed"]) -> Constrained:
    """The task of one walker under one cost."""
    indicator = kind == "indicator"
    suffix = "velocity" if indicator else "speed"
    facts = {
        "id": f"{walker.body}-v5",
        "arguments": dict(walker.arguments),
        "cost": kind,
        "threshold": walker.threshold if indicator else None,
        "plane": walker.plane,
    }
    return Constrained(
        name=f"{walker.body.lower()}-{suffix}-v1",
        title=f"{walker.body} runs, {'below a velocity' if indicator else 'its speed being the cost'}",
        make=lambda render: _make(walker, kind, render),
        episode_steps=EPISODE_STEPS,
        limit=INDICATOR_LIMIT if indicator else walker.speed_limit,
        discounted=not indicator,
        cost=f"1 where faster than {walker.threshold:g} m/s" if indicator else "speed in m/s",
        facts=facts,
        packages=("gymnasium", "mujoco"),
    )


def _make(walker: Walker, kind: Literal["indicator", "speed"], render: bool) -> VelocityCost:
    raw = make_quiet_simulator(f"{walker.body}-v5", dict(walker.arguments), render)
    return VelocityCost(raw, walker, kind)


VELOCITY_TASKS = tuple(definition(walker, kind) for kind in ("indicator", "speed") for walker in WALKERS)
