"""What stages on offline datasets share. Free of torch: learners and policies are loaded when a stage starts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from .base import Cost, Lane, Learner, Snapshot, Source, Stage, StageConfig
from .data.dataset import DatasetInfo, FlatDataset

if TYPE_CHECKING:
    from .envs.policy import Policy
    from .offline import OfflineLearner

C = TypeVar("C", bound=StageConfig)

EVALUATION = {
    "success_rate": "share of evaluation episodes that reached success",
    "return": "undiscounted sum of rewards per evaluation episode",
    "normalized_score": "return on the scale of the dataset's reference scores, 0 to 100; absent where it names none",
    "episode_length": "environment steps per evaluation episode",
}


class OfflineStage(Stage[C]):
    """A stage that learns from a :class:`FlatDataset` and whose outputs stand for policies."""

    open_ended: ClassVar[bool] = True

    @abstractmethod
    def learner(self) -> type[OfflineLearner]:
        """What trains it."""

    @abstractmethod
    def policy(self, lanes: Sequence[Lane[C]], outputs: Sequence[Snapshot], device: str) -> Policy:
        """The policies that stored outputs stand for, one lane per output."""

    @abstractmethod
    def estimate(self, configs: Mapping[str, StageConfig], data: DatasetInfo) -> Cost:
        """What one lane takes on a dataset of that size."""

    def start(self, lanes: Sequence[Lane[C]], source: Source, device: str) -> Learner:
        return self.learner()(lanes, cast(FlatDataset, source), device)

    def finished(
        self, lanes: Sequence[Lane[C]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from .offline import FinishedLearner

        policy = self.policy(lanes, outputs, device)
        return FinishedLearner(lanes, outputs, cast(FlatDataset, source), device, policy)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return self.estimate(configs, cast(FlatDataset, source).info)
