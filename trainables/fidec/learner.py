"""What FiDec's three learners share: the flow they start from, scoring, and how outputs become policies.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..base import Lane, Learner, Score, Snapshot
from ..data.dataset import FlatDataset
from ..envs.policy import Policy
from ..errors import UserError
from ..population import stacked
from .flow import Flow, Solver, velocity_network


def flow_from(snapshots: Sequence[Snapshot], device: str) -> Flow:
    """The frozen flow of every lane, from outputs of the pretrain stage (or of a later one, which repeat it)."""
    settings = snapshots[0].meta["flow"]
    scale = stacked(snapshots, "observation", device)
    return Flow(
        network=velocity_network(
            settings["observation_dim"], settings["action_dim"], tuple(settings["hidden"])
        ),
        params=stacked(snapshots, "flow", device),
        mean=scale["mean"].unsqueeze(1),
        std=scale["std"].unsqueeze(1),
        solver=Solver(settings["solver"], settings["flow_steps"]),
    )


def flow_tensors(flow: Flow, lane: int) -> dict[str, torch.Tensor]:
    """One lane's flow as named tensors without the lane axis; read back by :func:`flow_from`."""
    tensors = {f"flow.{name}": value[lane].detach() for name, value in flow.params.items()}
    return {
        **{name: value.clone() for name, value in tensors.items()},
        "observation.mean": flow.mean[lane, 0].clone(),
        "observation.std": flow.std[lane, 0].clone(),
    }


def upstream(lanes: Sequence[Lane], stage: str) -> list[Snapshot]:
    """The outputs of an earlier stage, one per lane."""
    return [lane.upstream[stage] for lane in lanes]


class FidecLearner(Learner):
    """P lanes of one stage.

    Args:
        lanes: configuration, seed and upstream outputs of every lane.
        source: the dataset.
        device: where to compute.
    """

    def __init__(self, lanes: Sequence[Lane], source: FlatDataset, device: str):
        self.lanes, self.source, self.device = list(lanes), source, device
        self.seeds = [lane.seed for lane in lanes]
        self.step = 0

    def policy(self) -> Policy:
        """The P policies as they are now."""
        raise NotImplementedError

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Score the policies in the environment the dataset names, one seed per lane.

        Raises:
            UserError: the dataset names no environment.
        """
        info = self.source.info
        if info.evaluation is None:
            raise UserError(
                "names no environment to evaluate in",
                key="dataset",
                value=info.name,
                fix="Give the dataset an evaluation spec when importing it, or choose a training metric as objective.",
            )
        from ..envs.evaluate import evaluate  # imports simulators

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

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """A video, stills and, in mazes, the ways of lane 0's first evaluation episodes, as far as they can be made."""
        info = self.source.info
        if info.evaluation is None:
            return []
        from ..envs.media import record_episode  # imports simulators

        return list(record_episode(self.policy(), info.evaluation, seeds, folder, device=self.device).paths)


class FinishedLearner(FidecLearner):
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
