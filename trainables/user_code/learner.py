"""Lanes of a training function as a learner: advanced, stored and taken up again like any other.

Legend: P lanes, each with its own run of the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..base import Lane, Learner, Score, Snapshot
from .course import Begin, Course
from .state import put_together, taken_apart
from .streams import Kept

Values = dict[str, float]


class FunctionLearner(Learner):
    """Each lane runs until it has reported the step that is asked for.

    What is stored is what the function kept last, how often it has reported since, and what it reported. Taken up again
    it goes on from what it kept, and those reports are not heard twice: a function that computes the same again goes on
    bit-equal, whether it keeps anything or not.

    Args:
        function: the user's.
        lanes: a configuration of the function's stage each.
        device: torch device.
        metrics: those it declares.
    """

    def __init__(
        self, function: Callable[..., Any], lanes: Sequence[Lane[Any]], device: str, metrics: frozenset[str]
    ):
        self.step, self.lanes = 0, list(lanes)
        self._function, self._device, self._metrics = function, device, metrics
        self._last: list[Values] = [{} for _ in lanes]
        self._outputs: list[Snapshot | None] = [None] * len(self.lanes)
        self._courses = [self._course(lane, Begin()) for lane in self.lanes]

    def _course(self, lane: Lane[Any], begin: Begin) -> Course:
        config = lane.config
        return Course(
            self._function, config.as_given(), lane.seed, config.steps, self._device, self._metrics, begin
        )

    def advance(self, steps: int) -> dict[str, list[float]]:
        self.step += steps
        means: list[Values] = []
        for number, course in enumerate(self._courses):
            heard: dict[str, list[float]] = {}
            for _, values in course.run_to(self.step):
                for name, value in values.items():
                    heard.setdefault(name, []).append(value)
                self._last[number].update(values)
            means.append({name: math.fsum(values) / len(values) for name, values in heard.items()})
        said = sorted({name for lane in means for name in lane})
        return {
            name: [
                lane.get(name, last.get(name, math.nan)) for lane, last in zip(means, self._last, strict=True)
            ]
            for name in said
        }

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        """What each lane has reported last."""
        return scored(self._last)

    def state(self) -> Snapshot:
        tensors: dict[str, torch.Tensor] = {}
        lanes = [self._state_of(number, tensors) for number in range(len(self.lanes))]
        return Snapshot(tensors, {"step": self.step, "lanes": lanes})

    def _state_of(self, number: int, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        turn, prefix = self._courses[number].turn, f"lane.{number}"
        kept = turn.kept and {
            "state": taken_apart(dict(turn.kept.state), tensors, f"{prefix}.state"),
            "streams": taken_apart(_portable(turn.kept.streams), tensors, f"{prefix}.streams"),
        }
        output = self._output_of(number) if turn.ended or self._outputs[number] else None
        if output:
            tensors |= {f"{prefix}.output/{name}": value for name, value in output.tensors.items()}
        return {
            "kept": kept,
            "since": turn.since,
            "reports": turn.reports,
            "unheard": [[step, dict(values)] for step, values in turn.unheard],
            "last": dict(self._last[number]),
            "output": dict(output.meta) if output else None,
        }

    def load_state(self, snapshot: Snapshot) -> None:
        for course in self._courses:
            course.close()
        self.step = snapshot.meta["step"]
        self._courses = []
        for number, (lane, said) in enumerate(zip(self.lanes, snapshot.meta["lanes"], strict=True)):
            kept = said["kept"] and Kept(
                put_together(said["kept"]["state"], snapshot.tensors),
                _usable(put_together(said["kept"]["streams"], snapshot.tensors)),
            )
            unheard = tuple((step, dict(values)) for step, values in said["unheard"])
            begin = Begin(kept or None, said["since"], said["reports"], unheard)
            self._last[number] = dict(said["last"])
            self._outputs[number] = _output_in(snapshot, number, said["output"])
            self._courses.append(self._course(lane, begin))

    def outputs(self) -> list[Snapshot]:
        """What each lane's function has returned; what it kept last, where it returned nothing."""
        return [self._output_of(number) for number in range(len(self.lanes))]

    def _output_of(self, number: int) -> Snapshot:
        if (stored := self._outputs[number]) is not None:
            return stored
        turn, tensors = self._courses[number].turn, {}
        kept = turn.output if turn.output is not None else (turn.kept.state if turn.kept else {})
        said = taken_apart(dict(kept), tensors, "output")
        return Snapshot(tensors, {"output": said, "metrics": dict(self._last[number])})


class FinishedFunction(Learner):
    """Stands for runs that are over: scored by what they had reported."""

    def __init__(self, outputs: Sequence[Snapshot], step: int):
        self.step, self._outputs = step, list(outputs)

    def advance(self, steps: int) -> dict[str, list[float]]:
        raise RuntimeError("this run is over")

    def evaluate(self, seeds: Sequence[int], episodes: int) -> list[Score]:
        return scored([output.meta["metrics"] for output in self._outputs])

    def state(self) -> Snapshot:
        raise RuntimeError("this run is over")

    def load_state(self, snapshot: Snapshot) -> None:
        raise RuntimeError("this run is over")

    def outputs(self) -> list[Snapshot]:
        return self._outputs


def scored(last: Sequence[Mapping[str, float]]) -> list[Score]:
    """Values of every lane as scores; a metric that one lane has not reported yet is NaN there."""
    names = sorted({name for values in last for name in values})
    return [Score({name: values.get(name, math.nan) for name in names}) for values in last]


def output_of(snapshot: Snapshot) -> dict[str, Any]:
    """What a function returned, or kept last, from its stored output."""
    return put_together(snapshot.meta["output"], snapshot.tensors)


def _output_in(snapshot: Snapshot, number: int, meta: Mapping[str, Any] | None) -> Snapshot | None:
    if meta is None:
        return None
    prefix = f"lane.{number}.output/"
    tensors = {n.removeprefix(prefix): value for n, value in snapshot.tensors.items() if n.startswith(prefix)}
    return Snapshot(tensors, meta)


def _portable(streams: Mapping[str, Any]) -> dict[str, Any]:
    """Random streams with nothing in them but what a snapshot can hold."""
    version, words, gauss = streams["python"]
    name, key, *rest = streams["numpy"]
    return {
        **streams,
        "python": [version, np.asarray(words, dtype=np.int64), gauss],
        "numpy": [name, key.astype(np.int64), *rest],
    }


def _usable(streams: Mapping[str, Any]) -> dict[str, Any]:
    version, words, gauss = streams["python"]
    name, key, *rest = streams["numpy"]
    return {
        **streams,
        "python": (version, tuple(int(word) for word in words), gauss),
        "numpy": (name, key.astype(np.uint32), *rest),
    }
