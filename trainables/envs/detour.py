"""The point-mass detour: the straight way to the goal leads through a disc that costs.

A point starts left of the origin and is paid for coming closer to a goal on the right. The disc of radius 0.4 around
the origin lies in between; every step inside costs 1. The greedy straight way earns about 39 and costs about 8, the
way around earns about the same: a learner that minds the cost loses nothing, and one that does not is seen at once.

    v <- 0.8 v + 0.2 a        p <- clip(p + 0.1 v, -1.5, 1.5)
    reward = 10 (distance before - distance after) + 0.5 [distance < 0.2]        cost = [|p| < 0.4]

Legend: leading axes of the dynamics are free, so that any number of points moves at once; 2 coordinates.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

EPISODE_STEPS = 60
START, GOAL = np.array([-1.0, 0.0]), np.array([1.0, 0.0])
START_SPREAD, GOAL_RADIUS, DISC_RADIUS, WALL = 0.1, 0.2, 0.4, 1.5
PIXELS = 240


def moved(position: np.ndarray, velocity: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and velocity [..., 2] one step later."""
    velocity = 0.8 * velocity + 0.2 * np.clip(action, -1.0, 1.0)
    return np.clip(position + 0.1 * velocity, -WALL, WALL), velocity


def reward_of(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Reward [...] of having moved between two positions [..., 2]."""
    away, left = np.linalg.norm(GOAL - before, axis=-1), np.linalg.norm(GOAL - after, axis=-1)
    return 10.0 * (away - left) + 0.5 * (left < GOAL_RADIUS)


def cost_of(position: np.ndarray) -> np.ndarray:
    """1 inside the disc, [...]."""
    return (np.linalg.norm(position, axis=-1) < DISC_RADIUS).astype(np.float64)


def observation_of(position: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Position, velocity, way to the goal; [..., 6] float32."""
    return np.concatenate([position, velocity, GOAL - position], -1).astype(np.float32)


class Detour(gymnasium.Env):
    """One point. It never terminates; whoever makes it cuts the episode after :data:`EPISODE_STEPS`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space = Box(-4.0, 4.0, (6,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self._position, self._velocity = START.copy(), np.zeros(2)
        self._way: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self._position = START + self.np_random.uniform(-START_SPREAD, START_SPREAD, 2)
        self._velocity = np.zeros(2)
        self._way = [self._position]
        return observation_of(self._position, self._velocity), {}

    def step(self, action: np.ndarray):
        before = self._position
        self._position, self._velocity = moved(before, self._velocity, np.asarray(action, np.float64))
        self._way.append(self._position)
        info = {"cost": float(cost_of(self._position))}
        reward = float(reward_of(before, self._position))
        return observation_of(self._position, self._velocity), reward, False, False, info

    def render(self) -> np.ndarray:
        """The plane from above: disc, goal, the way so far and the point; [PIXELS, PIXELS, 3] uint8."""
        from PIL import Image, ImageDraw

        image = Image.new("RGB", (PIXELS, PIXELS), "white")
        draw = ImageDraw.Draw(image)
        for centre, radius, colour in (((0.0, 0.0), DISC_RADIUS, "#f2b8b5"), (GOAL, GOAL_RADIUS, "#b7dfb9")):
            draw.ellipse([*_pixel(centre, -radius), *_pixel(centre, radius)], fill=colour)
        if len(self._way) > 1:
            draw.line([_pixel(place) for place in self._way], fill="#6c8ebf", width=2)
        draw.ellipse([*_pixel(self._position, -0.05), *_pixel(self._position, 0.05)], fill="#1f3d6d")
        return np.asarray(image)


def _pixel(place: Any, offset: float = 0.0) -> tuple[float, float]:
    scale = PIXELS / (2 * WALL)
    return (place[0] + offset + WALL) * scale, (WALL - place[1] + offset) * scale


def make_detour(render: bool) -> Detour:
    """Build one."""
    return Detour("rgb_array" if render else None)
