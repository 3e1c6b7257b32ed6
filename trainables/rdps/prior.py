"""Stage one: the prior, trained once and shared by every sampler setting over it.

Legend: P lanes, B batch, N examples, D unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from ..base import Lane, Learner, Score, Snapshot
from ..nets import Params, move_towards, trainable
from ..optimizers import PopulationAdam
from ..population import MetricMeans, lane_values, prefixed, restore, shared_config, stacked, under
from ..streams import Streams, derived_seed
from .config import PriorConfig
from .denoiser import Denoiser, ResidualNetwork, denoising_loss
from .metrics import psnr, sliced_wasserstein
from .priors import Prior
from .problems.problem import Problem
from .samplers import unconditional
from .schedule import Settings

WARM_UP = 0.3
"""Share of the updates over which the learning rate rises."""
FIRST_RATE = 0.04
"""Learning rate at the start, over the largest."""
VALIDATION_ROWS = 512
EVALUATION_LEVELS = 40


def one_cycle(done: float) -> float:
    """Learning rate over its largest at a share of the updates: a cosine up, then a cosine down to nothing."""
    if done < WARM_UP:
        return FIRST_RATE + (1 - FIRST_RATE) * (1 - math.cos(math.pi * done / WARM_UP)) / 2
    return (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


class PriorLearner(Learner):
    """What learnt and known priors share: their score, by drawing from them."""

    def __init__(self, lanes: Sequence[Lane[PriorConfig]], problem: Problem, device: str):
        self.lanes, self.problem, self.device = list(lanes), problem, device
        self.step = 0

    def prior(self) -> Prior:
        """The prior as it is now, its lanes side by side."""
        raise NotImplementedError

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Draw as many samples as there are held-out truths to compare them with, up to 147."""
        count = min(147, *(self.problem.count(lane.split) for lane in self.lanes))
        draws, prior = Streams(seeds, "prior/evaluation"), self.prior()

        def draw(number: int) -> torch.Tensor:
            drawn = draws.normal(number, count, self.problem.operator.unknowns)
            return drawn.transpose(0, 1).to(self.device, prior.dtype)

        samples = unconditional(prior, Settings(levels=EVALUATION_LEVELS), draw).cpu()
        found = []
        for lane, seed, drawn in zip(self.lanes, seeds, samples, strict=True):
            truths = self.problem.truths.take(lane.split, seed, range(count)).to(drawn)
            values = psnr(drawn, truths, self.problem.value_range).tolist()
            blind = sum(values) / count
            metrics = {"sw2_held_out": sliced_wasserstein(drawn, truths), "psnr": blind, "psnr_clean": blind}
            found.append(Score(metrics, {"psnr": values, "psnr_clean": values}))
        return found


