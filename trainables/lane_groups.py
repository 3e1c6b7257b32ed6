"""Lanes of one stage advanced a few at a time, for memory that does not hold all of them at once.

Legend: P lanes in groups of at most G.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .base import Lane, Learner, Score, Snapshot

if TYPE_CHECKING:
    import torch


class LaneGroups(Learner):
    """Looks like a learner of P lanes and holds one group of G in memory; the others rest as states in main memory.

    A lane does not depend on its neighbours, so that every value equals that of all lanes advancing together.

    Args:
        start: makes a learner of some lanes at step 0.
        lanes: all of them, in order.
        at_once: G.
    """

    def __init__(self, start: Callable[[Sequence[Lane]], Learner], lanes: Sequence[Lane], at_once: int):
        self._start = start
        self._groups = [lanes[first : first + at_once] for first in range(0, len(lanes), at_once)]
        self._states: list[Snapshot | None] = [None] * len(self._groups)
        self.step = 0

    def advance(self, steps: int) -> dict[str, list[float]]:
        """Every group in turn; the metrics of all lanes in their order."""
        metrics: dict[str, list[float]] = {}
        for index in range(len(self._groups)):
            learner = self._resumed(index)
            for name, values in learner.advance(steps).items():
                metrics.setdefault(name, []).extend(values)
            self._states[index] = _at_rest(learner.state())
            del learner  # before the next group takes its memory
        self.step += steps
        return metrics

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """Every group in turn, on the seeds of its lanes."""
        scores, place = [], 0
        for index, group in enumerate(self._groups):
            scores += self._resumed(index).evaluate(seeds[place : place + len(group)], episodes)
            place += len(group)
        return scores

    def state(self) -> Snapshot:
        """The states of all groups."""
        states = [state or _at_rest(self._resumed(index).state()) for index, state in enumerate(self._states)]
        tensors = {
            f"group.{index}.{name}": value
            for index, state in enumerate(states)
            for name, value in state.tensors.items()
        }
        log = {
            f"group.{index}.{name}": value
            for index, state in enumerate(states)
            for name, value in state.log.items()
        }
        return Snapshot(tensors, {"step": self.step, "groups": [dict(state.meta) for state in states]}, log)

    def load_state(self, snapshot: Snapshot) -> None:
        """Continue from :meth:`state`."""
        self.step = snapshot.meta["step"]
        for index, meta in enumerate(snapshot.meta["groups"]):
            tensors, log = (_of_group(part, index) for part in (snapshot.tensors, snapshot.log))
            self._states[index] = Snapshot(tensors, meta, log)

    def outputs(self) -> list[Snapshot]:
        """One per lane, in their order."""
        return [output for index in range(len(self._groups)) for output in self._resumed(index).outputs()]

    def illustrate(self, folder: Path, seeds: Sequence[int]) -> list[Path]:
        """What lane 0 has learnt."""
        return self._resumed(0).illustrate(folder, seeds[: len(self._groups[0])])

    def _resumed(self, index: int) -> Learner:
        learner = self._start(self._groups[index])
        if state := self._states[index]:
            learner.load_state(state)
        return learner


def _of_group(tensors: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    prefix = f"group.{index}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _at_rest(state: Snapshot) -> Snapshot:
    """A state whose tensors no longer occupy the device."""
    tensors, log = (
        {name: value.cpu() for name, value in part.items()} for part in (state.tensors, state.log)
    )
    return Snapshot(tensors, state.meta, log)
