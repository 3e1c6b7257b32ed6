"""Our Optuna bridge: Optuna's own storage is the truth; every outcome is told as what it was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from ..search_spaces.parameters import Choice, Integer, Space
from .journal import Fact
from .spec import Search

STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
"""How an ending is told to Optuna; every other ending is a failure. Cancelled trials stay open: resume continues them."""


@dataclass(frozen=True)
class Proposal:
    """A configuration to try."""

    trial: str
    number: int
    params: Mapping[str, Any]


def trial_name(number: int) -> str:
    """The sweep's name for Optuna's trial number, so that each is found from the other."""
    return f"t{number:04d}"


class StudySearch:
    """Proposals from an Optuna study, and outcomes told back to it.

    Args:
        name: study name.
        storage: Optuna storage URL.
        search: sampler, its seed and fixed first points.
        space: what is searched.
        direction: ``maximize`` or ``minimize``.
        pruner: judges running trials by the values reported so far.
    """

    def __init__(
        self,
        name: str,
        storage: str,
        search: Search,
        space: Space,
        direction: Literal["maximize", "minimize"],
        pruner: optuna.pruners.BasePruner,
    ):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {key: distribution(parameter) for key, parameter in space.items()}
        self.study = optuna.create_study(
            study_name=name, storage=storage, pruner=pruner, direction=direction, load_if_exists=True
        )
        # A resumed sampler starts from another seed, or it would propose its first points again.
        self.study.sampler = make_sampler(search, len(self.study.get_trials(deepcopy=False)))
        for point in search.fixed:
            self.study.enqueue_trial(dict(point), skip_if_exists=True)
        self._open: dict[str, optuna.Trial] = {}

    def propose(self) -> Proposal:
        """The next configuration; running trials count, so that parallel proposals spread."""
        trial = self.study.ask(self._distributions)
        name = trial_name(trial.number)
        trial.set_user_attr("trial", name)
        self._open[name] = trial
        return Proposal(name, trial.number, trial.params)

    def reopen(self, name: str) -> None:
        """Take up a trial that an earlier driver left running."""
        number = int(name.removeprefix("t"))
        frozen = self.study.get_trials(deepcopy=False)[number]
        self._open[name] = optuna.Trial(self.study, frozen._trial_id)

    def reconcile(self, recorded: Sequence[Fact]) -> None:
        """Bring the study in line with the journal after a driver died between writing the one and the other."""
        known = {fact.trial for fact in recorded if fact.kind == "trial_proposed"}
        endings = {fact.trial: fact.data for fact in recorded if fact.kind == "trial_ended"}
        for frozen in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            name = trial_name(frozen.number)
            if name in endings or name not in known:
                ending = endings.get(name, {"status": "failed", "value": None, "reason": "never placed"})
                self.reopen(name)
                self.tell(name, ending["status"], ending["value"], ending["reason"])

    def report(self, name: str, step: int, value: float) -> None:
        """Record an intermediate value; a step reported twice keeps its first value."""
        if name in self._open:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._open[name].report(value, step)

    def unpromising(self, name: str) -> bool:
        """Whether the pruner would stop the trial now."""
        return name in self._open and self._open[name].should_prune()

    def values_at(self, step: int) -> list[float]:
        """The newest value of every trial that has got as far as ``step``."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            reached = [s for s in trial.intermediate_values if s <= step]
            if reached and max(trial.intermediate_values) >= step:
                found.append(trial.intermediate_values[max(reached)])
        return found

    def tell(self, name: str, status: str, value: float | None, reason: str) -> None:
        """Close a trial with what became of it."""
        trial = self._open.pop(name, None)
        if trial is None or status in ("cancelled", "preempted"):
            return
        trial.set_user_attr("status", status)
        trial.set_user_attr("reason", reason)
        state = STATES.get(status, TrialState.FAIL)
        self.study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)


def distribution(parameter: Any) -> BaseDistribution:
    """Optuna's form of a search parameter."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def make_sampler(search: Search, after: int = 0) -> optuna.samplers.BaseSampler:
    """The named Optuna sampler, seeded by the sweep's seed and the number of trials it comes after."""
    seed = int(np.random.SeedSequence([search.seed, after]).generate_state(1)[0]) if after else search.seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if search.sampler == "qmc":
            return optuna.samplers.QMCSampler(seed=seed, scramble=True)
        if search.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed)
        if search.sampler == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed)
        startup = max(4, min(10, search.trials // 3))
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True
        )