class KnownPrior(PriorLearner):
    """A mixture in closed form: nothing to train, nothing to store."""

    def prior(self) -> Prior:
        """The problem's own."""
        assert self.problem.mixture is not None
        return self.problem.mixture.to(self.device)

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Only counts."""
        self.step += steps
        return {}

    def state(self) -> Snapshot:
        """The count."""
        return Snapshot({}, {"step": self.step})

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """Its name."""
        return [Snapshot({}, {"known": self.problem.prior_name}) for _ in self.lanes]


class TrainedPrior(PriorLearner):
    """P denoisers trained side by side, each under the seed of its configuration."""

    def __init__(self, lanes: Sequence[Lane[PriorConfig]], problem: Problem, device: str):
        super().__init__(lanes, problem, device)
        self.config = config = shared_config(lanes)
        assert problem.examples is not None
        self.examples = problem.examples.to(device)
        mean = self.examples.mean(0)
        spread = float((self.examples - mean).square().mean().sqrt())
        self.network = ResidualNetwork(self.examples.shape[1], config.width, config.blocks)
        seeds = [lane.config.seed for lane in lanes]
        self.params = trainable(self.network.init(Streams(seeds, "prior/init").generators), device)
        self.average = {name: value.detach().clone() for name, value in self.params.items()}
        self.denoiser = Denoiser(self.network, self.average, mean, spread)
        self.rates = lane_values(lanes, "learning_rate", "cpu").tolist()
        self.average_rate = lane_values(lanes, "average_rate", device)
        self.optimizer = PopulationAdam(self.params, self.rates)
        self.streams = Streams(seeds, "prior/batches", device)
        self.validation = self._validation()

    def prior(self) -> Prior:
        """Under the averaged weights."""
        return self.denoiser

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Run ``steps`` updates; one mean per lane and metric."""
        means = MetricMeans()
        for _ in range(steps):
            means.add(self._update())
            self.step += 1
        metrics = means.read(self.step)
        with torch.no_grad():
            loss, _ = denoising_loss(self.average, self.denoiser, *self.validation)
        return {**metrics, "validation_loss": loss.tolist()}

    def _update(self) -> Mapping[str, torch.Tensor]:
        size, config = self.config.batch_size, self.config
        clean = self.examples[self.streams.integers(len(self.examples), size)]
        noise, draws = self.streams.normal(size, clean.shape[-1]), self.streams.normal(size, 1)
        levels = (config.log_level_mean + config.log_level_std * draws).exp()
        loss, metrics = denoising_loss(self.params, self.denoiser, clean, noise, levels)
        values = torch.autograd.grad(loss.sum(), list(self.params.values()))
        factor = one_cycle(self.step / config.steps)
        self.optimizer.learning_rates = [factor * rate for rate in self.rates]
        self.optimizer.step(dict(zip(self.params, values, strict=True)))
        # Early on, follow faster: the average must not remember where training started.
        rate = self.average_rate.clamp(min=1 / (1 + self.step))
        move_towards(self.average, {name: value.detach() for name, value in self.params.items()}, rate)
        return metrics

    def _validation(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Clean examples, noise and levels, the same for every lane."""
        count, lanes = min(VALIDATION_ROWS, self.problem.count("tune")), len(self.lanes)
        rows = self.problem.truths.take("tune", 0, range(count)).to(self.device)
        generator = torch.Generator().manual_seed(derived_seed(0, "prior/validation"))
        noise = torch.randn(rows.shape, generator=generator)
        spread = torch.linspace(-2, 2, count).unsqueeze(-1)
        levels = (self.config.log_level_mean + self.config.log_level_std * spread).exp()
        parts = (rows, noise.to(self.device), levels.to(self.device))
        return tuple(part.expand(lanes, *part.shape) for part in parts)  # type: ignore[return-value]

    def state(self) -> Snapshot:
        """Parameters, their average, optimiser, random streams, counters."""
        tensors: Params = {
            **prefixed(self.params, "network"),
            **prefixed(self.average, "average"),
            **prefixed(self.optimizer.tensors(), "adam"),
            "streams": self.streams.state(),
        }
        meta = {"step": self.step, "adam_steps": self.optimizer.steps}
        return Snapshot({name: value.clone() for name, value in tensors.items()}, meta)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        restore(self.params, snapshot.tensors, "network")
        restore(self.average, snapshot.tensors, "average")
        self.optimizer.load_tensors(under(snapshot.tensors, "adam"), snapshot.meta["adam_steps"])
        self.streams.load_state(snapshot.tensors["streams"])
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """The averaged weights, and the data's mean and spread."""
        meta = {
            "width": self.config.width,
            "blocks": self.config.blocks,
            "unknowns": self.network.unknowns,
            "spread": self.denoiser.spread,
        }
        weights = prefixed(self.average, "network")
        return [
            Snapshot(
                {
                    "mean": self.denoiser.mean,
                    **{name: value[lane].clone() for name, value in weights.items()},
                },
                meta,
            )
            for lane in range(len(self.lanes))
        ]


class StoredPrior(PriorLearner):
    """Rebuilt from stored outputs, to draw from; it cannot advance."""

    def __init__(
        self,
        lanes: Sequence[Lane[PriorConfig]],
        outputs: Sequence[Snapshot],
        problem: Problem,
        device: str,
    ):
        super().__init__(lanes, problem, device)
        self.step = lanes[0].config.steps
        self._outputs = list(outputs)

    def prior(self) -> Prior:
        """What was stored."""
        return stored_prior(self._outputs, self.problem, self.device)

    def outputs(self) -> list[Snapshot]:
        """What it was built from."""
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


def stored_prior(outputs: Sequence[Snapshot], problem: Problem, device: str) -> Prior:
    """The prior that outputs of the stage stand for, one lane per output."""
    if problem.mixture is not None:
        return problem.mixture.to(device)
    meta = outputs[0].meta
    network = ResidualNetwork(meta["unknowns"], meta["width"], meta["blocks"])
    params = stacked(outputs, "network", device)
    return Denoiser(network, params, outputs[0].tensors["mean"].to(device), meta["spread"])


def learner(lanes: Sequence[Lane[PriorConfig]], problem: Problem, device: str) -> PriorLearner:
    """What trains the prior of a problem, or merely stands for it."""
    return (KnownPrior if problem.mixture is not None else TrainedPrior)(lanes, problem, device)
