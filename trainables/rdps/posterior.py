"""Stage two: posterior samples for one problem after the other, judged on clean and on contaminated data.

Legend: P lanes, C problems at once, K data sets of a problem (clean, contaminated, ...), S samples, B = C K S chains,
D unknowns, M observations.

A step is one further problem of a seed's list. Problems are solved C at once; a step that is not the first of its C
finds its result there. What a problem's chains draw depends on the seed and the problem's place alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..base import Lane, Learner, Score, Snapshot
from ..errors import Diverged
from ..population import lane_values, shared_config
from ..streams import derived_seed
from .config import GUIDANCE, PosteriorConfig
from .contamination import Contamination
from .guidance import Inverse
from .likelihood import Likelihood
from .metrics import c2st, influence_slope, point_metrics, sliced_wasserstein
from .operators import MatrixOperator
from .prior import stored_prior
from .problems.problem import Cases, Problem
from .samplers import sample
from .schedule import Settings

CLEAN, SOILED = 0, 1
"""Places of the first data sets."""
MOVED = (1e2, 1e4)
"""Noise deviations by which one observation is moved to see its influence, in the data sets after those."""


class CaseDraws:
    """Normal numbers of all chains; those of one problem come from its own stream, the same for its data sets.

    Args:
        streams: [P][C] generators.
        sets: K.
        samples: S.
        unknowns: D.
    """

    def __init__(
        self,
        streams: Sequence[Sequence[torch.Generator]],
        sets: int,
        samples: int,
        unknowns: int,
        device: str,
        dtype: torch.dtype,
    ):
        self.streams, self.sets, self.size = streams, sets, (samples, unknowns)
        self.device, self.dtype = device, dtype

    def __call__(self, count: int) -> torch.Tensor:
        """[count, P, B, D]."""
        drawn = torch.stack(
            [
                torch.stack([torch.randn(count, *self.size, generator=g, dtype=self.dtype) for g in lane], 1)
                for lane in self.streams
            ],
            1,
        )  # [count, P, C, S, D]
        spread = drawn.unsqueeze(3).expand(-1, -1, -1, self.sets, -1, -1)
        return spread.flatten(2, 4).to(self.device)


class PosteriorLearner(Learner):
    """P settings or seeds of one sampler, side by side."""

    def __init__(self, lanes: Sequence[Lane[PosteriorConfig]], problem: Problem, device: str):
        self.lanes, self.problem, self.device = list(lanes), problem, device
        self.config = config = shared_config(lanes)
        for lane in lanes:
            problem.require(config.steps, lane.split)
        self.prior = stored_prior([lane.upstream["prior"] for lane in lanes], problem, device)
        operator = problem.operator
        self.operator = (
            operator.to(device, problem.dtype) if isinstance(operator, MatrixOperator) else operator
        )
        self.contamination = Contamination(config.outlier_share, config.outliers, config.outlier_size)
        self.likelihood = Likelihood(
            config.kind,
            self._lanes_of("threshold"),
            config.scale,
            operator.block if config.weights == "block" else 1,
            config.passes,
        )
        self.settings = Settings(
            sampler=config.sampler,
            levels=config.levels,
            sigma_max=config.sigma_max,
            sigma_min=config.sigma_min,
            guidance=self._guidance(),
            solver=config.solver,
            ode_steps=config.ode_steps,
            langevin_steps=config.langevin_steps,
            langevin_step=self._lanes_of("langevin_step"),
            regularization=self._lanes_of("regularization"),
            learning_rate=self._lanes_of("learning_rate"),
        )
        self.noise = problem.noise * self._lanes_of("noise_factor")
        self.step = 0
        self.samples = torch.empty(len(lanes), 0, 2, config.samples, operator.unknowns)
        self.values: list[dict[str, list[float]]] = [{} for _ in lanes]

    def _lanes_of(self, name: str) -> torch.Tensor:
        return lane_values(self.lanes, name, self.device).to(self.problem.dtype).reshape(-1, 1, 1)

    def _guidance(self) -> torch.Tensor:
        given = [lane.config.guidance for lane in self.lanes]
        usual = GUIDANCE.get(self.config.sampler, 1.0)
        values = [usual if value is None else value for value in given]
        return torch.tensor(values, dtype=self.problem.dtype, device=self.device).reshape(-1, 1, 1)

    @property
    def solved(self) -> int:
        """Problems whose samples are there, some perhaps ahead of their step."""
        return self.samples.shape[1]

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Solve that many further problems."""
        first, self.step = self.step, self.step + steps
        while self.solved < self.step:
            self._solve_next()
        calls = [sum(values["denoiser_calls"][first : self.step]) / steps for values in self.values]
        return {"denoiser_calls": calls}

    def _solve_next(self) -> None:
        """The next C problems of every lane. Always whole, so that no value depends on where a run ends."""
        first, config = self.solved, self.config
        last = min(first + config.problems_at_once, *(self.problem.count(lane.split) for lane in self.lanes))
        places = range(first, last)
        cases = [self.problem.cases(lane.split, lane.seed, places, self.contamination) for lane in self.lanes]
        data = torch.stack([self._data_sets(one) for one in cases])  # [P, C, K, M]
        drawn, calls = self._sampled(self.likelihood, data, places)
        plain = (
            self._sampled(self.likelihood.plain(), data[:, :, :2], places)[0]
            if config.compare_plain
            else None
        )
        self.samples = torch.cat([self.samples, drawn[:, :, :2].float()], 1)
        for lane, values in enumerate(self.values):
            for place in range(len(places)):
                one = self._judged(cases[lane], place, drawn[lane, place], self.lanes[lane].seed)
                if plain is not None:
                    one |= self._compared(cases[lane].truth[place], plain[lane, place], one)
                one["denoiser_calls"] = float(calls)
                for name, value in one.items():
                    values.setdefault(name, []).append(value)

    def _data_sets(self, cases: Cases) -> torch.Tensor:
        """[C, K, M]."""
        sets = [cases.clean, cases.soiled]
        if self.config.influence:
            for size in MOVED:
                moved = cases.clean.clone()
                moved[:, 0] += size * self.problem.noise
                sets.append(moved)
        return torch.stack(sets, 1)

    def _sampled(self, likelihood: Likelihood, data: torch.Tensor, places: range) -> tuple[torch.Tensor, int]:
        """Samples [P, C, K, S, D] and denoiser calls per sample.

        Raises:
            Diverged: a chain left the finite numbers.
        """
        lanes, count, sets, _ = data.shape
        size = self.config.samples
        chains = data.unsqueeze(3).expand(-1, -1, -1, size, -1).flatten(1, 3)
        inverse = Inverse(self.prior, self.operator, likelihood, self.noise, chains.to(self.device))
        streams = [[_stream(lane.seed, lane.split, place) for place in places] for lane in self.lanes]
        draws = CaseDraws(
            streams, sets, size, self.problem.operator.unknowns, self.device, self.problem.dtype
        )
        found = sample(inverse, self.settings, draws)
        broken = ~found.x.isfinite().all(-1)
        if bool(broken.any()):
            lane, chain = (int(index) for index in broken.nonzero()[0])
            what = (
                "the denoiser's output" if bool(found.denoiser_failed[lane].any()) else "a posterior sample"
            )
            where = f" of lane {lane}" if lanes > 1 else ""
            raise Diverged(f"{what}{where}", places[chain // (sets * size)] + 1)
        shape = (lanes, count, sets, size, -1)
        return found.x.cpu().reshape(shape), found.calls

    def _judged(self, cases: Cases, place: int, drawn: torch.Tensor, seed: int) -> dict[str, float]:
        """Metrics of one problem, from its samples [K, S, D]."""
        problem, found = self.problem, {}
        for ending, samples in (("", drawn[SOILED]), ("_clean", drawn[CLEAN])):
            metrics = self._against_truth(samples, cases.truth[place])
            found |= {f"{name}{ending}": value for name, value in metrics.items()}
        if problem.has_exact_posterior:
            data = (
                ("", cases.soiled, drawn[SOILED], cases.outliers),
                ("_clean", cases.clean, drawn[CLEAN], None),
            )
            for ending, seen, samples, outliers in data:
                exact = problem.posterior(seen[place], None if outliers is None else outliers[place])
                generator = torch.Generator().manual_seed(derived_seed(seed, "rdps", "exact", place))
                reference = exact.sample(len(samples), generator)
                found[f"sw2{ending}"] = sliced_wasserstein(samples, reference)
                found[f"c2st{ending}"] = c2st(samples, reference)
        if self.config.influence:
            moved = dict(zip(MOVED, drawn[2:], strict=True))
            found["influence_slope"] = influence_slope(moved, drawn[CLEAN])
        return found

    def _against_truth(self, samples: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
        """Metrics that need no posterior, of samples [S, D] clipped to what an entry can be."""
        problem = self.problem
        if problem.bounds is not None:
            samples = samples.clamp(*problem.bounds)
        return point_metrics(samples, truth, problem.value_range, problem.shape)

    def _compared(
        self, truth: torch.Tensor, plain: torch.Tensor, robust: Mapping[str, float]
    ) -> dict[str, float]:
        """What the squared loss makes of the same problem."""
        clean, soiled = (self._against_truth(plain[place], truth)["psnr"] for place in (CLEAN, SOILED))
        return {
            "psnr_plain": soiled,
            "psnr_clean_plain": clean,
            "gain": robust["psnr"] - soiled,
            "price_clean": clean - robust["psnr_clean"],
        }

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Means over the problems solved so far, and every problem's values; nothing is drawn anew."""
        found = []
        for values in self.values:
            so_far = {name: row[: self.step] for name, row in values.items()}
            means = {name: math.fsum(row) / len(row) for name, row in so_far.items() if row}
            found.append(Score(means, so_far))
        return found

    def state(self) -> Snapshot:
        """Samples and values of the problems solved; streams are their places' own, so there is none to keep."""
        values = [{name: list(row) for name, row in lane.items()} for lane in self.values]
        return Snapshot({"samples": self.samples.clone()}, {"step": self.step, "values": values})

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        self.samples = snapshot.tensors["samples"].clone()
        self.values = [
            {name: list(row) for name, row in values.items()} for values in snapshot.meta["values"]
        ]
        self.step = snapshot.meta["step"]

    def outputs(self) -> list[Snapshot]:
        """Samples [N, 2, S, D] of the problems solved, on clean and on contaminated data, and what they scored."""
        return [
            Snapshot(
                {"samples": self.samples[lane, : self.step].clone()},
                {"values": {name: row[: self.step] for name, row in values.items()}},
            )
            for lane, values in enumerate(self.values)
        ]

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """Reconstructions of lane 0's first problems, side by side with those of the squared loss."""
        from .pictures import Shown, reconstructions

        count = min(3, self.step)
        if not count:
            return []
        lane = self.lanes[0]
        cases = self.problem.cases(lane.split, lane.seed, range(count), self.contamination)
        alone = PosteriorLearner([lane], self.problem, self.device)
        data = alone._data_sets(cases).unsqueeze(0)[:, :, SOILED : SOILED + 1]
        plain = alone._sampled(alone.likelihood.plain(), data, range(count))[0][0, :, 0]
        shown = [
            Shown(
                cases.truth[place],
                cases.soiled[place],
                cases.outliers[place],
                plain[place],
                self.samples[0, place, SOILED],
            )
            for place in range(count)
        ]
        label = f"{self.config.sampler}, {self.config.kind}"
        return [reconstructions(self.problem, shown, label, folder / "reconstructions.png")]


class FinishedPosterior(PosteriorLearner):
    """Rebuilt from stored outputs, to score or picture; it does not advance."""

    def __init__(
        self,
        lanes: Sequence[Lane[PosteriorConfig]],
        outputs: Sequence[Snapshot],
        problem: Problem,
        device: str,
    ):
        self.lanes, self.problem, self.device = list(lanes), problem, device
        self.config = lanes[0].config
        self.samples = torch.stack([output.tensors["samples"] for output in outputs])
        self.values = [{name: list(row) for name, row in output.meta["values"].items()} for output in outputs]
        self.step = self.samples.shape[1]

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Refused: a mistake of the calling program."""
        raise RuntimeError("a learner rebuilt from outputs holds no prior and cannot advance")

    def state(self) -> Snapshot:
        """Refused, as :meth:`advance`."""
        raise RuntimeError("a learner rebuilt from outputs has no state to continue from")

    def load_state(self, snapshot: Snapshot) -> None:
        """Refused, as :meth:`advance`."""
        raise RuntimeError("a learner rebuilt from outputs cannot continue from a state")

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """Nothing: the squared loss would need the prior, which the outputs do not hold."""
        return []


def _stream(seed: int, split: str, place: int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, "rdps", split, "chains", place))
