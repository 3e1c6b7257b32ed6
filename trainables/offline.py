"""What learners on offline datasets share: scoring, finished learners, and named networks with their optimisers.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .acceleration import Acceleration, F, compiled
from .base import Lane, Learner, Score, Snapshot
from .data.columns import ObservationScale
from .data.dataset import FlatDataset
from .envs.policy import Policy
from .errors import UserError
from .network_learner import NetworkLearner
from .population import stacked


def upstream(lanes: Sequence[Lane], stage: str) -> list[Snapshot]:
    """The outputs of an earlier stage, one per lane."""
    return [lane.upstream[stage] for lane in lanes]


def standard_normal(generators: Sequence[torch.Generator], *size: int) -> torch.Tensor:
    """[P, *size] standard normal, lane i from ``generators[i]``."""
    return torch.stack([torch.randn(size, generator=g, device=g.device) for g in generators])


def stored_scale(outputs: Sequence[Snapshot], device: str) -> ObservationScale:
    """The observation scale that :meth:`ObservationScale.tensors` left in outputs, one lane per output."""
    scale = stacked(outputs, "observation", device)
    return ObservationScale(scale["mean"].unsqueeze(1), scale["std"].unsqueeze(1))


class OfflineLearner(Learner):
    """P lanes of one stage that learns from a dataset and is scored in the environment it names.

    Args:
        lanes: configuration, seed and upstream outputs of every lane.
        source: the dataset.
        device: where to compute.
    """

    def __init__(self, lanes: Sequence[Lane], source: FlatDataset, device: str):
        self.lanes, self.source, self.device = list(lanes), source, device
        self.seeds = [lane.seed for lane in lanes]
        self.step = 0
        self._acceleration: Acceleration = "eager"
        self._compiled: dict[Callable, Callable] = {}

    def accelerate(self, kind: Acceleration) -> None:
        """How losses are computed from now on."""
        self._acceleration = kind

    def accelerated(self, loss: F) -> F:
        """A pure function of tensors and settings, in the form asked for by :meth:`accelerate`."""
        if self._acceleration == "eager":
            return loss
        if loss not in self._compiled:
            self._compiled[loss] = compiled(loss)
        return self._compiled[loss]  # type: ignore[return-value]

    def policy(self) -> Policy:
        """The P policies as they are now."""
        raise NotImplementedError

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Score the policies in the environment the dataset names, one seed per lane.

        Where that cannot be done the scores are empty: whoever needs them asks :meth:`Stage.check` first.
        """
        info = self.source.info
        if not self._scorable() or info.evaluation is None:
            return [Score({}) for _ in seeds]
        from .envs.evaluate import evaluate  # imports simulators

        return evaluate(
            self.policy(),
            info.evaluation,
            seeds,
            episodes,
            device=self.device,
            ref_min_score=info.ref_min_score,
            ref_max_score=info.ref_max_score,
            step=self.step,
        )

    def _scorable(self) -> bool:
        """Whether the dataset names an environment that can be built here and fits."""
        from .envs.fit import tried  # imports simulators

        try:
            tried(self.source.info)
        except UserError:
            return False
        return True

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """A video, stills and, in mazes, the ways of lane 0's first evaluation episodes, as far as they can be made."""
        info = self.source.info
        if not self._scorable() or info.evaluation is None:
            return []
        from .envs.media import record_episode  # imports simulators

        return list(record_episode(self.policy(), info.evaluation, seeds, folder, device=self.device).paths)


class FinishedLearner(OfflineLearner):
    """P lanes rebuilt from stored outputs, to score or export. They hold no optimiser and cannot advance.

    Args:
        lanes, source, device: as for any learner.
        outputs: [P] what the stage stored.
        policy: the policies these outputs stand for.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        outputs: Sequence[Snapshot],
        source: FlatDataset,
        device: str,
        policy: Policy,
    ):
        super().__init__(lanes, source, device)
        self.step = lanes[0].config.steps
        self._outputs, self._policy = list(outputs), policy

    def policy(self) -> Policy:
        """The P policies."""
        return self._policy

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


class ModularLearner(NetworkLearner, OfflineLearner):
    """P lanes of several networks, each with its own optimiser, some with a slowly following copy."""
