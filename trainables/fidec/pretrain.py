"""Stage one: the behaviour policy as a flow, by flow matching.

Legend: P lanes, B batch, N transitions, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch

from ..base import Lane, Snapshot
from ..data.columns import Columns, gather, observation_scale, on_device
from ..data.dataset import FlatDataset
from ..nets import Params, trainable
from ..offline import OfflineLearner
from ..optimizers import PopulationAdam, clip_factor, gradient_norm, scaled
from ..population import MetricMeans, lane_values, prefixed, restore, shared_config, under
from ..shares import BatchShare
from ..streams import Streams
from .config import PretrainConfig
from .flow import Flow, Solver, velocity_network
from .learner import flow_tensors
from .losses import FlowBatch, flow_matching_loss
from .policy import BasePolicy

VALIDATION_ROWS = 2048
SPLIT_SEED = 0  # every lane and every sweep holds out the same episodes, so that validation losses compare


class PretrainLearner(OfflineLearner):
    """P flows trained side by side."""

    def __init__(self, lanes: Sequence[Lane[PretrainConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        info = source.info
        self.network = velocity_network(info.observation_dim, info.action_dim, config.hidden)
        init = Streams(self.seeds, "pretrain/init").generators
        mean, std = observation_scale(source, config.normalize_observations)
        self.params = trainable(self.network.init(init), device)
        self.flow = Flow(
            network=self.network,
            params=self.params,
            mean=torch.tensor(mean, device=device).expand(len(lanes), 1, -1),
            std=torch.tensor(std, device=device).expand(len(lanes), 1, -1),
            solver=Solver(config.solver, config.flow_steps),
        )
        self.optimizer = PopulationAdam(self.params, lane_values(lanes, "learning_rate", "cpu").tolist())
        self.streams = Streams(self.seeds, "pretrain/batches", device)
        train, held_out = source.split(config.validation_share, SPLIT_SEED)
        self.train = on_device(train, device)
        self.validation = self._validation_batch(held_out)
        self.share = self.validation_share = None

    def join(self, rank: int, world: int) -> None:
        """Compute on this worker's rows of every batch, all workers drawing the whole batch from equal streams.

        Raises:
            UserError: a batch has fewer rows than there are workers.
        """
        self.share = BatchShare(self.config.batch_size, rank, world)
        if self.validation is not None and self.validation.times.shape[1] >= world:
            share = self.validation_share = BatchShare(self.validation.times.shape[1], rank, world)
            parts = [share.mine(getattr(self.validation, field.name)) for field in fields(FlowBatch)]
            self.validation = FlowBatch(*parts)

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        means = MetricMeans()
        for _ in range(steps):
            means.add(self._update(self._batch()))
        self.step += steps
        metrics = means.read(self.step)
        if self.validation is not None:
            with torch.no_grad():
                loss, _ = flow_matching_loss(self.params, self.validation, self.network)
            if self.validation_share:
                loss = self.validation_share.averaged({"loss": loss})[0]["loss"]
            metrics["validation_loss"] = loss.tolist()
        return metrics

    def _update(self, batch: FlowBatch) -> dict[str, torch.Tensor]:
        loss, metrics = self.accelerated(flow_matching_loss)(self.params, batch, self.network)
        gradients = dict(
            zip(self.params, torch.autograd.grad(loss.sum(), list(self.params.values())), strict=True)
        )
        if self.share:
            gradients, metrics = self.share.averaged(gradients, metrics)
        norm = gradient_norm(gradients)
        if self.config.gradient_clip == "module":
            scaled(gradients, clip_factor(norm, self.config.gradient_norm))
        self.optimizer.step(gradients)
        return {**metrics, "gradient_norm": norm}

    def _batch(self) -> FlowBatch:
        size, action_dim = self.config.batch_size, self.source.info.action_dim
        chosen = self.streams.integers(len(self.train), size)
        noise, times = self.streams.normal(size, action_dim), self.streams.uniform(size, 1)
        if self.share:
            chosen, noise, times = (self.share.mine(drawn) for drawn in (chosen, noise, times))
        return self._flow_batch(gather(self.train, chosen), noise, times)

    def _flow_batch(self, index: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> FlowBatch:
        states = gather(self.columns.states, gather(self.columns.rows, index))
        return FlowBatch(self.flow.normalized(states), gather(self.columns.actions, index), noise, times)

    def _validation_batch(self, held_out: np.ndarray) -> FlowBatch | None:
        if len(held_out) == 0:
            return None
        rows = held_out[np.linspace(0, len(held_out) - 1, min(len(held_out), VALIDATION_ROWS)).astype(int)]
        index = on_device(rows, self.device).expand(len(self.lanes), -1)
        # The same noise for every lane: differences between lanes are then differences between flows.
        draws = Streams([SPLIT_SEED] * len(self.lanes), "pretrain/validation", self.device)
        return self._flow_batch(
            index, draws.normal(len(rows), self.source.info.action_dim), draws.uniform(len(rows), 1)
        )

    def policy(self) -> BasePolicy:
        """The behaviour-cloned policies."""
        return BasePolicy(self.flow)

    def state(self) -> Snapshot:
        """Parameters, optimiser, random streams, counters."""
        tensors: Params = {
            **prefixed(self.params, "flow"),
            **prefixed(self.optimizer.tensors(), "adam"),
            "streams": self.streams.state(),
        }
        tensors = {name: value.clone() for name, value in tensors.items()}
        return Snapshot(tensors, {"step": self.step, "adam_steps": self.optimizer.steps})

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        restore(self.params, snapshot.tensors, "flow")
        self.optimizer.load_tensors(under(snapshot.tensors, "adam"), snapshot.meta["adam_steps"])
        self.streams.load_state(snapshot.tensors["streams"])
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """Weights and observation scale of every lane."""
        return [
            Snapshot(flow_tensors(self.flow, lane), {"flow": self.flow.settings()})
            for lane in range(len(self.lanes))
        ]
