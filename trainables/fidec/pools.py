"""Stage two: one pass over all states with the frozen flow, storing what every refinement can share.

Legend: P lanes, S states, M base actions per state, K Fisher samples, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ..base import Lane, Snapshot
from ..data.columns import on_device
from ..data.dataset import FlatDataset
from ..offline import OfflineLearner, upstream
from ..population import MetricMeans, prefixed, restore, shared_config
from ..shares import part_of
from ..streams import Streams
from .columns import mean_trace
from .config import PoolsConfig
from .fisher import Fisher, eigenvalue_spread, outer_mean
from .learner import flow_from
from .policy import BasePolicy
from .sampling import FisherSettings, Noise, draw

BLOCK = 1024  # states per block; every block has a random stream of its own, so chunks may end anywhere
SPREAD_ROWS = 32  # states per block whose eigenvalues are computed, for a metric


class PoolsLearner(OfflineLearner):
    """P pools filled side by side; a step is one chunk of ``blocks / steps`` blocks."""

    def __init__(self, lanes: Sequence[Lane[PoolsConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = shared_config(lanes)
        self.settings = FisherSettings.of_pools(self.config)
        self.flow = flow_from(upstream(lanes, "pretrain"), device)
        self.states = on_device(source.states, device)
        self.blocks = range(-(-len(self.states) // BLOCK))
        self.pools = self._empty()
        self.metrics: dict[str, list[float]] = {}

    def join(self, rank: int, world: int) -> None:
        """Fill only this worker's part of the blocks, and hold no more than its rows."""
        self.blocks = part_of(len(self.blocks), rank, world)
        self.pools = self._empty()

    def assemble(self, parts: Iterable[Snapshot]) -> None:
        """Take in every worker's rows."""
        for part in parts:
            start, stop = part.meta["rows"]
            for name, value in self.pools.items():
                value[:, start:stop] = part.tensors[f"pools.{name}"]
        self.step = self.config.steps

    @property
    def rows(self) -> range:
        """The state rows that are filled here."""
        return range(self.blocks.start * BLOCK, min(self.blocks.stop * BLOCK, len(self.states)))

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Fill ``steps`` chunks; means over their blocks. A chunk too small to hold a block repeats the last ones."""
        means = MetricMeans()
        for block in range(self._border(self.step), self._border(self.step + steps)):
            means.add(self._fill(block))
        self.step += steps
        if means.count:
            self.metrics = means.read(self.step)
        return self.metrics

    def _border(self, step: int) -> int:
        """The first block that is not filled after ``step`` chunks."""
        count = len(self.blocks)
        return self.blocks.start + min(-(-count * step // self.config.steps), count)

    @torch.no_grad()
    def _fill(self, block: int) -> dict[str, torch.Tensor]:
        rows = slice(block * BLOCK, min((block + 1) * BLOCK, len(self.states)))
        states = self.flow.normalized(self.states[rows].expand(len(self.lanes), -1, -1))
        samples, fisher = draw(self.flow, states, self._noise(block, states.shape[1]), self.settings)
        rows = slice(rows.start - self.rows.start, rows.stop - self.rows.start)
        self.pools["base_actions"][:, rows] = samples[:, :, : self.config.base_actions]
        for name, value in (("scores", fisher.scores), ("matrix", fisher.matrix)):
            if value is not None:
                self.pools[name][:, rows] = value
        return _metrics(samples, fisher)

    def _noise(self, block: int, rows: int) -> Noise:
        streams = Streams(self.seeds, f"pools/{block}", self.device)
        size = (rows, self.settings.samples, self.flow.action_dim)
        return streams.normal(*size), streams.normal(*size), streams.uniform(*size[:2], 1)

    def _empty(self) -> dict[str, torch.Tensor]:
        count, size = self.settings.samples, self.flow.action_dim
        shapes = {"base_actions": (self.config.base_actions, size)}
        if self.settings.keeps_scores(size):
            kept = count if self.settings.scope == "local" else self.settings.fisher_samples
            shapes["scores"] = (kept, size)
        elif self.settings.scope == "state":
            shapes["matrix"] = (size, size)
        leading = (len(self.lanes), len(self.rows))
        return {name: torch.zeros(*leading, *shape, device=self.device) for name, shape in shapes.items()}

    def policy(self) -> BasePolicy:
        """The behaviour-cloned policies: pools change nothing about how the flow acts."""
        return BasePolicy(self.flow)

    def state(self) -> Snapshot:
        """The pools as far as they are filled."""
        tensors = {name: value.clone() for name, value in prefixed(self.pools, "pools").items()}
        rows = [self.rows.start, self.rows.stop]
        return Snapshot(tensors, {"step": self.step, "metrics": self.metrics, "rows": rows})

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`; blocks have their own random streams, so there is none to restore."""
        restore(self.pools, snapshot.tensors, "pools")
        self.step, self.metrics = snapshot.meta["step"], dict(snapshot.meta["metrics"])

    def outputs(self) -> list[Snapshot]:
        """Base actions and Fisher geometry of every state row, and the mean trace, one set per lane."""
        lanes = [{name: value[lane] for name, value in self.pools.items()} for lane in range(len(self.lanes))]
        rows, config = on_device(self.source.rows, self.device), self.config.model_dump(mode="json")
        return [
            Snapshot(pools, {"pools": config, "fisher_trace": mean_trace(pools, rows)}) for pools in lanes
        ]


def _metrics(samples: torch.Tensor, fisher: Fisher) -> dict[str, torch.Tensor]:
    metrics = {"boundary_share": (samples.abs() >= 1).float().mean((-1, -2, -3))}
    if fisher.scores is not None:
        matrix = outer_mean(fisher.scores[:, :SPREAD_ROWS])
    elif fisher.matrix is not None:
        matrix = fisher.matrix[:, :SPREAD_ROWS]
    else:
        return metrics
    return {
        **metrics,
        "fisher_trace": fisher.trace(samples[:, :, 0]).mean(-1),
        "eigenvalue_spread": eigenvalue_spread(matrix).mean(-1),
    }
