"""The first stage: transitions of uniform actions.

Legend: P lanes, A action size, D columns of a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..base import Lane, Learner, Score, Snapshot
from ..envs.constrained_names import EnvironmentSource
from ..errors import EnvironmentFailed
from ..streams import Streams
from .collector import Collector
from .config import WarmupConfig
from .replay import Replay, columns

PURPOSE = 3
"""First word of the spawn key of its episodes; evaluations use 0 and 1, training 2."""


class WarmupLearner(Learner):
    """P environments under uniform actions; nothing is learnt."""

    def __init__(self, lanes: Sequence[Lane[WarmupConfig]], source: EnvironmentSource, device: str):
        self.lanes, self.step = list(lanes), 0
        seeds = [lane.seed for lane in lanes]
        one = source.definition
        self.collector = Collector(
            one, seeds, PURPOSE, [one.limit] * len(seeds), [0.99] * len(seeds), window=1000
        )
        self.streams = Streams(seeds, "warmup/actions")
        sizes = self.collector.sizes
        first = torch.empty(0, len(seeds), columns(*sizes))
        self.replay = Replay(first, max(lane.config.steps for lane in lanes), 1, sizes)

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Take ``steps`` environment steps; mean reward and cost of a step."""
        for done in range(steps):
            position = self.streams.state()
            actions = self.streams.uniform(self.replay.sizes[1]) * 2 - 1
            try:
                rows = self.collector.step(actions.numpy())
            except EnvironmentFailed as failed:
                self.streams.load_state(position)
                raise EnvironmentFailed(failed.what, done, self._means(done) if done else {}) from failed
            self.replay.append(torch.from_numpy(rows))
            self.step += 1
        return self._means(steps)

    def _means(self, newest: int) -> dict[str, list[float]]:
        rows = self.replay.appended()[-newest:]
        return {"reward": rows[..., -3].mean(0).tolist(), "step_cost": rows[..., -2].mean(0).tolist()}

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """What the finished episodes of the uniform policy amounted to."""
        return [score_of(output) for output in self.outputs()]

    def state(self) -> Snapshot:
        arrays, books = self.collector.state()
        tensors = {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        tensors["streams"] = self.streams.state()
        return Snapshot(tensors, {"step": self.step, "books": books}, {"rows": self.replay.appended()})

    def load_state(self, snapshot: Snapshot) -> None:
        self.step = snapshot.meta["step"]
        if self.step:
            self.replay.load(snapshot.log["rows"])
        self.streams.load_state(snapshot.tensors["streams"])
        books = snapshot.meta["books"]
        taken = [self.replay.actions(lane, one["steps"]).numpy() for lane, one in enumerate(books)]
        arrays = {name: value.numpy() for name, value in snapshot.tensors.items() if name != "streams"}
        self.collector.load_state(arrays, books, taken)

    def outputs(self) -> list[Snapshot]:
        """Per lane the rows [steps, D], and the newest finished episodes."""
        return [
            Snapshot(
                {"rows": self.replay.appended()[:, lane].clone()},
                {"costs": books.recent_costs, "returns": books.recent_returns},
            )
            for lane, books in enumerate(self.collector.training)
        ]


class FinishedWarmup(Learner):
    """Warm-ups rebuilt from what they stored."""

    def __init__(self, outputs: Sequence[Snapshot], steps: int):
        self._outputs, self.step = list(outputs), steps

    def advance(self, steps: int) -> dict[str, list[float]]:
        raise RuntimeError("a learner rebuilt from outputs cannot advance")

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """What the finished episodes of the uniform policy amounted to."""
        return [score_of(output) for output in self._outputs]

    def state(self) -> Snapshot:
        raise RuntimeError("a learner rebuilt from outputs has no state to continue from")

    def load_state(self, snapshot: Snapshot) -> None:
        raise RuntimeError("a learner rebuilt from outputs cannot continue from a state")

    def outputs(self) -> list[Snapshot]:
        return self._outputs


def score_of(output: Snapshot) -> Score:
    """Return and cost of the episodes a warm-up finished; of none, not a number."""
    episodes = {"return": list(output.meta["returns"]), "cost": list(output.meta["costs"])}
    means = {name: float(np.mean(values)) if values else float("nan") for name, values in episodes.items()}
    return Score(means, episodes)
