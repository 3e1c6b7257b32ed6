"""Samplers by name: their options checked before anything starts, their start-up kept from flooding a sweep."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ...search_spaces.conditions import configurations
from ...search_spaces.parameters import Real, Space
from ..errors import UserError, nearest
from ..sweep.search_spec import HubSampler, Search
from .evolution import Evolution
from .hub import hub_sampler

SAMPLERS: dict[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
    "qmc": optuna.samplers.QMCSampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": Evolution,
    "nsgaii": optuna.samplers.NSGAIISampler,
    "grid": optuna.samplers.BruteForceSampler,
}
"""What `search.sampler` may name. `grid` walks through a finite space, conditions included, each point once."""
OURS = ("self", "seed", "constraints_func")
"""Arguments that the sweep file gives elsewhere."""
PLAIN: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "None": type(None)}
OBJECTS = re.compile(r"Callable|Sampler|Trial|Crossover|Mutation|[Dd]ict|Mapping|Sequence|[Ll]ist")
"""Kinds of arguments that no plain value is."""
MOST = 100_000
"""What a whole number among a sampler's options may be; counts of candidates and members take memory."""
SEVERAL_OBJECTIVES = ("tpe", "random", "qmc", "gp", "nsgaii", "grid")


class Sobol(optuna.samplers.QMCSampler):
    """A low-discrepancy sequence over the whole space from the first trial on.

    Optuna's own takes the space from trials there are, so that the first ones are random.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], **options: Any):
        super().__init__(**options)
        self._space = {name: found for name, found in distributions.items() if not found.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._space)


class StartUp(BaseSampler):
    """One sampler for the first trials, another from then on.

    Trials count as soon as they are proposed: Optuna counts those that have ended, so that a sweep with many places
    would fill all of them at random before the first has ended.

    Args:
        first: proposes the first trials.
        then: proposes the others; it must manage with no trial ended yet, or ``ended`` must say how many it needs.
        count: how many trials ``first`` proposes.
        ended: trials that must have run to their end before ``then`` proposes.
    """

    def __init__(self, first: BaseSampler, then: BaseSampler, count: int, ended: int = 0):
        self._first, self._then, self._count, self._ended = first, then, count, ended
        self._turns: dict[int, BaseSampler] = {}

    def _turn(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._turns:
            early = trial.number < self._count
            if not early and self._ended:
                complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                early = len(complete) < self._ended
            self._turns = {trial.number: self._first if early else self._then}
        return self._turns[trial.number]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._turn(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._turn(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        turn = self._turn(study, trial)
        return turn.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._then.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._then.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._first.reseed_rng()
        self._then.reseed_rng()


def make_sampler(
    search: Search,
    distributions: Mapping[str, BaseDistribution],
    after: int = 0,
    *,
    conditional: bool = False,
    several: bool = False,
) -> BaseSampler:
    """The sampler of a sweep, seeded by its seed and the number of trials it comes after.

    Args:
        distributions: of every searched parameter.
        after: trials there are already; a resumed sampler must not draw its first points again.
        conditional: some parameters depend on others.
        several: there are several objectives.

    Raises:
        UserError: a sampler from OptunaHub cannot be had.
    """
    seed = int(np.random.SeedSequence([search.seed, after]).generate_state(1)[0]) if after else search.seed
    options: dict[str, Any] = dict(search.sampler_options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(search.sampler, HubSampler):
            made = hub_sampler(search.sampler)
            return made(**({"seed": seed} if "seed" in inspect.signature(made).parameters else {}), **options)
        if search.sampler == "tpe":
            return _tpe(search, options, seed, conditional, several)
        if search.sampler == "qmc":
            return Sobol(distributions, **{"scramble": True, "seed": search.seed, **options})
        if search.sampler == "gp":
            enough = options.setdefault("n_startup_trials", _startup(search))
            start = Sobol(distributions, scramble=True, seed=search.seed)
            return StartUp(start, optuna.samplers.GPSampler(**{"seed": seed, **options}), enough, enough)
        return SAMPLERS[search.sampler](**{"seed": seed, **options})


def _tpe(search: Search, options: dict[str, Any], seed: int, conditional: bool, several: bool) -> BaseSampler:
    count = options.pop("n_startup_trials", _startup(search))
    joint = None if several and not conditional else True
    chosen = {"multivariate": joint, "constant_liar": True, **options}
    chosen.setdefault("group", conditional and bool(chosen["multivariate"]))
    then = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, **chosen)
    return StartUp(optuna.samplers.RandomSampler(seed=seed), then, count)


def _startup(search: Search) -> int:
    return max(4, min(10, search.trials // 3))


def sampler_errors(search: Search, space: Space, objectives: int = 1) -> Iterator[UserError]:
    """What about a sampler cannot work with a space; loads a sampler from OptunaHub to see.

    Args:
        space: what is searched.
        objectives: how many there are.
    """
    name = search.sampler
    if name == "grid":
        yield from _grid_errors(space)
    if objectives > 1 and isinstance(name, str) and name not in SEVERAL_OBJECTIVES:
        yield UserError(
            "takes one objective",
            key="search.sampler",
            value=name,
            fix=f"With several use {', '.join(SEVERAL_OBJECTIVES)}.",
        )
    if name == "cmaes" and sum(parameter.type != "choice" for parameter in space.values()) < 2:
        yield UserError(
            "needs at least two numeric parameters", key="search.sampler", value=name, fix="Use tpe or gp."
        )
    try:
        made = hub_sampler(name) if isinstance(name, HubSampler) else SAMPLERS[name]
    except UserError as error:
        yield error
        return
    yield from _option_errors(made, search.sampler_options)


def _grid_errors(space: Space) -> Iterator[UserError]:
    for key, parameter in space.items():
        if isinstance(parameter, Real):
            yield UserError(
                "is a continuous range, which a grid cannot walk through",
                key=f"space.{key}",
                fix="Give it `values: [...]` or `type: integer`, or use another sampler (`qmc` spreads evenly).",
            )
    if not any(isinstance(p, Real) for p in space.values()) and configurations(space) is None:
        yield UserError(
            "the space has more than 100,000 configurations", key="search.sampler", value="grid",
            fix="Search fewer values, or use another sampler.",
        )  # fmt: skip


def _option_errors(made: type[BaseSampler], options: Mapping[str, Any]) -> Iterator[UserError]:
    known = {
        name: parameter.annotation
        for name, parameter in inspect.signature(made).parameters.items()
        if name not in OURS and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    for name, value in options.items():
        key = f"search.sampler_options.{name}"
        if name not in known:
            yield UserError(f"`{made.__name__}` has no such option", key=key, fix=nearest(name, known))
        elif OBJECTS.search(_spoken(known[name])) and not (value is None and "None" in _spoken(known[name])):
            yield UserError(
                "takes a Python object, which a file cannot hold", key=key, value=value, fix="Leave it out."
            )
        elif not _fits(value, known[name]):
            yield UserError(f"must be {_spoken(known[name])}", key=key, value=value)
        elif isinstance(value, int) and not 0 <= value <= MOST:
            yield UserError(f"must lie in 0 to {MOST:,}", key=key, value=value)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a plain value is what an annotation asks for; what is not plain is left to the sampler to judge."""
    kinds = [PLAIN.get(kind.strip()) for kind in _spoken(annotation).split("|")]
    if None in kinds:
        return True
    wanted = tuple(kind for kind in kinds if kind is not None)
    if isinstance(value, bool):
        return bool in wanted
    return isinstance(value, wanted) or (isinstance(value, int) and float in wanted)


def _spoken(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
