"""What one episode was: enough to play it again elsewhere, stored without pickle.

Environments are deterministic given their seeds and actions, so a trace can be replayed in a process that has a
renderer while training processes have none.

Legend: T environment steps, O observation size, A action size.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from ..config import parse
from ..data.dataset import EvaluationSpec


@dataclass(frozen=True)
class Trace:
    """One episode.

    Attributes:
        seed: of the lane, with ``number`` the origin of all its randomness.
        number: of the episode within the evaluation.
        success: whether the task was solved; None where the environment does not say.
        observations: [T + 1, O] float32.
        actions: [T, A] in [-1, 1].
        rewards: [T].
        positions: [T + 1, 2] in mazes, else [0, 2].
        goal: [2] in mazes, else None.
    """

    spec: EvaluationSpec
    seed: int
    number: int
    success: bool | None
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    positions: np.ndarray
    goal: np.ndarray | None

    def save(self, path: Path) -> Path:
        """Write the trace atomically as safetensors."""
        tensors = {
            name: np.ascontiguousarray(getattr(self, name))
            for name in ("observations", "actions", "rewards", "positions")
        }
        if self.goal is not None:
            tensors["goal"] = np.ascontiguousarray(self.goal)
        facts = {"seed": self.seed, "number": self.number, "success": self.success}
        data = save(tensors, {"spec": self.spec.model_dump_json(), "facts": json.dumps(facts)})
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        return path

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read what :meth:`save` wrote."""
        with safe_open(str(path), framework="numpy") as file:
            notes = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors.setdefault("goal", None)
        return cls(
            spec=parse(EvaluationSpec, json.loads(notes["spec"]), "evaluation"),
            **json.loads(notes["facts"]),
            **tensors,
        )
