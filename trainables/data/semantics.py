"""What a dataset's rewards, ends and evaluation mean, family by family.

Legend: E episodes, N steps, S states, O observation size.

Rewards and masks are what a value function learns from: ``target = reward + discount * mask * value(next state)``.
An episode's end is a boundary and nothing more; the mask is 0 only where the task itself ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError
from .dataset import EvaluationSpec
from .metadata import Metadata
from .names import DatasetName
from .source import Entry, RawEpisodes, Spaces

_GOAL_RADIUS = 0.45  # metres from a goal at which gymnasium-robotics' point mazes count it as reached
_SUCCESS_MINUS_ONE = "rewards are success - 1 (-1 per step, 0 at the goal)"


@dataclass(frozen=True)
class Labels:
    """What a family makes of raw episodes.

    Attributes:
        rewards: [N] float32.
        masks: [N] float32.
        evaluation: the environment policies are scored in, or in one sentence's end why there is none.
        notes: decisions a user should know of.
    """

    rewards: np.ndarray
    masks: np.ndarray
    evaluation: EvaluationSpec | str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A kind of dataset.

    Attributes:
        entries: which arrays of an observation make the state, in order.
        infos: per-state infos :attr:`label` needs.
        label: rewards, masks and evaluation; may mend states in place.
    """

    name: str
    entries: tuple[Entry, ...]
    infos: tuple[str, ...]
    label: Callable[[RawEpisodes], Labels]


def family_of(name: DatasetName, metadata: Metadata, spaces: Spaces) -> Family:
    """Decide what kind of dataset this is, from its provenance, else from its id.

    Raises:
        UserError: a task was asked of a dataset that has none, or observations are not what its kind has.
    """
    ours = metadata.provenance
    if ours.get("family") == "ogbench":
        from .ogbench_tasks import ogbench_family

        return ogbench_family(name, metadata, spaces)
    if name.task is not None:
        raise UserError(
            "only OGBench datasets have tasks to choose from",
            key="dataset",
            value=str(name),
            fix=f"Use `{name.minari_id}`.",
        )
    if ours.get("family") == "pointmaze":
        return _goal_reaching("pointmaze", name, metadata, spaces, _label_terminating)
    if name.minari_id.startswith("D4RL/pointmaze/"):
        return _goal_reaching("D4RL pointmaze", name, metadata, spaces, _label_d4rl_pointmaze)
    if name.minari_id.startswith("D4RL/antmaze/"):
        return _d4rl_antmaze(name, metadata, spaces)
    entries = _usual_entries(spaces)
    return Family("plain", entries, (), lambda raw: _label_plain(raw, metadata, spaces, entries))


def _require(entries: Sequence[Entry], spaces: Spaces, name: DatasetName) -> None:
    missing = [".".join(entry) for entry in entries if entry not in spaces.observation]
    if missing:
        raise UserError(
            f"its observations lack {', '.join(missing)}, which datasets of its kind have", key="dataset",
            value=str(name), fix="Give it another id, under which its observations are taken as they are.",
        )  # fmt: skip


def _goal_reaching(
    family: str,
    name: DatasetName,
    metadata: Metadata,
    spaces: Spaces,
    label: Callable[[RawEpisodes, int], tuple[np.ndarray, np.ndarray, tuple[str, ...]]],
) -> Family:
    entries: tuple[Entry, ...] = (("observation",), ("desired_goal",))
    _require(entries, spaces, name)
    goal_at = spaces.observation[("observation",)]

    def labelled(raw: RawEpisodes) -> Labels:
        rewards, masks, notes = label(raw, goal_at)
        evaluation = evaluation_from(metadata, entries, spaces, continuing_task=False, reset_target=False)
        return Labels(rewards, masks, evaluation, notes)

    return Family(family, entries, (), labelled)


