"""What a person sees while a sweep runs: a table sorted by the objective, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...trainables.events import (
    Continued,
    Evaluated,
    Event,
    Pulse,
    Report,
    StageComputed,
    StageReused,
    Waiting,
    WorkerLost,
)
from ...trainables.names import MetricName, ParameterName
from ..journal.events import (
    BudgetSpent,
    Entry,
    Left,
    SearchEnded,
    Sending,
    StopRequested,
    StorageBehind,
    TrialEnded,
    TrialExtended,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
    WarmStarted,
    Warned,
)
from ..journal.state import SweepState, TrialState
from ..report.text import counted
from ..sweep.goals import Goals

if TYPE_CHECKING:
    from ..sweep.plan import Plan

STYLES = {"finished": "green", "pruned": "yellow", "diverged": "red", "failed": "red", "out_of_memory": "red"}
ROWS = 20


@dataclass(frozen=True)
class Shown:
    """What the display needs to know of a sweep beside its events.

    Attributes:
        metric, direction: its leading objective, as ``stage/metric``, and which way is better.
        stage: the stage trials end with, which is the objective's.
        trials: how many the search wants.
        searched: parameters, as ``stage.field``.
        goals: everything trials are judged by.
    """

    name: str
    metric: str
    direction: str
    stage: str
    trials: int
    searched: tuple[str, ...]
    goals: Goals

    @classmethod
    def of(cls, plan: Plan) -> Shown:
        """Of a plan made here."""
        spec, goal = plan.spec, plan.spec.objective
        searched = tuple(plan.resolved.space)
        stage, goals = plan.resolved.stage, Goals.of(spec)
        return cls(spec.name, goal.metric, goal.direction, stage, plan.trials, searched, goals)

    @classmethod
    def recorded(cls, spec: Mapping[str, Any]) -> Shown:
        """Of a recorded sweep, whose system need not be installed here."""
        goal = spec["objective"]
        metric, space = goal["metric"], spec["space"]
        searched = tuple(space) if isinstance(space, Mapping) else ()
        stage = MetricName(metric).stage
        goals, trials = Goals.recorded(spec), spec["search"]["trials"]
        return cls(spec["name"], metric, goal["direction"], stage, trials, searched, goals)


class Board:
    """What the display shows: the state of the sweep, and since when it is watched."""

    def __init__(self, plan: Plan | Shown, clock: Callable[[], float] = time.monotonic):
        self.shown, self.clock = plan if isinstance(plan, Shown) else Shown.of(plan), clock
        self.started_s = clock()
        self.state = SweepState(keep_reports=False)

    def take(self, entry: Entry) -> None:
        """Take an entry, or a pulse, in."""
        self.state.apply(entry)
        if isinstance(entry.event, TrialEnded) and entry.trial:
            self.state.trials[entry.trial].forget()

    def sorted_trials(self) -> list[TrialState]:
        """Return the trials, best objective first and behind those what breaks a limit; those without a value last."""
        sign = -1 if self.shown.direction == "maximize" else 1
        trials = self.state.trials.values()
        return sorted(
            trials,
            key=lambda trial: (trial.value is None, bool(self.broken(trial)), sign * (trial.value or 0)),
        )

    def broken(self, trial: TrialState) -> list[str]:
        """Return the limits that a trial does not keep as it was last reported, each with its value."""
        goals = self.shown.goals
        return goals.broken(goals.read(trial.latest)) if trial.value is not None else []

    def counts(self) -> tuple[int, int]:
        """Return how many search trials have ended, and how many are wanted."""
        return self.state.ended("search"), self.shown.trials

    def left_s(self) -> float | None:
        """Return the seconds the search still takes, from the share of work done; None while too early to tell."""
        searched = self.state.phase("search")
        done = sum(1.0 if trial.status.has_ended else trial.done for trial in searched)
        wanted = self.shown.trials
        elapsed_s = self.clock() - self.started_s
        return elapsed_s * (wanted - done) / done if done > 0.2 else None


def activity(trial: TrialState) -> str:
    """Return what a trial is doing, or how it has ended."""
    match trial.activity:
        case _ if trial.status.has_ended:
            return str(trial.status)
        case Waiting(stage=stage, holder=holder):
            return f"waiting for {stage} of {holder}"
        case Report() | Pulse() as now:
            return f"{now.stage} {now.step:,}/{now.steps:,}"
    return "waiting"


def table(board: Board, limit: int = ROWS) -> Group:
    """The board as it is now."""
    shown, state = board.shown, board.state
    ended, wanted = board.counts()
    elapsed_s, left_s = board.clock() - board.started_s, board.left_s()
    head = Text.assemble(
        (shown.name, "bold"),
        f"  {ended}/{wanted} trials   {duration(elapsed_s)} elapsed",
        f"   about {duration(left_s)} left" if left_s is not None and ended < wanted else "",
        f"   stages: {state.stages_computed} computed, {state.stages_reused} reused"
        if state.stages_computed or state.stages_reused
        else "",
        f" ({duration(state.saved_cpu_s)} of CPU time saved)" if state.saved_cpu_s else "",
    )
    view = Table(box=None, pad_edge=False, header_style="dim")
    view.add_column("trial")
    view.add_column(shown.metric, justify="right")
    for key in shown.searched:
        view.add_column(ParameterName(key).bare, justify="right")
    view.add_column("state")
    trials = board.sorted_trials()
    for trial in trials[:limit]:
        value = "" if trial.value is None else f"{trial.value:.4g}"
        params = [_number(trial.params.get(key)) for key in shown.searched]
        state = ", ".join([activity(trial), *board.broken(trial)])
        view.add_row(trial.trial, value, *params, Text(state, STYLES.get(trial.status, "")))
    more = [Text(f"… {len(trials) - limit} more", "dim")] if len(trials) > limit else []
    return Group(head, view, *more)


class LiveView:
    """Shows events as they come. Use as a context manager; call with each entry.

    Args:
        plan: what runs, or what is to be known of it.
        console: where to; lines instead of a live table when it is not a terminal.
        quiet: show nothing.
        before: what an earlier driver recorded of this sweep.
    """

    def __init__(
        self, plan: Plan | Shown, console: Console, quiet: bool = False, before: Iterable[Entry] = ()
    ):
        self.board, self.console, self.quiet = Board(plan), console, quiet
        self._told_sending = False
        for entry in before:
            self.board.take(entry)
        # A function, so that the clock moves between events too.
        self._live = (
            Live(get_renderable=lambda: table(self.board), console=console, refresh_per_second=2)
            if (console.is_terminal and not quiet)
            else None
        )

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, entry: Entry) -> None:
        self.board.take(entry)
        match entry.event:
            case Sending(unsent=unsent) if unsent and not self._told_sending and not self.quiet:
                self._told_sending = True
                self.console.print(
                    f"Sending {counted(unsent, 'event')} to the tracker, for a minute at most ..."
                )
            case StopRequested(hurried=hurried):
                again = "Leaving within seconds." if hurried else "Ctrl-C again leaves at once."
                self.console.print(f"Stopping: trials store their state and leave. {again}")
            case Left(reason=reason):
                self.__exit__()  # the process ends after this word; a terminal is left as it was found
                self.console.print(
                    f"{reason}. Left at once; what was reported is on record. "
                    f"Continue with: flowsweep resume {self.board.shown.name}",
                    markup=False,
                )
            case Warned(text=text):
                self.console.print(text, style="yellow", markup=False, soft_wrap=True)
        if not self._live and not self.quiet and (line := spoken(entry, self.board)):
            self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def spoken(entry: Entry, board: Board) -> str | None:
    """Return a line for an event worth a line."""
    event = entry.event
    if entry.trial is None:
        return _spoken_of_sweep(event)
    said = _spoken_of_trial(event, board, board.state.trials[entry.trial])
    return f"{entry.trial}  {said}" if said else None


def _spoken_of_sweep(event: Event) -> str | None:
    match event:
        case BudgetSpent():
            return f"No further trial starts: {event.rule}: {event.reason}"
        case SearchEnded():
            return f"the search ends: {event.reason}"
        case StorageBehind():
            why = event.reason
            return f"the study's storage cannot be written ({why}); the search goes on, it follows later"
        case WarmStarted():
            from ..search.history import taken_text

            return "\n".join(taken_text(one) for one in event.sweeps)
    return None


def _spoken_of_trial(event: Event, board: Board, trial: TrialState) -> str | None:
    match event:
        case TrialProposed():
            return "proposed  " + "  ".join(f"{key}={_number(value)}" for key, value in event.params.items())
        case TrialPlaced() if len(trial.placed) > 1:
            return f"resumed by process {event.pid} on {event.node}"
        case StageComputed():
            return f"{event.stage} computed for seed {event.seed} ({duration(event.cpu_s)} of CPU time)"
        case StageReused():
            return f"{event.stage} reused for seed {event.seed} ({duration(event.saved_cpu_s)} saved)"
        case WorkerLost():
            return f"{event.stage}: a worker was lost, resumed at step {event.step:,} ({event.reason})"
        case Continued():
            return f"{event.stage} continues from its checkpoint at step {event.step:,}"
        case TrialRetried():
            return f"{event.failure.replace('_', ' ')}: {event.reason}; it waits for a worker"
        case TrialExtended():
            return f"goes on from {event.previous_steps:,} to {event.steps:,} steps of {event.stage}"
        case Evaluated():
            means = "  ".join(f"{name} {value:.4g}" for name, value in event.means().items())
            return f"{event.stage} step {event.step:,}/{event.steps:,}  {means}"
        case TrialEnded():
            ended, wanted = board.counts()
            metric = MetricName(board.shown.metric).bare
            value = "" if event.value is None else f"  {metric} {event.value:.4g}"
            return f"{event.status}{value}  ({event.reason})  [{ended}/{wanted}]"
    return None


def duration(seconds: float) -> str:
    """Seconds as a person says them: `4 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
