"""A training function run step by step: in a thread of its own that is at work only while the platform waits for it.

The function keeps its own loop, and the platform decides between two reports whether it goes on. A generator would need
no thread, but could report from nowhere but its own body. So there is one mechanism; what a generator yields is reported
for it.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..places import place_of
from .report import Report, Stopped
from .streams import Kept, seeded, set_streams, streams

END_WAIT_S = 5.0
"""How long a function that is to stop may take for its ``finally`` blocks before it is left to itself."""


@dataclass(frozen=True)
class Begin:
    """From where a function goes on.

    Attributes:
        kept: what it stored last, if anything.
        since: reports it has made since then.
        reports: reports it has made in all.
        unheard: those of steps that the platform had not come to, with their values.
    """

    kept: Kept | None = None
    since: int = 0
    reports: int = 0
    unheard: tuple[tuple[int, dict[str, float]], ...] = ()


@dataclass
class Turn:
    """What thread and platform hand to each other. Only one of them is at work at any time."""

    until: int = 0
    """The step whose report hands over; None of them where it is to run to its end."""
    to_the_end: bool = False
    stopping: bool = False
    ended: bool = False
    error: BaseException | None = None
    output: Any = None
    step: int = -1
    reports: int = 0
    since: int = 0
    unheard: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    kept: Kept | None = None
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def hand_over(self) -> None:
        """In the function's thread: let the platform work, until it is this function's turn again.

        Raises:
            Stopped: it is to end.
        """
        self.back.release()
        self.go.acquire()
        if self.stopping:
            raise Stopped


class Course:
    """One lane's run of a function.

    Args:
        function: takes its settings and a :class:`.report.Report`.
        config: an instance of the class its annotation names.
        seed: of the lane; the global random streams begin with it.
        steps: how many there are.
        device: torch device it should use.
        metrics: those it may report; any where None.
        begin: from where it goes on.
    """

    def __init__(
        self, function: Callable[..., Any], config: Any, seed: int, steps: int, device: str,
        metrics: frozenset[str] | None, begin: Begin,
    ):  # fmt: skip
        self.steps = steps
        self.turn = Turn(
            kept=begin.kept, since=begin.since, reports=begin.reports, unheard=list(begin.unheard)
        )
        self._streams = seeded(seed)
        report = Report(self.turn, seed=seed, steps=steps, device=device, metrics=metrics, begin=begin)
        self._thread = threading.Thread(
            target=_run, args=(function, config, report, self.turn), name=function.__name__, daemon=True
        )
        self._end = weakref.finalize(self, _stop, self.turn, self._thread)
        self._end.atexit = False

    def run_to(self, step: int) -> list[tuple[int, dict[str, float]]]:
        """Let the function run until it has reported that step, and at the last one to its end.

        Returns:
            What it has reported since the last call up to that step: step and values, in order.

        Raises:
            UserError, Diverged, Exception: as the function does.
        """
        turn, last = self.turn, step >= self.steps
        reached = bool(turn.unheard) and turn.unheard[-1][0] >= step
        if not turn.ended and (last or not reached):
            turn.until, turn.to_the_end = step, last
            self._take_turn()
        if turn.error is not None:
            error, turn.error = turn.error, None
            raise error
        heard = [said for said in turn.unheard if said[0] <= step]
        turn.unheard[:] = turn.unheard[len(heard) :]
        return heard

    def _take_turn(self) -> None:
        """Wait while the function is at work, with the global random streams as it left them."""
        ours = streams()
        set_streams(self._streams)
        if not self._thread.ident:
            self._thread.start()
        self.turn.go.release()
        self.turn.back.acquire()
        self._streams = streams()
        set_streams(ours)

    def close(self) -> None:
        """End the function where it is."""
        self._end()


def _run(function: Callable[..., Any], config: Any, report: Report, turn: Turn) -> None:
    turn.go.acquire()
    try:
        if turn.stopping:
            return
        takes = len(inspect.signature(function).parameters)
        done = function(config, report) if takes > 1 else function(config)
        if isinstance(done, Generator):
            done = _reported(done, report)
        elif takes < 2:
            raise UserError(
                "takes no `report` and yields nothing, so that nothing is known of it", key=function.__name__,
                fix="Write `def train(config, report)`, or yield what it has reached.",
            )  # fmt: skip
        if done is not None and not isinstance(done, Mapping):
            raise UserError(
                f"returns a {type(done).__name__}", key=function.__name__,
                fix="Return a mapping of what is to be kept, or nothing; values are reported: "
                "`report(step, loss=loss)`.",
            )  # fmt: skip
        turn.output = done
    except Stopped:
        pass
    except BaseException as error:
        turn.error = _placed(error)
    finally:
        turn.ended = True
        turn.back.release()


def _placed(error: BaseException) -> BaseException:
    """A mistake in the use of ``report`` with the line of the user's file that makes it; anything else as it is."""
    place = place_of(error)
    if type(error) is not UserError or place is None:
        return error
    said = {} if error.value is None else {"value": error.value}
    return UserError(f"{place}: {error.problem}", key=error.key, fix=error.fix, **said).with_traceback(
        error.__traceback__
    )


def _reported(generator: Generator[Any, Any, Any], report: Report) -> Any:
    """Report what a generator yields: values, or a step and values; its return value."""
    try:
        while True:
            said = next(generator)
            step, values = said if isinstance(said, tuple) and len(said) == 2 else (report.count + 1, said)
            if not isinstance(values, Mapping):
                raise UserError(
                    f"yields a {type(said).__name__}", key=report.name,
                    fix="Yield `{'loss': loss}`, or `(step, {'loss': loss})`.",
                )  # fmt: skip
            report(step, **values)
    except StopIteration as ended:
        return ended.value
    finally:
        generator.close()


def _stop(turn: Turn, thread: threading.Thread) -> None:
    """Raise :class:`.report.Stopped` where the function waits, and let it clean up."""
    turn.stopping = True
    turn.go.release()
    if thread.ident and thread is not threading.current_thread():
        thread.join(END_WAIT_S)
