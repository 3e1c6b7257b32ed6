"""The loop of off-policy safe reinforcement learning: act, store, update critics and policy, move the multiplier.

One step of a learner is one environment step in every lane, followed by ``updates_per_step`` gradient updates.

Legend: P lanes, B batch, E cost critics, O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..base import Lane, Score, Snapshot
from ..config import parse
from ..envs.constrained import Constrained
from ..envs.constrained_names import EnvironmentSource
from ..envs.policy import Policy
from ..errors import EnvironmentFailed
from ..nets import MLP, Params, move_towards
from ..network_learner import NetworkLearner
from ..population import MetricMeans, lane_values, prefixed, shared_config, stacked, under
from ..streams import Streams, derived_seed
from .collector import Collector
from .config import SafeConfig
from .critics import Critics, Metrics, cost_td_loss, reward_td_loss, upper_bound
from .dual import Dual
from .replay import Batch, Replay
from .scoring import Judged, counts_of, picture

PURPOSE = 2
LOOK_EVERY = 10
"""Environment steps between two looks of the cost critics at initial states."""
START_STATES, SPREAD_STATES, SPREAD_SAMPLES = 32, 16, 16
WHOLE_ROWS = 32
"""Rows that fill the widest vector registers whatever the action size. What is computed of fewer is rounded one way at
the end of an array and another inside it, and a lane would differ from itself alone in the last bit."""
SIZE_RATE = 0.01
"""Share of the way the running mean of |Q| follows each batch."""
SCALARS = ("discount", "cost_discount", "target_rate", "cost_margin")


class SafeLearner(NetworkLearner):
    """P lanes of one method. A subclass makes its policy network, and writes :meth:`act` and :meth:`policy_update`.

    Args:
        lanes: configuration, seed and warm-up of every lane.
        source: the environment.
        device: where to compute.
    """

    scalars_of: tuple[str, ...] = ()
    """Further fields of the configuration that may differ between lanes."""

    def __init__(self, lanes: Sequence[Lane], source: EnvironmentSource, device: str):
        self.lanes, self.device, self.step = list(lanes), device, 0
        self.seeds = [lane.seed for lane in lanes]
        self.config = config = shared_config(lanes)
        self.definition: Constrained = source.definition
        self.limits = limits_of(lanes, self.definition)
        discounts = [lane.config.cost_discount for lane in lanes]
        self.collector = Collector(
            self.definition, self.seeds, PURPOSE, self.limits, discounts, config.dual_episodes
        )
        sizes = self.collector.sizes
        warm = torch.stack([lane.upstream["warmup"].tensors["rows"] for lane in lanes], 1).to(device)
        self.replay = Replay(warm, config.steps, config.replay_capacity, sizes, device)
        self.critics = Critics.of(sum(sizes), config.hidden, config.cost_critics)
        self.scalars = {name: lane_values(lanes, name, device) for name in (*SCALARS, *self.scalars_of)}
        self.critic_limit = torch.tensor(
            [self.definition.critic_limit(*pair) for pair in zip(self.limits, discounts, strict=True)],
            device=device,
        )
        self._start(lanes)

    def _start(self, lanes: Sequence[Lane]) -> None:
        draws = Streams(self.seeds, "train/init").generators
        initial = {
            "critic": self.critics.reward.init(draws),
            "cost": self.critics.cost.init(draws),
            "policy": self.policy_network(draws),
        }
        rates = {
            "critic": "critic_learning_rate",
            "cost": "cost_learning_rate",
            "policy": "policy_learning_rate",
        }
        self.start_networks("train", initial, rates, followed=["critic", "cost"], apart=True)
        self.acting = Streams(self.seeds, "train/acting", self.device)
        fields = ("dual_start", "dual_learning_rate", "dual_max", "pid_proportional", "pid_derivative")
        self.dual = Dual(self.config.dual, *(lane_values(lanes, name, self.device) for name in fields))
        self.q_size = torch.zeros(len(lanes), device=self.device)
        self.at_start = torch.zeros(len(lanes), device=self.device)
        self.updates = 0

    def policy_network(self, generators: Sequence[torch.Generator]) -> Params:
        """Fresh parameters of the policy; also sets up its architecture."""
        raise NotImplementedError

    def noise_size(self) -> tuple[int, ...]:
        """Shape of the standard normal numbers that one action takes, before the action axis."""
        raise NotImplementedError

    def act(self, params: Params, states: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [P, R, A] for states [P, R, O] from noise [P, *noise_size, R, A]; without gradient."""
        raise NotImplementedError

    def next_actions(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The policy's actions [P, B, A] at the next states, and the entropy bonus [P, B] where there is one."""
        noise = self.streams.normal(*self.noise_size(), *batch.actions.shape[1:])
        return self.act(self.params["policy"], batch.next_states, noise), None

    def policy_update(self, batch: Batch) -> Metrics:
        """One update of the policy."""
        raise NotImplementedError

    def own_policy(self) -> tuple[Policy, Policy | None]:
        """The policies as they act, and by the deployment rule where that is another."""
        raise NotImplementedError

    def own_tensors(self) -> Params:
        """Further tensors of the state."""
        return {}

    def load_own(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from :meth:`own_tensors`."""

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Take ``steps`` environment steps with their updates; one mean per lane and metric.

        Raises:
            Diverged: a metric is not finite.
            EnvironmentFailed: after ``steps`` of its own, which are kept.
        """
        means = MetricMeans()
        for done in range(steps):
            try:
                self._collect()
            except EnvironmentFailed as failed:
                so_far = self._read(means) if done else {}
                raise EnvironmentFailed(failed.what, done, so_far) from failed
            self.step += 1
            for _ in range(self.config.updates_per_step):
                means.add({**self.update(), "multiplier": self.dual.multiplier})
            self._move_multiplier()
        return self._read(means)

    def _read(self, means: MetricMeans) -> dict[str, list[float]]:
        return {**means.read(self.step), **self._spread()}

    @torch.no_grad()
    def _collect(self) -> None:
        position = self.acting.state()
        observations, actions = self.replay.sizes
        states = torch.zeros(len(self.seeds), WHOLE_ROWS, observations, device=self.device)
        states[:, 0] = torch.from_numpy(self.collector.observations)
        noise = torch.zeros(len(self.seeds), *self.noise_size(), WHOLE_ROWS, actions, device=self.device)
        noise[..., 0, :] = self.acting.normal(*self.noise_size(), actions)
        actions = self.act(self.params["policy"], states, noise)[:, 0]
        try:
            rows = self.collector.step(actions.cpu().numpy())
        except EnvironmentFailed:
            self.acting.load_state(position)
            raise
        self.replay.append(torch.from_numpy(rows).to(self.device))

    def update(self) -> Metrics:
        """One update of the critics, then of the policy, then of the target copies."""
        batch = self.replay.batch(self.streams.integers(len(self.replay), self.config.batch_size))
        next_actions, entropy = self.next_actions(batch)
        metrics = self._critic_update(batch, next_actions, entropy)
        metrics |= self.policy_update(batch)
        if self.config.dual == "adam_log":
            self.dual.climb(self._violation(batch))
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            for name, target in self.targets.items():
                move_towards(target, self.params[name], self.scalars["target_rate"])
        return metrics

    def _critic_update(
        self, batch: Batch, next_actions: torch.Tensor, entropy: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        params, targets, scalars = self.params, self.targets, self.scalars
        losses, metrics = {}, {}
        losses["critic"], of_reward = reward_td_loss(
            params["critic"], targets["critic"], batch, next_actions, self.critics.reward, scalars["discount"], entropy
        )  # fmt: skip
        losses["cost"], of_cost = cost_td_loss(
            params["cost"], targets["cost"], batch, next_actions, self.critics.cost, scalars["cost_discount"]
        )
        self.descend(self.gradients(losses))
        return {**metrics, **of_reward, **of_cost}

    def scales(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What Q and cost are divided by, [P] each."""
        if not self.config.normalize:
            ones = torch.ones_like(self.q_size)
            return ones, ones
        unseen = self.q_size == 0
        return torch.where(unseen, 1.0, self.q_size.clamp_min(1e-3)), self.critic_limit

    def follow_size(self, q: torch.Tensor) -> None:
        """Let the running mean of |Q| follow a batch's [P, B]."""
        seen = q.abs().mean(-1)
        self.q_size = torch.where(self.q_size == 0, seen, self.q_size.lerp(seen, SIZE_RATE))

    def _move_multiplier(self) -> None:
        if self.step % LOOK_EVERY == 0 and self.config.dual_signal in ("both", "initial_states"):
            self.at_start = self._cost_at_start()
        if self.config.dual != "adam_log":
            self.dual.move(self._violation(None))

    @torch.no_grad()
    def _violation(self, batch: Batch | None) -> torch.Tensor:
        """cost / limit - 1 by the signal the configuration names; [P]."""
        signal = self.config.dual_signal
        if signal == "replay":
            if batch is None:
                index = self.streams.integers(len(self.replay), self.config.batch_size)
                batch = self.replay.batch(index)
            values = self.critics.cost(self.params["cost"], batch.inputs).squeeze(-1)
            mean = upper_bound(values, self.scalars["cost_margin"]).mean(-1)
            return mean / self.critic_limit - 1
        if signal == "initial_states":
            return self.at_start
        episodes = torch.tensor(self._episode_violations(), device=self.device)
        return episodes if signal == "episodes" else torch.maximum(episodes, self.at_start)

    def _episode_violations(self) -> list[float]:
        """Mean cost of the newest finished episodes over the limit, less 1; 0 before the first has ended."""
        return [
            sum(one.recent_costs) / len(one.recent_costs) / limit - 1 if one.recent_costs else 0.0
            for one, limit in zip(self.collector.training, self.limits, strict=True)
        ]

    @torch.no_grad()
    def _cost_at_start(self) -> torch.Tensor:
        """Qc^(s0, a) over the limit h, less 1, mean over the newest initial states; [P]."""
        kept = [list(states) for states in self.collector.initial]
        # Lanes may have seen different numbers of episodes: each repeats what it has.
        rows = [[states[i % len(states)] for i in range(START_STATES)] for states in kept]
        states = torch.from_numpy(np.array(rows)).to(self.device)
        actions = self.act(self.params["policy"], states, self._aside("start", START_STATES))
        values = self.critics.cost(self.params["cost"], torch.cat([states, actions], -1)).squeeze(-1)
        return upper_bound(values, self.scalars["cost_margin"]).mean(-1) / self.critic_limit - 1

    def _aside(self, purpose: str, rows: int) -> torch.Tensor:
        """Noise for ``rows`` actions that leaves the learner's own streams alone."""
        draws = [
            torch.randn(
                *self.noise_size(),
                rows,
                self.replay.sizes[1],
                device=self.device,
                generator=torch.Generator(self.device).manual_seed(derived_seed(seed, purpose, self.step)),
            )
            for seed in self.seeds
        ]
        return torch.stack(draws)

    @torch.no_grad()
    def _spread(self) -> dict[str, list[float]]:
        """How far the policy's actions at one state lie apart, and how many stand at the box."""
        newest = self.replay.batch(
            torch.arange(max(0, len(self.replay) - SPREAD_STATES), len(self.replay), device=self.device)
            .expand(len(self.seeds), -1)
        )  # fmt: skip
        states = newest.states.repeat_interleave(SPREAD_SAMPLES, 1)
        actions = self.act(self.params["policy"], states, self._aside("spread", states.shape[1]))
        apart = actions.unflatten(1, (-1, SPREAD_SAMPLES)).std(2)
        return {
            "action_spread": apart.flatten(1).mean(1).tolist(),
            "action_saturation": (actions.abs() >= 0.99).float().flatten(1).mean(1).tolist(),
        }

    def judged(self) -> Judged:
        """The policies with what is needed to score them."""
        policy, deployed = self.own_policy()
        steps = self.replay.end
        return Judged(
            policy, deployed, self.critics.cost, self.params["cost"], self.scalars["cost_margin"], self.limits,
            [lane.config.cost_discount for lane in self.lanes],
            [counts_of(books, steps) for books in self.collector.training], self.step, self.device,
        )  # fmt: skip

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Play the policies as they act, in environments of their own."""
        return self.judged().scored(self.definition, seeds, episodes)

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """A video and stills of lane 0's first evaluation episode, with the cost of every step."""
        return picture(self.judged, self.definition, folder, seeds)

    def state(self) -> Snapshot:
        """Networks, copies, optimisers, streams, multiplier, environments and books; the replay as rows."""
        state = super().state()
        arrays, books = self.collector.state()
        tensors: dict[str, torch.Tensor] = {**state.tensors, "acting": self.acting.state()}
        tensors |= {f"collector.{name}": torch.from_numpy(value.copy()) for name, value in arrays.items()}
        own = {"q_size": self.q_size, "at_start": self.at_start, **prefixed(self.dual.tensors(), "dual")}
        own |= prefixed(self.own_tensors(), "own")
        tensors |= {name: value.clone() for name, value in own.items()}
        meta = {**state.meta, "books": books, "updates": self.updates, "dual_steps": self.dual.adam_steps}
        return Snapshot(tensors, meta, {"rows": self.replay.appended()})

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        super().load_state(snapshot)
        tensors, meta = snapshot.tensors, snapshot.meta
        self.acting.load_state(tensors["acting"])
        if self.step:
            self.replay.load(snapshot.log["rows"].to(self.device))
        self.q_size = tensors["q_size"].to(self.device, copy=True)
        self.at_start = tensors["at_start"].to(self.device, copy=True)
        self.dual.load(under(tensors, "dual"), meta["dual_steps"])
        self.updates = meta["updates"]
        self.load_own(under(tensors, "own"))
        arrays = {name: value.numpy() for name, value in under(tensors, "collector").items()}
        taken = [
            self.replay.actions(lane, one["steps"]).cpu().numpy() for lane, one in enumerate(meta["books"])
        ]
        self.collector.load_state(arrays, meta["books"], taken)

    def outputs(self) -> list[Snapshot]:
        """Per lane the networks, with what an evaluation needs to know."""
        return [
            Snapshot(
                {
                    **self.lane_tensors(lane, "policy", "critic", "cost"),
                    "multiplier": self.dual.multiplier[lane].clone(),
                    "q_size": self.q_size[lane].clone(),
                },
                {
                    "config": self.lanes[lane].config.model_dump(mode="json"),
                    "counts": counts_of(books, self.replay.end),
                    "sizes": list(self.replay.sizes),
                },
            )
            for lane, books in enumerate(self.collector.training)
        ]


def limits_of(lanes: Sequence[Lane], definition: Constrained) -> list[float]:
    """Largest cost per episode of every lane: its own, else the environment's."""
    return [lane.config.cost_limit or definition.limit for lane in lanes]


class Rebuilt:
    """Networks and settings read back from stored outputs.

    Args:
        outputs: [P] what ``train`` stored.
        config_type: of its configuration.
        device: where to compute.
    """

    def __init__(self, outputs: Sequence[Snapshot], config_type: type[SafeConfig], device: str):
        self.configs = [parse(config_type, output.meta["config"], "train") for output in outputs]
        self.sizes: tuple[int, int] = tuple(outputs[0].meta["sizes"])  # type: ignore[assignment]
        self.policy, self.critic, self.cost = (
            stacked(outputs, name, device) for name in ("policy", "critic", "cost")
        )
        first = self.configs[0]
        self.critics = Critics.of(sum(self.sizes), first.hidden, first.cost_critics)
        self.multiplier = torch.stack([output.tensors["multiplier"] for output in outputs]).to(device)
        self.q_size = torch.stack([output.tensors["q_size"] for output in outputs]).to(device)
        self.counts: list[dict[str, Any]] = [dict(output.meta["counts"]) for output in outputs]

    def scalar(self, name: str, device: str) -> torch.Tensor:
        """[P] one field of every lane's configuration."""
        return torch.tensor([float(getattr(config, name)) for config in self.configs], device=device)

    @property
    def cost_network(self) -> MLP:
        """Architecture of the cost critics."""
        return self.critics.cost
