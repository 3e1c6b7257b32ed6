"""Whether policies of a dataset can be scored where the dataset says: built once, compared, and tried.

What a dataset says of its environment and what the environment says of itself are two sources of the same facts. They
are compared before anything is learnt: a policy of other actions or observations would be scored on nothing.

Legend: O observation size, A action size.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.dataset import DatasetInfo, EvaluationSpec
from ..errors import UserError
from .build import EpisodeEnvironment, EpisodeSeeds
from .registered import registered_spec

SUCCESS, NORMALIZED = "success_rate", "normalized_score"
MOST_STEPS = 1000
"""Environment steps of the one episode that is played to see whether the environment ever speaks of success."""


@dataclass(frozen=True)
class Seen:
    """What was seen of an environment.

    Attributes:
        speaks_of_success: whether a step said whether the task is solved.
        steps: environment steps it took to see that, or to give up.
        warnings: what is allowed but differs between the dataset and the environment.
    """

    speaks_of_success: bool
    steps: int
    warnings: tuple[str, ...]


_known: dict[str, Seen | UserError] = {}


def tried(info: DatasetInfo) -> Seen:
    """Build the environment of a dataset, compare it with the dataset, and play in it. Done once per process.

    Raises:
        UserError: the dataset has none, it cannot be built, it does not fit, or it fails when played.
    """
    if info.evaluation is None:
        raise _refusal(info, f"has no environment to score policies in: {info.unscored or 'it names none'}")
    key = info.model_dump_json(exclude={"findings"})
    if key not in _known:
        try:
            _known[key] = _try(info, info.evaluation)
        except UserError as error:
            _known[key] = error
    found = _known[key]
    if isinstance(found, UserError):
        raise found
    return found


def refuse_unreported(info: DatasetInfo, metrics: Collection[str]) -> None:
    """Refuse metrics that evaluations on this dataset never report.

    Args:
        metrics: without the stage, as ``success_rate``.

    Raises:
        UserError: naming the metric.
    """
    seen = tried(info)
    if SUCCESS in metrics and not seen.speaks_of_success:
        raise _refusal(
            info, f"is scored in {_id(info)}, which never says whether the task is solved (in {seen.steps:,} steps of an "
            f"episode no `info` held `success`), so `{SUCCESS}` would never be reported",
            "Take `return` instead.",
        )  # fmt: skip
    if NORMALIZED in metrics and not info.has_reference_scores:
        raise _refusal(
            info, f"has no reference scores in order (least {info.ref_min_score}, most {info.ref_max_score}), so "
            f"`{NORMALIZED}` would never be reported", "Take `return` instead.",
        )  # fmt: skip


def _refusal(info: DatasetInfo, problem: str, fix: str = "") -> UserError:
    way = fix or f"Name one that is installed: `flowsweep data attach-environment {info.name} ID`."
    return UserError(problem, key="dataset", value=info.name, fix=way)


def _id(info: DatasetInfo) -> str:
    return info.evaluation.id if info.evaluation else "no environment"


def _try(info: DatasetInfo, spec: EvaluationSpec) -> Seen:
    try:
        environment = EpisodeEnvironment(spec)
    except UserError as error:
        raise _refusal(
            info, f"names {spec.id}, which cannot be used: {error.problem}", error.fix or ""
        ) from error
    try:
        _compare(info, spec, environment.raw)
        speaks, steps = _play(environment, info)
    except UserError:
        raise
    except Exception as error:  # the environment's own code
        raise _refusal(
            info, f"is scored in {spec.id}, which fails when played ({type(error).__name__}: {error})"
        ) from error
    finally:
        environment.close()
    return Seen(speaks, steps, tuple(_differences(info, spec)))


def _compare(info: DatasetInfo, spec: EvaluationSpec, raw: Any) -> None:
    """Actions and observations, kind by kind: of the dataset first, of the environment second."""
    from gymnasium.spaces import Box, Dict

    def differ(what: str, ours: str, theirs: str) -> UserError:
        return _refusal(
            info, f"has {what} {ours}, but {spec.id}, where its policies are scored, has {theirs}"
        )

    actions, observations = raw.action_space, raw.observation_space
    ours = _vector(info.action_dim, info.action_low, info.action_high)
    if not isinstance(actions, Box):
        raise differ("actions that are", ours, f"{type(actions).__name__} actions")
    theirs = _vector(int(np.prod(actions.shape)), actions.low.ravel(), actions.high.ravel())
    if actions.shape != (info.action_dim,):
        raise differ("actions that are", ours, f"{theirs} of shape {actions.shape}")
    bounds = ((info.action_low, actions.low), (info.action_high, actions.high))
    if not all(np.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in bounds):
        raise differ("actions that are", ours, theirs)
    if not spec.observation_keys:
        ours = f"{info.observation_dim} numbers"
        if not isinstance(observations, Box):
            raise differ("observations that are", ours, f"{type(observations).__name__} observations")
        if int(np.prod(observations.shape)) != info.observation_dim:
            raise differ("observations that are", ours, f"{int(np.prod(observations.shape))}")
        return
    ours = f"{info.observation_dim} numbers of {', '.join(spec.observation_keys)}"
    if not isinstance(observations, Dict):
        raise differ(
            "observations that are", ours, f"{type(observations).__name__} observations without entries"
        )
    if missing := [key for key in spec.observation_keys if key not in observations.spaces]:
        there = ", ".join(observations.spaces)
        raise differ("observations that are", ours, f"no {', '.join(missing)} (it has {there})")
    parts = [observations.spaces[key] for key in spec.observation_keys]
    if not all(isinstance(part, Box) for part in parts):
        raise differ("observations that are", ours, "entries that are no numbers")
    size = sum(int(np.prod(part.shape)) for part in parts)  # type: ignore[arg-type]
    if size != info.observation_dim:
        raise differ("observations that are", ours, f"{size} of them")


def _vector(size: int, low: Any, high: Any) -> str:
    least, most = np.asarray(low), np.asarray(high)
    if size and (least == least.flat[0]).all() and (most == most.flat[0]).all():
        return f"{size} number{'s' if size > 1 else ''} in [{least.flat[0]:g}, {most.flat[0]:g}]"
    return f"{size} numbers between {np.array2string(least, precision=4)} and {np.array2string(most, precision=4)}"


def _play(environment: EpisodeEnvironment, info: DatasetInfo) -> tuple[bool, int]:
    """One episode of random actions, until a step speaks of success."""
    draw = np.random.default_rng(0)
    observation = environment.reset(EpisodeSeeds.of(0, 0))
    if observation.shape != (info.observation_dim,) or not np.isfinite(observation).all():
        raise _refusal(
            info, f"has {info.observation_dim} numbers in an observation, but {_id(info)}, where its policies are scored, "
            f"gave {observation.size} finite ones or fewer",
        )  # fmt: skip
    limit = min(environment.spec.max_episode_steps, MOST_STEPS)
    for step in range(1, limit + 1):
        _, _, over, success = environment.step(draw.uniform(-1, 1, info.action_dim))
        if success is not None:
            return True, step
        if over:
            return False, step
    return False, limit


def _differences(info: DatasetInfo, spec: EvaluationSpec) -> Collection[str]:
    """What the dataset says of its environment and what is registered under that name, where both can hold."""
    if spec.library != "gymnasium":
        return []
    registered = registered_spec(spec.id)
    found = []
    limit = registered.max_episode_steps
    if limit is not None and limit != spec.max_episode_steps:
        found.append(
            f"episodes are cut after {spec.max_episode_steps:,} steps, as the dataset says; {spec.id} is registered here "
            f"with {limit:,}"
        )
    here = registered.entry_point
    if info.defined_in and isinstance(here, str) and _class(info.defined_in) != _class(here):
        found.append(
            f"the dataset says that {spec.id} is defined in {info.defined_in}; it is scored in what is registered here, "
            f"{here}"
        )
    return found


def _class(entry_point: str) -> tuple[str, str]:
    """The package and the class: modules within a package move from version to version."""
    module, _, name = entry_point.partition(":")
    return module.split(".")[0], name


def forget() -> None:
    """Forget what was tried, as where packages have been installed since."""
    _known.clear()
