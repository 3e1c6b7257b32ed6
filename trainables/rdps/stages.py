"""The two stages as the platform sees them. Free of torch: learners are loaded when a stage starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ..base import Cost, Evidence, Lane, Learner, SettingFinding, Snapshot, Source, Stage, StageConfig
from ..cost import MULTIPLY_ADDS_PER_CORE_S, updates_s
from .config import SOLVES, PosteriorConfig, PriorConfig
from .metric_names import POSTERIOR, PRIOR

if TYPE_CHECKING:
    from .problems.problem import Problem

CONTAMINATION = ("outliers", "outlier_share", "outlier_size")

CALL_S = 1e-3
"""Seconds of a denoiser call that its arithmetic does not account for; 0.4e-3 and 2e-3 were seen."""
SOLVE_S = 3e-3
"""The same of one pass of a linear solve."""


class PriorStage(Stage[PriorConfig]):
    """The denoiser of a problem's prior, one for all seeds and for all problems over the same prior."""

    name = "prior"
    config_type = PriorConfig
    episodic = False
    metrics = PRIOR

    def identity(
        self, config: PriorConfig, upstream_keys: Mapping[str, str], source_fingerprint: str, seed: int
    ) -> dict[str, Any]:
        """As for any stage, but of the prior's part of the problem alone, under the seed that is configured."""
        prior, _, _ = source_fingerprint.partition(":")
        return super().identity(config, upstream_keys, prior, config.seed)

    def start(self, lanes: Sequence[Lane[PriorConfig]], source: Source, device: str) -> Learner:
        from .prior import learner

        return learner(lanes, cast("Problem", source), device)

    def finished(
        self, lanes: Sequence[Lane[PriorConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from .prior import StoredPrior

        return StoredPrior(lanes, outputs, cast("Problem", source), device)

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        problem, config = cast("Problem", source), cast(PriorConfig, configs["prior"])
        if problem.mixture is not None:
            return Cost(core_s=0.0, disk_bytes=1024)
        size = _network_size(problem, config)
        return Cost(updates_s(config.steps, 3 * size * config.batch_size), 4 * size)


class PosteriorStage(Stage[PosteriorConfig]):
    """Posterior samples, problem by problem."""

    name = "posterior"
    config_type = PosteriorConfig
    open_ended = True
    episodic = False
    metrics = POSTERIOR

    def start(self, lanes: Sequence[Lane[PosteriorConfig]], source: Source, device: str) -> Learner:
        from .posterior import PosteriorLearner

        return PosteriorLearner(lanes, cast("Problem", source), device)

    def finished(
        self, lanes: Sequence[Lane[PosteriorConfig]], outputs: Sequence[Snapshot], source: Source, device: str
    ) -> Learner:
        from .posterior import FinishedPosterior

        return FinishedPosterior(lanes, outputs, cast("Problem", source), device)

    def findings(
        self, trials: Sequence[Evidence[PosteriorConfig]], searched: Collection[str]
    ) -> list[SettingFinding]:
        """A search over the contamination compares scores of different problems."""
        names = tuple(trial.trial for trial in trials)
        return [
            SettingFinding(
                "contamination_searched",
                name,
                "is part of the problem, so that trials were scored on different problems: the search prefers the "
                "easier ones, not the better samplers",
                names,
            )
            for name in CONTAMINATION
            if name in searched and trials
        ]

    def cost(self, configs: Mapping[str, StageConfig], source: Source) -> Cost:
        """Chains times denoiser calls. Refuses more steps than either list of problems has.

        Raises:
            UserError: the list is shorter.
        """
        problem, config = cast("Problem", source), cast(PosteriorConfig, configs["posterior"])
        for split in ("tune", "test"):
            problem.require(config.steps, split)
        unknowns = problem.operator.unknowns
        if problem.mixture is not None:
            size = 4 * problem.mixture.components * unknowns**2
        else:
            size = _network_size(problem, cast(PriorConfig, configs["prior"]))
        sets = 2 + 2 * config.influence + 2 * config.compare_plain
        chains = config.steps * config.samples * sets
        per_level = _calls_per_level(config) * size + _fit_per_level(config, problem)
        kept = 4 * 2 * config.steps * config.samples * unknowns
        programs = config.steps * sets * config.levels
        arithmetic_s = chains * config.levels * per_level / MULTIPLY_ADDS_PER_CORE_S
        return Cost(arithmetic_s + programs * _overhead_s_per_level(config), kept)


def _network_size(problem: Problem, config: PriorConfig) -> int:
    from .denoiser import ResidualNetwork

    return ResidualNetwork(problem.operator.unknowns, config.width, config.blocks).size


def _calls_per_level(config: PosteriorConfig) -> int:
    """Of the denoiser and of products with its Jacobian."""
    if config.sampler in ("daps", "huber_cg"):
        return config.ode_steps
    if config.sampler == "reddiff":
        return 1
    once = 3 if config.sampler == "tmpd" else 2
    return once * (2 if config.solver == "heun" and config.sampler != "dps_norm" else 1)


def _overhead_s_per_level(config: PosteriorConfig) -> float:
    """Seconds at one level that no arithmetic counts: small operations, all chains of a set together."""
    solves = config.passes if config.sampler in SOLVES else 0
    return _calls_per_level(config) * CALL_S + solves * SOLVE_S


def _fit_per_level(config: PosteriorConfig, problem: Problem) -> float:
    """Multiply-adds of fitting the data apart from the denoiser."""
    unknowns, observations = problem.operator.unknowns, problem.operator.observations
    product = 2 * unknowns * observations
    if config.sampler == "daps":
        return config.langevin_steps * (product + 2 * unknowns**2)
    if config.sampler in SOLVES:
        return config.passes * min(unknowns, observations) ** 3
    return product
