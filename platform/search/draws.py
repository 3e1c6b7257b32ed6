"""A few configurations drawn before anything starts: what a sampler or a range cannot do shows only when it is asked to."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from ...search_spaces.conditions import is_conditional
from ...search_spaces.parameters import Space
from ..errors import UserError, UserErrors
from ..sweep.search_spec import HubSampler, Search
from .distributions import active_distributions, distribution, drawn, suggest
from .samplers import make_sampler
from .study import SweepStudy

TOLD = 6
"""Made-up outcomes that a sampler is told before it is asked."""
ASKED = 3


def draw_errors(search: Search, space: Space, objectives: int = 1) -> Iterator[UserError]:
    """What cannot be drawn from: a range by itself, or the whole space by its sampler."""
    study = _study(RandomSampler(seed=0), 1)
    found = [error for key, one in space.items() if (error := _range_error(study, key, one))]
    yield from found
    if not found and (error := _sampler_error(search, space, objectives)):
        yield error


def _range_error(study: optuna.Study, key: str, parameter: Any) -> UserError | None:
    try:
        value = drawn(study.ask(), key, parameter)
    except Exception as error:
        return UserError(f"cannot be drawn from: {in_words(error)}", key=f"space.{key}")
    if isinstance(value, float) and not math.isfinite(value):
        return UserError("is too wide a range: what is drawn from it is no number", key=f"space.{key}")
    return None


def _sampler_error(search: Search, space: Space, objectives: int) -> UserError | None:
    """What the sampler itself says to its options, made and asked as a sweep does."""
    options = search.sampler_options
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _ask(search, space, objectives)
    except (UserError, UserErrors) as error:
        return error
    except Exception as error:
        key = "search.sampler_options" if options else "search.sampler"
        value = dict(options) if options else search.sampler
        who = "the sampler refuses them" if options else "the sampler cannot be used with this space"
        return UserError(f"{who}: {in_words(error)}", key=key, value=value)
    return None


def _ask(search: Search, space: Space, objectives: int) -> None:
    distributions = {key: distribution(parameter) for key, parameter in space.items()}
    kinds: dict[str, Any] = {"conditional": is_conditional(space), "several": objectives > 1}
    sampler = make_sampler(search, distributions, **kinds)
    if search.sampler == "gp" or isinstance(search.sampler, HubSampler):
        _few(_study(sampler, objectives), space, 1)  # what they do next takes seconds
        return
    if "n_startup_trials" in search.sampler_options:  # else it would draw at random only
        early = {**search.sampler_options, "n_startup_trials": 1}
        sampler = make_sampler(search.model_copy(update={"sampler_options": early}), distributions, **kinds)
    study = _study(RandomSampler(seed=0), objectives)
    for number in range(TOLD):
        params = suggest(study.ask(), space)
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                values=[float(number)] * objectives,
                params=params,
                distributions=active_distributions(space, params),
            )
        )
    study.sampler = sampler
    _few(study, space, ASKED)


def _few(study: optuna.Study, space: Space, count: int) -> None:
    for number in range(count):
        trial = study.ask()
        suggest(trial, space)
        study.tell(trial, [float(number)] * len(study.directions))


def _study(sampler: BaseSampler, objectives: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.InMemoryStorage()
    made = optuna.create_study(storage=storage, directions=[StudyDirection.MAXIMIZE] * objectives)
    return SweepStudy(made.study_name, storage, sampler=sampler)  # a grid that is at its end stops the study


def in_words(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def sample(search: Search, space: Space) -> dict[str, Any]:
    """The first configuration that a sampler proposes; conditions hold in it."""
    distributions = {key: distribution(parameter) for key, parameter in space.items()}
    study = _study(make_sampler(search, distributions, conditional=is_conditional(space)), 1)
    return suggest(study.ask(), space)
