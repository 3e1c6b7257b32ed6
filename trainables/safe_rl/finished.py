"""Learners of `train` rebuilt from stored outputs: they score and picture policies, and cannot advance.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import Lane, Learner, Score, Snapshot
from ..envs.constrained import Constrained
from ..envs.policy import Policy
from .learner import Rebuilt, limits_of
from .scoring import Judged, picture


class FinishedSafe(Learner):
    """P policies and their cost critics.

    Args:
        lanes: configuration and seed of every lane.
        outputs: [P] what ``train`` stored.
        rebuilt: their networks.
        policies: as they act, and by the deployment rule where that is another.
        definition: the environment.
        device: where to compute.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        outputs: Sequence[Snapshot],
        rebuilt: Rebuilt,
        policies: tuple[Policy, Policy | None],
        definition: Constrained,
        device: str,
    ):
        self.step, self._outputs, self.definition = lanes[0].config.steps, list(outputs), definition
        self._judged = Judged(
            *policies, rebuilt.cost_network, rebuilt.cost, rebuilt.scalar("cost_margin", device),
            limits_of(lanes, definition), [lane.config.cost_discount for lane in lanes], rebuilt.counts, self.step, device,
        )  # fmt: skip

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Play the policies as they act, in environments of their own."""
        return self._judged.scored(self.definition, seeds, episodes)

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """A video and stills of lane 0's first evaluation episode."""
        return picture(lambda: self._judged, self.definition, folder, seeds)

    def outputs(self) -> list[Snapshot]:
        """The outputs it was built from."""
        return self._outputs

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Refused: a mistake of the calling program."""
        raise RuntimeError("a learner rebuilt from outputs holds no optimiser and cannot advance")

    def state(self) -> Snapshot:
        """Refused, as :meth:`advance`."""
        raise RuntimeError("a learner rebuilt from outputs has no state to continue from")

    def load_state(self, snapshot: Snapshot) -> None:
        """Refused, as :meth:`advance`."""
        raise RuntimeError("a learner rebuilt from outputs cannot continue from a state")
