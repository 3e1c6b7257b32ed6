"""What a training function is given beside its settings: where it says how far it has come, and keeps what it needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import Diverged, UserError, nearest
from .state import copied, number
from .streams import Kept, set_streams, streams

if TYPE_CHECKING:
    from .course import Begin, Turn


class Stopped(BaseException):
    """The trial is over for the platform: pruned, stopped or left. Not an ``Exception``, so that it is not caught by chance."""


class Report:
    """Called with a step and values; also knows the seed, the device, and what was kept.

    Attributes:
        seed: of this run. The global random streams of Python, NumPy and torch have begun with it.
        steps: how many steps the run has.
        device: the torch device to use (``cpu``, ``cuda``).
    """

    def __init__(
        self, turn: Turn, *, seed: int, steps: int, device: str, metrics: frozenset[str] | None, begin: Begin
    ):
        self.seed, self.steps, self.device = seed, steps, device
        self.name = "report"
        self._turn, self._metrics, self._begin = turn, metrics, begin
        self._asked = self._going_on = False
        self._silent = 0

    @property
    def count(self) -> int:
        """Reports so far, those before an interruption among them."""
        return self._turn.reports

    def __call__(self, step: int, /, **metrics: Any) -> None:
        """Say what has been reached.

        Here the platform may score the trial, stop it, or let another run: the call returns when it goes on.

        Args:
            step: the step that was done, counted from 0 or from 1 up to ``steps``.
            metrics: a number each; also an array or a tensor with one element.

        Raises:
            UserError: the step goes back or lies beyond the last, or a metric is not declared or not a number.
            Diverged: a value is NaN or infinite.
        """
        turn = self._turn
        if turn.stopping:
            raise Stopped
        if not self._asked:
            self._decide(restored=False)
        step = self._checked_step(step)
        values = {name: self._value(name, value, step) for name, value in metrics.items()}
        turn.step = step
        turn.reports += 1
        turn.since += 1
        if self._silent:  # what a run before the interruption has said already
            self._silent -= 1
            return
        turn.unheard.append((step, values))
        if step >= turn.until and not turn.to_the_end:
            turn.hand_over()

    def checkpoint(self, state: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Keep a state, from which the function goes on after an interruption.

        Without one it begins again from the start, and what it has reported before is not reported twice. The global
        random streams are kept along. It takes a copy: call it every so often, not at every step.

        Args:
            state, more: tensors, arrays, numbers and text, in mappings, lists and tuples: ``model=model.state_dict()``.

        Raises:
            UserError: something in it cannot be kept.
        """
        turn = self._turn
        if turn.stopping:
            raise Stopped
        try:
            turn.kept = Kept(copied({**(state or {}), **more}), streams())
        except TypeError as error:
            raise UserError(str(error), key="report.checkpoint") from None
        turn.since = 0

    def restored(self) -> dict[str, Any] | None:
        """What :meth:`checkpoint` kept last before an interruption; None where the run begins.

        Call it before the first report, when models and optimisers exist. The global random streams are then where they
        were when it was kept.
        """
        self._asked = True
        self._decide(restored=self._begin.kept is not None)
        return copied(self._begin.kept.state) if self._begin.kept else None

    def _decide(self, restored: bool) -> None:
        """Where the function goes on from, which only it knows."""
        self._asked, begin, turn = True, self._begin, self._turn
        if self._going_on:
            return
        self._going_on = True
        if restored and begin.kept:
            set_streams(begin.kept.streams)
            self._silent, turn.reports, turn.since = begin.since, begin.reports - begin.since, 0
        else:
            self._silent, turn.kept, turn.reports, turn.since = begin.reports, None, 0, 0

    def _checked_step(self, step: Any) -> int:
        try:
            whole = int(step)
        except (TypeError, ValueError):
            raise UserError(
                "takes the step first", key="report", value=step, fix="`report(step, loss=loss)`"
            ) from None
        if not 0 <= whole <= self.steps:
            raise UserError(
                f"a run has {self.steps} steps by its settings", key="report", value=whole,
                fix="Let the loop end with `config.steps`.",
            )  # fmt: skip
        if whole < self._turn.step:
            raise UserError(f"went back to step {whole} from {self._turn.step}", key="report")
        return whole

    def _value(self, name: str, value: Any, step: int) -> float:
        if self._metrics is not None and name not in self._metrics:
            raise UserError(
                "is reported, but no metric that the file declares", key=name,
                fix=f"{nearest(name, self._metrics)} Declare it: `METRICS = {{'{name}': 'what it means'}}`.",
            )  # fmt: skip
        try:
            found = number(value)
        except TypeError as error:
            raise UserError(str(error), key=name) from None
        if not math.isfinite(found):
            raise Diverged(name, step)
        return found
