"""Stage three: critics, residual and dual on top of the frozen flow.

Legend: P lanes, E critics, B batch, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..data.dataset import FlatDataset
from ..nets import Params, move_towards, trainable
from ..optimizers import PopulationAdam, clipped
from ..population import MetricMeans, lane_values, prefixed, restore, shared_config, under
from ..streams import Streams
from .columns import Columns, Pools, gather
from .config import PoolsConfig, RefineConfig
from .fisher import Fisher
from .learner import FidecLearner, flow_from, flow_tensors, upstream
from .losses import RefineBatch, dual_loss, residual_loss, td_loss
from .networks import critic_network, rebuilt_policy, refinement
from .policy import Guidance, RefinedPolicy
from .sampling import FisherSettings, FreshNoise, fresh_base


def fisher_settings(pools: Mapping) -> FisherSettings:
    """How one base action with its Fisher matrix is drawn, from the configuration that pools carry."""
    return FisherSettings.of_one_action(parse(PoolsConfig, pools))


class RefineLearner(FidecLearner):
    """P refinements trained side by side, over the same or different flows."""

    def __init__(self, lanes: Sequence[Lane[RefineConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.flow = flow_from(upstream(lanes, "pretrain"), device)
        stored = upstream(lanes, "pools")
        self.pools = Pools(stored, device) if config.base_actions == "pool" else None
        self.pools_config = stored[0].meta["pools"]
        self.fisher = fisher_settings(self.pools_config)
        states, actions = source.info.observation_dim, source.info.action_dim
        self.refinement = refinement(lanes, states, actions, device)
        self.critic = critic_network(config, states, actions)
        self._start_parameters()
        self.discount = lane_values(lanes, "discount", device)
        self.target_rate = lane_values(lanes, "target_rate", device)
        self.log_alpha_min = lane_values(lanes, "log_alpha_min", device)
        self.log_alpha_max = lane_values(lanes, "log_alpha_max", device)
        self.streams = Streams(self.seeds, "refine/batches", device)

    def _start_parameters(self) -> None:
        init = Streams(self.seeds, "refine/init").generators
        self.params: dict[str, Params] = {
            "critic": trainable(self.critic.init(init), self.device),
            "residual": trainable(
                self.refinement.network.init(init, zero_output=self.config.zero_init), self.device
            ),
            "dual": trainable({"log_alpha": lane_values(self.lanes, "alpha_init", "cpu").log()}, self.device),
        }
        self.targets: Params = {name: value.detach().clone() for name, value in self.params["critic"].items()}
        self.optimizers = {
            module: PopulationAdam(self.params[module], [getattr(lane.config, rate) for lane in self.lanes])
            for module, rate in (
                ("critic", "critic_learning_rate"),
                ("residual", "residual_learning_rate"),
                ("dual", "dual_learning_rate"),
            )
        }

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        means = MetricMeans()
        for _ in range(steps):
            means.add(self._update(self._batch()))
        self.step += steps
        return means.read(self.step)

    def _update(self, batch: RefineBatch) -> dict[str, torch.Tensor]:
        """One update of every network, all gradients taken at the same parameters."""
        config, residual, critics = self.config, self.params["residual"], self.params["critic"]
        log_alpha = self.params["dual"]["log_alpha"]
        alpha = log_alpha.detach().exp()
        value, td = td_loss(
            critics, self.targets, residual, batch, self.critic, self.refinement, self.discount, config.q_aggregation
        )  # fmt: skip
        climb, metrics = residual_loss(
            residual, critics, alpha, batch, self.critic, self.refinement, config.normalize_q
        )
        losses = {"critic": value, "residual": climb}
        if config.constraint == "lagrange":
            losses["dual"] = dual_loss(log_alpha, metrics["penalty"], self.refinement.radius)
        gradients = {module: _gradients(loss, self.params[module]) for module, loss in losses.items()}
        for module, gradient in clipped(gradients, config.gradient_norm, config.gradient_clip).items():
            self.optimizers[module].step(gradient)
        with torch.no_grad():
            log_alpha.clamp_(self.log_alpha_min, self.log_alpha_max)
        move_towards(self.targets, critics, self.target_rate)
        return {**td, **metrics, "alpha": alpha}

    def _batch(self) -> RefineBatch:
        index = self.streams.integers(len(self.columns), self.config.batch_size)
        rows = gather(self.columns.rows, index)
        states = self.flow.normalized(gather(self.columns.states, rows))
        next_states = self.flow.normalized(gather(self.columns.states, rows + 1))
        base, fisher, next_base, next_fisher = self._bases(rows, states, next_states)
        return RefineBatch(
            states=states,
            actions=gather(self.columns.actions, index),
            rewards=gather(self.columns.rewards, index),
            masks=gather(self.columns.masks, index),
            next_states=next_states,
            base=base.clamp(-1, 1),
            next_base=next_base.clamp(-1, 1),
            fisher=fisher,
            next_fisher=next_fisher,
        )

    def _bases(self, rows: torch.Tensor, states: torch.Tensor, next_states: torch.Tensor):
        """Base actions and Fisher matrices of both ends of the transitions."""
        project = self.refinement.project
        if self.pools is not None:
            here, there = self.streams.integers(
                self.pools.base_actions_per_state, 2, self.config.batch_size
            ).unbind(1)
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
        return fresh_base(self.flow, states, noise, settings)

    def policy(self) -> RefinedPolicy:
        """The refined policies as they are now."""
        guidance = Guidance.of(self.config, self.critic, self.params["critic"])
        return RefinedPolicy(self.flow, self.refinement, self.params["residual"], self.fisher, guidance)

    def state(self) -> Snapshot:
        """Parameters, targets, optimisers, random streams, counters."""
        tensors: Params = {**prefixed(self.targets, "target"), "streams": self.streams.state()}
        for module, params in self.params.items():
            tensors.update(prefixed(params, module))
            tensors.update(prefixed(self.optimizers[module].tensors(), f"adam.{module}"))
        meta = {
            "step": self.step,
            "adam_steps": {module: optimizer.steps for module, optimizer in self.optimizers.items()},
        }
        return Snapshot({name: value.clone() for name, value in tensors.items()}, meta)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        restore(self.targets, snapshot.tensors, "target")
        for module, params in self.params.items():
            restore(params, snapshot.tensors, module)
            self.optimizers[module].load_tensors(
                under(snapshot.tensors, f"adam.{module}"), snapshot.meta["adam_steps"][module]
            )
        self.streams.load_state(snapshot.tensors["streams"])
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """Everything the refined policy needs, the flow included, and the critics."""
        meta = {"flow": self.flow.settings(), "pools": self.pools_config}
        return [
            Snapshot(
                {
                    **flow_tensors(self.flow, lane),
                    **_lane_of(self.params["residual"], "residual", lane),
                    **_lane_of(self.params["critic"], "critic", lane),
                },
                {**meta, "refine": self.lanes[lane].config.model_dump(mode="json")},
            )
            for lane in range(len(self.lanes))
        ]


def stored_policy(outputs: Sequence[Snapshot], device: str) -> RefinedPolicy:
    """The refined policies that stored outputs stand for, one lane per output."""
    lanes = [Lane(parse(RefineConfig, snapshot.meta["refine"]), seed=0) for snapshot in outputs]
    config, settings = shared_config(lanes), outputs[0].meta["flow"]
    states, actions = settings["observation_dim"], settings["action_dim"]
    return rebuilt_policy(
        outputs,
        config,
        flow_from(outputs, device),
        refinement(lanes, states, actions, device),
        critic_network(config, states, actions),
        fisher_settings(outputs[0].meta["pools"]),
    )


def _gradients(loss: torch.Tensor, params: Params) -> Params:
    """Gradients of the sum over lanes; lanes share no parameter, so each gets its own."""
    return dict(zip(params, torch.autograd.grad(loss.sum(), list(params.values())), strict=True))


def _lane_of(params: Params, prefix: str, lane: int) -> Params:
    return {f"{prefix}.{name}": value[lane].detach().clone() for name, value in params.items()}
