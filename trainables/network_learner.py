"""Learners of several networks: their optimisers, slowly following copies, random streams and state.

Legend: P lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .base import Lane, Learner, Snapshot
from .nets import Params, trainable
from .optimizers import PopulationAdam
from .population import MetricMeans, prefixed, restore, under
from .streams import Streams


class NetworkLearner(Learner):
    """P lanes of several networks, each with its own optimiser, some with a slowly following copy.

    A subclass calls :meth:`start_networks` and writes :meth:`update`.
    """

    lanes: list[Lane]
    seeds: list[int]
    device: str
    params: dict[str, Params]
    """By network."""
    targets: dict[str, Params]
    """Slowly following copies, by network."""
    optimizers: dict[str, PopulationAdam]
    streams: Streams

    def start_networks(
        self,
        stage: str,
        initial: Mapping[str, Params],
        learning_rates: Mapping[str, str],
        followed: Sequence[str],
        apart: bool = False,
    ) -> None:
        """Own copies of the networks, optimisers and the random stream of batches.

        Args:
            stage: names the random stream.
            initial: parameters to start from, by network.
            learning_rates: network to the configuration's field that holds its learning rate.
            followed: networks that have a slowly following copy.
            apart: optimise lane by lane, so that a lane equals itself alone to the last bit.
        """
        self.params = {name: trainable(params, self.device) for name, params in initial.items()}
        self.targets = {
            name: {key: value.detach().clone() for key, value in self.params[name].items()}
            for name in followed
        }
        self.optimizers = {
            name: PopulationAdam(
                params, [getattr(lane.config, learning_rates[name]) for lane in self.lanes], apart
            )
            for name, params in self.params.items()
        }
        self.streams = Streams(self.seeds, f"{stage}/batches", self.device)

    def update(self) -> Mapping[str, torch.Tensor]:
        """One update of the networks; metrics [P] by name, the same names every time."""
        raise NotImplementedError

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        means = MetricMeans()
        for _ in range(steps):
            means.add(self.update())
            self.step += 1
        return means.read(self.step)

    def gradients(self, losses: Mapping[str, torch.Tensor]) -> dict[str, Params]:
        """Gradients of every network named, all at the same parameters.

        Args:
            losses: network to its loss [P]; lanes share no parameter, so the gradient of the sum is each lane's own.
        """
        found = {}
        for name, loss in losses.items():
            params = self.params[name]
            values = torch.autograd.grad(loss.sum(), list(params.values()))
            found[name] = dict(zip(params, values, strict=True))
        return found

    def descend(self, gradients: Mapping[str, Params]) -> None:
        """One optimiser step of every network named."""
        for name, gradient in gradients.items():
            self.optimizers[name].step(gradient)

    def state(self) -> Snapshot:
        """Parameters, copies, optimisers, random streams, counters."""
        tensors: Params = {"streams": self.streams.state()}
        for name, params in self.targets.items():
            tensors.update(prefixed(params, f"target.{name}"))
        for name, params in self.params.items():
            tensors.update(prefixed(params, name))
            tensors.update(prefixed(self.optimizers[name].tensors(), f"adam.{name}"))
        meta = {
            "step": self.step,
            "adam_steps": {name: optimizer.steps for name, optimizer in self.optimizers.items()},
        }
        return Snapshot({name: value.clone() for name, value in tensors.items()}, meta)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        for name, params in self.targets.items():
            restore(params, snapshot.tensors, f"target.{name}")
        for name, params in self.params.items():
            restore(params, snapshot.tensors, name)
            self.optimizers[name].load_tensors(
                under(snapshot.tensors, f"adam.{name}"), snapshot.meta["adam_steps"][name]
            )
        self.streams.load_state(snapshot.tensors["streams"])
        self.step = snapshot.meta["step"]

    def lane_tensors(self, lane: int, *names: str) -> Params:
        """One lane's networks as named tensors without the lane axis."""
        return {
            key: value[lane].clone()
            for name in names
            for key, value in prefixed(self.params[name], name).items()
        }