def _label_terminating(raw: RawEpisodes, goal_at: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    # Reaching the goal ends the task: -1 per step until then, so that a shorter way is worth more.
    rewards = (raw.rewards - 1).astype(np.float32)
    return rewards, 1 - raw.terminations.astype(np.float32), (_SUCCESS_MINUS_ONE,)


def _label_d4rl_pointmaze(raw: RawEpisodes, goal_at: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    # The observation that opens an episode still shows the goal just reached (Minari issue 265); the next is right.
    first = raw.first_rows[raw.lengths > 0]
    raw.states[first, goal_at:] = raw.states[first + 1, goal_at:]
    after = raw.states[raw.rows + 1]
    success = np.linalg.norm(after[:, :2] - after[:, goal_at : goal_at + 2], axis=1) <= _GOAL_RADIUS
    stale = "the first goal of each episode was taken from its second observation (Minari issue 265)"
    if np.isin(raw.rewards, (0.0, 1.0)).all():
        success = raw.rewards == 1
        rewards = success - 1.0
        note = _SUCCESS_MINUS_ONE
    else:
        rewards = raw.rewards
        note = "dense rewards are kept as stored"
    return rewards.astype(np.float32), 1 - success.astype(np.float32), (stale, note)


def _d4rl_antmaze(name: DatasetName, metadata: Metadata, spaces: Spaces) -> Family:
    # D4RL's 29 numbers: where the ant is, then its joints. The goal is the evaluation's and stays the same.
    entries: tuple[Entry, ...] = (("achieved_goal",), ("observation",))
    _require(entries, spaces, name)

    def labelled(raw: RawEpisodes) -> Labels:
        success = raw.rewards == 1
        evaluation = evaluation_from(metadata, entries, spaces, continuing_task=False, reset_target=False)
        notes = (
            "rewards are success - 1; the mask is 0 at the goal, and episodes go on after it",
            "collected with Minari's environments: scores do not compare with tables for the original antmaze-v2",
        )
        return Labels((raw.rewards - 1).astype(np.float32), 1 - success.astype(np.float32), evaluation, notes)

    return Family("D4RL antmaze", entries, (), labelled)


def _usual_entries(spaces: Spaces) -> tuple[Entry, ...]:
    """The array itself; of a dict the observation and the desired goal; else every vector in it, by name."""
    if () in spaces.observation:
        return ((),)
    goal_conditioned: tuple[Entry, ...] = (("observation",), ("desired_goal",))
    usual = tuple(entry for entry in goal_conditioned if entry in spaces.observation)
    return usual if ("observation",) in usual else tuple(sorted(spaces.observation))


def _label_plain(raw: RawEpisodes, metadata: Metadata, spaces: Spaces, entries: Sequence[Entry]) -> Labels:
    return Labels(
        raw.rewards.astype(np.float32),
        1 - raw.terminations.astype(np.float32),
        evaluation_from(metadata, entries, spaces),
    )


def evaluation_from(
    metadata: Metadata, entries: Sequence[Entry], spaces: Spaces, **overrides: Any
) -> EvaluationSpec | str:
    """The evaluation environment a Minari dataset names, else the one it was collected in, else why there is none.

    Args:
        overrides: constructor arguments that must hold for scores to mean what we say.
    """
    named = metadata.environment
    if named is None:
        return "it names no environment"
    if nested := [entry for entry in entries if len(entry) > 1]:
        return f"its observation {'.'.join(nested[0])} lies deeper than environments are read"
    if named.max_episode_steps is None:
        return f"it names {named.id} without a limit of steps (`max_episode_steps`), so that episodes might never end"
    return EvaluationSpec(
        library="gymnasium",
        id=named.id,
        kwargs={**named.kwargs, **overrides},
        observation_keys=tuple(entry[0] for entry in entries if entry),
        action_low=tuple(spaces.action_low.tolist()),
        action_high=tuple(spaces.action_high.tolist()),
        max_episode_steps=named.max_episode_steps,
    )
