"""What stages on offline datasets share. Free of torch: learners and policies are loaded when a stage starts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from .base import Cost, Lane, Learner, Snapshot, Source, Stage, StageConfig
from .data.dataset import DatasetInfo, FlatDataset
from .errors import UserError

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

    def check(self, source: Source, metrics: Collection[str]) -> list[str]:
        """Build the environment the dataset names, compare it with the data, and see what it reports."""
        from .envs.fit import refuse_unreported, tried  # imports simulators

        info = cast(FlatDataset, source).info
        wanted = [metric for metric in metrics if metric in EVALUATION]
        try:
            if wanted:
                refuse_unreported(info, wanted)
            return list(tried(info).warnings)
        except UserError as error:
            if not wanted:
                return [f"policies are not scored, since the dataset {error.problem}"]
            trained = next(metric for metric in self.metrics if metric not in EVALUATION)
            raise UserError(
                f"{error.problem}, and `{self.name}/{wanted[0]}` is looked at", key="dataset", value=info.name,
                fix=f"{error.fix} Or look at what needs no environment, such as `{self.name}/{trained}`.",
            ) from error  # fmt: skip

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        return self.estimate(configs, cast(FlatDataset, source).info)
