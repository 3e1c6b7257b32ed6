"""Stage three: critics, residual and dual on top of the frozen flow.

Legend: P lanes, E critics, B batch, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..data.columns import Columns, ObservationScale, gather
from ..data.dataset import FlatDataset
from ..nets import move_towards
from ..offline import ModularLearner, upstream
from ..optimizers import clipped
from ..population import lane_values, shared_config
from ..streams import Streams
from .columns import Pools, dataset_trace, fisher_of_rows
from .config import PoolsConfig, RefineConfig
from .fisher import Fisher
from .learner import flow_from, flow_tensors
from .losses import RefineBatch, dual_loss, residual_loss, td_loss
from .networks import critic_network, rebuilt_policy, refinement
from .policy import Guidance, RefinedPolicy
from .sampling import FisherSettings, FreshNoise, fresh_base

SPREAD_ROWS = 256  # states whose eigenvalues are computed, for a metric


def fisher_settings(pools: Mapping) -> FisherSettings:
    """How one base action with its Fisher matrix is drawn, from the configuration that pools carry."""
    return FisherSettings.of_one_action(parse(PoolsConfig, pools))


class RefineLearner(ModularLearner):
    """P refinements trained side by side, over the same or different flows."""

    def __init__(self, lanes: Sequence[Lane[RefineConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.flow = flow_from(upstream(lanes, "pretrain"), device)
        self.scale = ObservationScale(self.flow.mean, self.flow.std)
        stored = upstream(lanes, "pools")
        self.pools = Pools(stored, device) if config.base_actions == "pool" else None
        self.pools_config = stored[0].meta["pools"]
        self.fisher = fisher_settings(self.pools_config)
        states, actions = source.info.observation_dim, source.info.action_dim
        self.traces = self._traces(stored)
        self.refinement = refinement(lanes, states, actions, device, traces=self.traces)
        self.spread = self._spread(stored)
        self.critic = critic_network(config, states, actions)
        self._start_parameters()
        self.discount = lane_values(lanes, "discount", device)
        self.target_rate = lane_values(lanes, "target_rate", device)
        self.log_alpha_min = lane_values(lanes, "log_alpha_min", device)
        self.log_alpha_max = lane_values(lanes, "log_alpha_max", device)

    def _traces(self, pools: Sequence[Snapshot]) -> list[float] | None:
        if self.config.normalization != "dataset_trace":
            return None
        return [dataset_trace(snapshot, self.columns.rows) for snapshot in pools]

    def _spread(self, pools: Sequence[Snapshot]) -> list[float]:
        """Eigenvalue spread of the metric, at states evenly over the dataset; the flow being frozen, it is fixed."""
        rows = self.source.rows
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), SPREAD_ROWS)).astype(int)]
        fisher = fisher_of_rows(pools, torch.from_numpy(some), self.device)
        like = torch.empty(len(pools), len(some), self.flow.action_dim, device=self.device)
        return self.refinement.metric.eigenvalue_spread(fisher, like).mean(-1).tolist()

    def _start_parameters(self) -> None:
        init = Streams(self.seeds, "refine/init").generators
        initial = {
            "critic": self.critic.init(init),
            "residual": self.refinement.network.init(init, zero_output=self.config.zero_init),
            "dual": {"log_alpha": lane_values(self.lanes, "alpha_init", "cpu").log()},
        }
        rates = {
            "critic": "critic_learning_rate",
            "residual": "residual_learning_rate",
            "dual": "dual_learning_rate",
        }
        self.start_networks("refine", initial, rates, followed=["critic"])

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        return {**super().advance(steps), "eigenvalue_spread": self.spread}

    def update(self) -> dict[str, torch.Tensor]:
        """One update of every network, all gradients taken at the same parameters."""
        batch, targets = self._batch(), self.targets["critic"]
        config, residual, critics = self.config, self.params["residual"], self.params["critic"]
        log_alpha = self.params["dual"]["log_alpha"]
        alpha = log_alpha.detach().exp()
        value, td = self.accelerated(td_loss)(
            critics, targets, residual, batch, self.critic, self.refinement, self.discount, config.q_aggregation
        )  # fmt: skip
        climb, metrics = self.accelerated(residual_loss)(
            residual, critics, alpha, batch, self.critic, self.refinement, config.normalize_q
        )
        losses = {"critic": value, "residual": climb}
        if config.constraint == "lagrange":
            losses["dual"] = dual_loss(log_alpha, metrics["penalty"], self.refinement.radius)
        self.descend(clipped(self.gradients(losses), config.gradient_norm, config.gradient_clip))
        if config.constraint == "lagrange":
            with torch.no_grad():
                log_alpha.clamp_(self.log_alpha_min, self.log_alpha_max)
        move_towards(targets, critics, self.target_rate)
        return {**td, **metrics, "alpha": alpha}

    def _batch(self) -> RefineBatch:
        index = self.streams.integers(len(self.columns), self.config.batch_size)
        data = self.columns.transitions(index, self.scale)
        base, fisher, next_base, next_fisher = self._bases(index, data.states, data.next_states)
        return RefineBatch(
            states=data.states,
            actions=data.actions,
            rewards=data.rewards,
            masks=data.masks,
            next_states=data.next_states,
            base=base.clamp(-1, 1),
            next_base=next_base.clamp(-1, 1),
            fisher=fisher,
            next_fisher=next_fisher,
        )

    def _bases(self, index: torch.Tensor, states: torch.Tensor, next_states: torch.Tensor):
        """Base actions and Fisher matrices of both ends of the transitions."""
        project = self.refinement.project
        if self.pools is not None:
            here, there = self.streams.integers(
                self.pools.base_actions_per_state, 2, self.config.batch_size
            ).unbind(1)
            rows = gather(self.columns.rows, index)
            following = self.pools.fisher(rows + 1, there) if project else Fisher()
            return (
                self.pools.base_actions(rows, here),
                self.pools.fisher(rows, here),
                self.pools.base_actions(rows + 1, there),
                following,
            )
        next_settings = (
            self.fisher if project else fisher_settings({**self.pools_config, "fisher_scope": "identity"})
        )
        return (*self._draw(states, self.fisher), *self._draw(next_states, next_settings))

    def _draw(self, states: torch.Tensor, settings: FisherSettings) -> tuple[torch.Tensor, Fisher]:
        noise = FreshNoise.draw(self.streams, self.config.batch_size, self.flow.action_dim, settings)
        return self.accelerated(fresh_base)(self.flow, states, noise, settings)

    def policy(self) -> RefinedPolicy:
        """The refined policies as they are now."""
        guidance = Guidance.of(self.config, self.critic, self.params["critic"])
        return RefinedPolicy(self.flow, self.refinement, self.params["residual"], self.fisher, guidance)

    def outputs(self) -> list[Snapshot]:
        """Everything the refined policy needs, the flow included, and the critics."""
        return [
            Snapshot(
                {**flow_tensors(self.flow, lane), **self.lane_tensors(lane, "residual", "critic")},
                self._meta(lane),
            )
            for lane in range(len(self.lanes))
        ]

    def _meta(self, lane: int) -> dict[str, Any]:
        config = self.lanes[lane].config.model_dump(mode="json")
        meta = {"flow": self.flow.settings(), "pools": self.pools_config, "refine": config}
        return meta if self.traces is None else {**meta, "fisher_trace": self.traces[lane]}


def stored_policy(outputs: Sequence[Snapshot], device: str) -> RefinedPolicy:
    """The refined policies that stored outputs stand for, one lane per output."""
    lanes = [Lane(parse(RefineConfig, snapshot.meta["refine"]), seed=0) for snapshot in outputs]
    config, settings = shared_config(lanes), outputs[0].meta["flow"]
    states, actions = settings["observation_dim"], settings["action_dim"]
    given = config.normalization == "dataset_trace"
    traces = [snapshot.meta["fisher_trace"] for snapshot in outputs] if given else None
    return rebuilt_policy(
        outputs,
        config,
        flow_from(outputs, device),
        refinement(lanes, states, actions, device, traces=traces),
        critic_network(config, states, actions),
        fisher_settings(outputs[0].meta["pools"]),
    )
