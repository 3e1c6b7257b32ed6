"""FiDec as published: flow, critics, residual and dual trained together, one step of one optimiser per batch.

Legend: P lanes, E critics, B batch, K Fisher samples per state, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ..base import Lane, Snapshot
from ..config import parse
from ..data.columns import Columns, ObservationScale
from ..data.dataset import FlatDataset
from ..nets import MLP, Params, move_towards, trainable
from ..offline import OfflineLearner
from ..optimizers import PopulationAdam, clipped
from ..population import MetricMeans, lane_values, prefixed, restore, shared_config, under
from ..streams import Streams
from .flow import Flow, Solver, velocity_network
from .joint_config import JointConfig
from .learner import flow_from, flow_tensors
from .losses import (
    FlowBatch,
    Metrics,
    Policy,
    RefineBatch,
    dual_loss,
    flow_matching_loss,
    residual_loss,
    td_loss,
)
from .networks import critic_network, rebuilt_policy, refinement
from .policy import Guidance, RefinedPolicy
from .sampling import FisherSettings, FreshNoise, fresh_base


@dataclass(frozen=True)
class JointMethod:
    """What the summed loss is made of, besides parameters and batch.

    Attributes:
        velocity, critic: the networks; the residual's is the policy's.
        policy: how actions are refined.
        discount: [P].
        q_aggregation: of the ensemble, in the TD target.
        normalize_q: divide Q by its mean size in the residual's loss.
        dual: train the multiplier.
    """

    velocity: MLP
    critic: MLP
    policy: Policy
    discount: torch.Tensor
    q_aggregation: Literal["mean", "min"]
    normalize_q: bool
    dual: bool


def joint_losses(
    modules: Mapping[str, Params],
    targets: Params,
    flow_batch: FlowBatch,
    batch: RefineBatch,
    method: JointMethod,
) -> tuple[dict[str, torch.Tensor], Metrics]:
    """The terms whose sum is descended, each training the module it is named after and no other.

    Args:
        modules: parameters of ``flow``, ``critic``, ``residual`` and ``dual``.
        targets: parameters of the target critics.
        flow_batch: where flow matching looks.
        batch: transitions with base actions and Fisher matrices, none of which carries a gradient.
        method: networks and settings.

    Returns:
        [P] by module, and metrics.
    """
    critics, residual, log_alpha = modules["critic"], modules["residual"], modules["dual"]["log_alpha"]
    alpha = log_alpha.detach().exp()
    flow, _ = flow_matching_loss(modules["flow"], flow_batch, method.velocity)
    critic, td = td_loss(
        critics, targets, residual, batch, method.critic, method.policy, method.discount, method.q_aggregation
    )
    climb, metrics = residual_loss(
        residual, critics, alpha, batch, method.critic, method.policy, method.normalize_q
    )
    losses = {"flow": flow, "critic": critic, "residual": climb}
    if method.dual:
        losses["dual"] = dual_loss(log_alpha, metrics["penalty"], method.policy.radius)
    return losses, {"flow_loss": flow, **td, **metrics, "alpha": alpha}


@dataclass(frozen=True)
class Draws:
    """The random numbers of one update.

    Attributes:
        index: [P, B] transitions.
        noise, times: [P, B, A] standard normal and [P, B, 1] uniform, where flow matching looks.
        here, there: of base action and Fisher matrix at both ends of the transitions.
    """

    index: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    here: FreshNoise
    there: FreshNoise


class JointLearner(OfflineLearner):
    """P policies trained side by side, each from its own flow on."""

    def __init__(self, lanes: Sequence[Lane[JointConfig]], source: FlatDataset, device: str):
        super().__init__(lanes, source, device)
        self.config = config = shared_config(lanes)
        self.columns = Columns(source, device)
        self.method = _method(lanes, source.info.observation_dim, source.info.action_dim, device)
        self.scale = ObservationScale.of(source, config.normalize_observations, len(lanes), device)
        self.fisher = FisherSettings.of_one_action(config)
        # At the next state a base action is all that is read, unless displacements are projected there too.
        alone = replace(self.fisher, scope="identity", fisher_samples=1, samples=1)
        self.next_fisher = self.fisher if self.method.policy.project else alone
        self._start_parameters()
        self.flow = Flow(
            network=self.method.velocity,
            params=self.modules["flow"],
            mean=self.scale.mean,
            std=self.scale.std,
            solver=Solver(config.solver, config.flow_steps),
        )
        self.target_rate = lane_values(lanes, "target_rate", device)
        self.streams = Streams(self.seeds, "joint/batches", device)

    def _start_parameters(self) -> None:
        init, method = Streams(self.seeds, "joint/init").generators, self.method
        start = {
            "flow": method.velocity.init(init),
            "critic": method.critic.init(init),
            "residual": method.policy.network.init(init, zero_output=self.config.zero_init),
            "dual": {"log_alpha": lane_values(self.lanes, "alpha_init", "cpu").log()},
        }
        self.modules = {module: trainable(params, self.device) for module, params in start.items()}
        self.targets: Params = {
            name: value.detach().clone() for name, value in self.modules["critic"].items()
        }
        trained = [module for module in self.modules if module != "dual" or method.dual]
        self.params: Params = {
            f"{module}.{name}": value for module in trained for name, value in self.modules[module].items()
        }
        self.optimizer = PopulationAdam(self.params, [lane.config.learning_rate for lane in self.lanes])

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        means = MetricMeans()
        batch: RefineBatch | None = None
        for _ in range(steps):
            flow_batch, batch = self._batches(self._draws())
            means.add(self._update(flow_batch, batch))
        self.step += steps
        return {**means.read(self.step), **self._spread(batch)}

    def _spread(self, batch: RefineBatch | None) -> dict[str, list[float]]:
        """Eigenvalue spread of the metric in the newest batch; the flow moves too slowly to look at every one."""
        if batch is None:
            return {}
        spread = self.method.policy.metric.eigenvalue_spread(batch.fisher, batch.base)
        return {"eigenvalue_spread": spread.mean(-1).tolist()}

    def _update(self, flow_batch: FlowBatch, batch: RefineBatch) -> Metrics:
        losses, metrics = self.accelerated(joint_losses)(
            self.modules, self.targets, flow_batch, batch, self.method
        )
        total = torch.stack(list(losses.values())).sum()
        values = torch.autograd.grad(total, list(self.params.values()))
        gradients = dict(zip(self.params, values, strict=True))
        by_module = {module: under(gradients, module) for module in losses}
        by_module = clipped(by_module, self.config.gradient_norm, self.config.gradient_clip)
        # Before the step, as in the public code: the target critics lag one update more.
        move_towards(self.targets, self.modules["critic"], self.target_rate)
        self.optimizer.step(
            {f"{module}.{name}": value for module, part in by_module.items() for name, value in part.items()}
        )
        return metrics

    def _draws(self) -> Draws:
        batch, size, streams = self.config.batch_size, self.flow.action_dim, self.streams
        return Draws(
            index=streams.integers(len(self.columns), batch),
            noise=streams.normal(batch, size),
            times=streams.uniform(batch, 1),
            here=FreshNoise.draw(streams, batch, size, self.fisher),
            there=FreshNoise.draw(streams, batch, size, self.next_fisher),
        )

    def _batches(self, draws: Draws) -> tuple[FlowBatch, RefineBatch]:
        rows = self.columns.transitions(draws.index, self.scale)
        base, fisher = self.accelerated(fresh_base)(self.flow, rows.states, draws.here, self.fisher)
        next_base, next_fisher = self.accelerated(fresh_base)(
            self.flow, rows.next_states, draws.there, self.next_fisher
        )
        batch = RefineBatch(
            states=rows.states,
            actions=rows.actions,
            rewards=rows.rewards,
            masks=rows.masks,
            next_states=rows.next_states,
            base=base.clamp(-1, 1),
            next_base=next_base.clamp(-1, 1),
            fisher=fisher,
            next_fisher=next_fisher,
        )
        return FlowBatch(rows.states, rows.actions, draws.noise, draws.times), batch

    def policy(self) -> RefinedPolicy:
        """The refined policies as they are now."""
        guidance = Guidance.of(self.config, self.method.critic, self.modules["critic"])
        return RefinedPolicy(self.flow, self.method.policy, self.modules["residual"], self.fisher, guidance)

    def state(self) -> Snapshot:
        """Parameters, targets, optimiser, random streams, counters."""
        tensors: Params = {
            **prefixed(self.targets, "target"),
            **prefixed(self.params, "params"),
            **prefixed(self.optimizer.tensors(), "adam"),
            "streams": self.streams.state(),
        }
        meta = {"step": self.step, "adam_steps": self.optimizer.steps}
        return Snapshot({name: value.clone() for name, value in tensors.items()}, meta)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        restore(self.targets, snapshot.tensors, "target")
        restore(self.params, snapshot.tensors, "params")
        self.optimizer.load_tensors(under(snapshot.tensors, "adam"), snapshot.meta["adam_steps"])
        self.streams.load_state(snapshot.tensors["streams"])
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """Everything the refined policy needs, the flow included, and the critics."""
        return [
            Snapshot(
                {
                    **flow_tensors(self.flow, lane),
                    **{
                        f"{module}.{name}": value[lane].detach().clone()
                        for module in ("residual", "critic")
                        for name, value in self.modules[module].items()
                    },
                },
                {"flow": self.flow.settings(), "joint": self.lanes[lane].config.model_dump(mode="json")},
            )
            for lane in range(len(self.lanes))
        ]


def stored_policy(outputs: Sequence[Snapshot], device: str) -> RefinedPolicy:
    """The refined policies that stored outputs stand for, one lane per output."""
    lanes = [Lane(parse(JointConfig, snapshot.meta["joint"]), seed=0) for snapshot in outputs]
    config, settings = shared_config(lanes), outputs[0].meta["flow"]
    method = _method(lanes, settings["observation_dim"], settings["action_dim"], device)
    flow = flow_from(outputs, device, tanh_gelu=method.velocity.tanh_gelu)
    return rebuilt_policy(
        outputs, config, flow, method.policy, method.critic, FisherSettings.of_one_action(config)
    )


def _method(lanes: Sequence[Lane[JointConfig]], states: int, actions: int, device: str) -> JointMethod:
    config = shared_config(lanes)
    tanh_gelu = config.gelu == "tanh"
    return JointMethod(
        velocity=velocity_network(states, actions, config.hidden, tanh_gelu=tanh_gelu),
        critic=critic_network(config, states, actions, tanh_gelu=tanh_gelu, affine_norm=config.affine_norm),
        policy=refinement(lanes, states, actions, device, tanh_gelu=tanh_gelu),
        discount=lane_values(lanes, "discount", device),
        q_aggregation=config.q_aggregation,
        normalize_q=config.normalize_q,
        dual=config.constraint == "lagrange",
    )
