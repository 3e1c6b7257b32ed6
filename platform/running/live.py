"""What a person sees while a sweep runs: a table sorted by the objective, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..record.journal import Fact
from ..record.records import WAITING
from ..report.text import counted

if TYPE_CHECKING:
    from ..sweep.plan import Plan

STYLES = {"finished": "green", "pruned": "yellow", "diverged": "red", "failed": "red", "out_of_memory": "red"}
ROWS = 20


@dataclass(frozen=True)
class Shown:
    """What the display needs to know of a sweep beside its facts.

    Attributes:
        metric, direction: its leading objective, as ``stage/metric``, and which way is better.
        stage: the stage trials end with, which is the objective's.
        trials: how many the search wants.
        searched: parameters, as ``stage.field``.
    """

    name: str
    metric: str
    direction: str
    stage: str
    trials: int
    searched: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan) -> Shown:
        """Of a plan made here."""
        spec, goal = plan.spec, plan.spec.objective
        searched = tuple(plan.resolved.space)
        return cls(spec.name, goal.metric, goal.direction, plan.resolved.stage, plan.trials, searched)

    @classmethod
    def recorded(cls, spec: Mapping[str, Any]) -> Shown:
        """Of a recorded sweep, whose system need not be installed here."""
        goal = spec["objective"]
        metric, space = goal["metric"], spec["space"]
        searched = tuple(space) if isinstance(space, Mapping) else ()
        stage = metric.split("/", 1)[0]
        return cls(spec["name"], metric, goal["direction"], stage, spec["search"]["trials"], searched)


@dataclass
class Row:
    """One trial as the table shows it; ``done`` is the share of its own stage's steps."""

    trial: str
    phase: str
    params: dict[str, Any] = field(default_factory=dict)
    state: str = WAITING
    done: float = 0.0
    value: float | None = None
    placements: int = 0


class Board:
    """The state behind the display, kept from the facts alone."""

    def __init__(self, plan: Plan | Shown, clock: Callable[[], float] = time.monotonic):
        self.shown, self.clock = plan if isinstance(plan, Shown) else Shown.of(plan), clock
        self.started_s = clock()
        self.rows: dict[str, Row] = {}
        self.reused = self.computed = 0
        self.saved_cpu_s = 0.0

    def take(self, fact: Fact) -> None:
        """Update from a fact or a pulse."""
        data, row = fact.data, self.rows.get(fact.trial or "")
        if fact.kind == "trial_proposed" and fact.trial:
            self.rows[fact.trial] = Row(fact.trial, data["phase"], dict(data["params"]))
        elif fact.kind == "stage_reused":
            self.reused += 1
            self.saved_cpu_s += data["saved_cpu_s"]
        elif fact.kind == "stage_computed":
            self.computed += 1
        elif row is None:
            return
        elif fact.kind == "trial_placed":
            row.placements += 1
        elif fact.kind in ("progress", "pulse"):
            self._advance(row, data)
        elif fact.kind == "waiting":
            row.state = f"waiting for {data['stage']} of {data['holder']}"
        elif fact.kind == "evaluated":
            self._advance(row, data)
            stage, metric = self.shown.metric.split("/", 1)
            if metric in data["metrics"] and (data["stage"] == stage or row.phase == "baseline"):
                row.value = sum(data["metrics"][metric]) / len(data["metrics"][metric])
        elif fact.kind == "trial_ended":
            row.state = data["status"]
        elif fact.kind in ("trial_retried", "trial_extended"):
            row.state = WAITING

    def _advance(self, row: Row, data: Any) -> None:
        row.state = f"{data['stage']} {data['step']:,}/{data['steps']:,}"
        if data["stage"] == self.shown.stage:
            row.done = data["step"] / data["steps"]

    def sorted_rows(self) -> list[Row]:
        """Best objective first; those without one last, in the order they came."""
        sign = -1 if self.shown.direction == "maximize" else 1
        return sorted(self.rows.values(), key=lambda row: (row.value is None, sign * (row.value or 0)))

    def counts(self) -> tuple[int, int]:
        """Search trials ended, and wanted."""
        ended = sum(row.phase == "search" and row.state in ENDED for row in self.rows.values())
        return ended, self.shown.trials

    def left_s(self) -> float | None:
        """Seconds the search still takes, from the share of work done; None while too early to tell."""
        searched = [row for row in self.rows.values() if row.phase == "search"]
        done = sum(1.0 if row.state in ENDED else row.done for row in searched)
        wanted = self.shown.trials
        elapsed_s = self.clock() - self.started_s
        return elapsed_s * (wanted - done) / done if done > 0.2 else None


ENDED = frozenset({"finished", "pruned", "diverged", "out_of_memory", "preempted", "failed", "cancelled"})


def table(board: Board, limit: int = ROWS) -> Group:
    """The board as it is now."""
    shown = board.shown
    ended, wanted = board.counts()
    elapsed_s, left_s = board.clock() - board.started_s, board.left_s()
    head = Text.assemble(
        (shown.name, "bold"),
        f"  {ended}/{wanted} trials   {duration(elapsed_s)} elapsed",
        f"   about {duration(left_s)} left" if left_s is not None and ended < wanted else "",
        f"   stages: {board.computed} computed, {board.reused} reused"
        if board.computed or board.reused
        else "",
        f" ({duration(board.saved_cpu_s)} of CPU time saved)" if board.saved_cpu_s else "",
    )
    view = Table(box=None, pad_edge=False, header_style="dim")
    view.add_column("trial")
    view.add_column(shown.metric, justify="right")
    for key in shown.searched:
        view.add_column(key.split(".", 1)[1], justify="right")
    view.add_column("state")
    rows = board.sorted_rows()
    for row in rows[:limit]:
        value = "" if row.value is None else f"{row.value:.4g}"
        params = [_number(row.params.get(key)) for key in shown.searched]
        view.add_row(row.trial, value, *params, Text(row.state, STYLES.get(row.state, "")))
    more = [Text(f"… {len(rows) - limit} more", "dim")] if len(rows) > limit else []
    return Group(head, view, *more)


class LiveView:
    """Shows facts as they come. Use as a context manager; call with each fact.

    Args:
        plan: what runs, or what is to be known of it.
        console: where to; lines instead of a live table when it is not a terminal.
        quiet: show nothing.
        before: what an earlier driver recorded of this sweep.
    """

    def __init__(
        self, plan: Plan | Shown, console: Console, quiet: bool = False, before: Iterable[Fact] = ()
    ):
        self.board, self.console, self.quiet = Board(plan), console, quiet
        self._told_sending = False
        for fact in before:
            self.board.take(fact)
        # A function, so that the clock moves between facts too.
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

    def __call__(self, fact: Fact) -> None:
        self.board.take(fact)
        if fact.kind == "sending" and fact.data["unsent"] and not self._told_sending and not self.quiet:
            self._told_sending = True
            facts = counted(fact.data["unsent"], "fact")
            self.console.print(f"Sending {facts} to the tracker, for a minute at most ...")
        if fact.kind == "stopping":
            hurried = fact.data.get("hurried")
            again = "Leaving within seconds." if hurried else "Ctrl-C again leaves at once."
            self.console.print(f"Stopping: trials store their state and leave. {again}")
        if fact.kind == "left":
            self.__exit__()  # the process ends after this word; a terminal is left as it was found
            self.console.print(
                f"{fact.data['reason']}. Left at once; what was reported is on record. "
                f"Continue with: flowsweep resume {self.board.shown.name}",
                markup=False,
            )
        if fact.kind == "warning":
            self.console.print(fact.data["text"], style="yellow", markup=False, soft_wrap=True)
        if not self._live and not self.quiet and (line := spoken(fact, self.board)):
            self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def spoken(fact: Fact, board: Board) -> str | None:
    """One line for a fact worth a line."""
    data = fact.data
    ended, wanted = board.counts()
    if fact.kind == "trial_proposed":
        params = "  ".join(f"{key}={_number(value)}" for key, value in data["params"].items())
        return f"{fact.trial}  proposed  {params}"
    if fact.kind == "trial_placed" and board.rows[fact.trial or ""].placements > 1:
        return f"{fact.trial}  taken up again by process {data['pid']} on {data['node']}"
    if fact.kind == "stage_computed":
        return f"{fact.trial}  {data['stage']} computed for seed {data['seed']} ({duration(data['cpu_s'])} of CPU time)"
    if fact.kind == "worker_lost":
        return f"{fact.trial}  {data['stage']}: a worker was lost, taken up again at step {data['step']:,} ({data['reason']})"
    if fact.kind == "continued":
        return f"{fact.trial}  {data['stage']} continues from its checkpoint at step {data['step']:,}"
    if fact.kind == "trial_retried":
        return f"{fact.trial}  {data['class'].replace('_', ' ')}: {data['reason']}; it waits for a worker"
    if fact.kind == "trial_extended":
        return f"{fact.trial}  goes on from {data['previous_steps']:,} to {data['steps']:,} steps of {data['stage']}"
    if fact.kind == "decision" and fact.trial is None:
        return f"No further trial starts: {data['rule']}: {data['reason']}"
    if fact.kind == "stage_reused":
        return f"{fact.trial}  {data['stage']} reused for seed {data['seed']} ({duration(data['saved_cpu_s'])} saved)"
    if fact.kind == "evaluated":
        means = "  ".join(
            f"{name} {sum(values) / len(values):.4g}" for name, values in data["metrics"].items()
        )
        return f"{fact.trial}  {data['stage']} step {data['step']:,}/{data['steps']:,}  {means}"
    if fact.kind == "search_ended":
        return f"the search ends: {data['reason']}"
    if fact.kind == "storage_behind":
        return (
            f"the study's storage cannot be written ({data['reason']}); the search goes on, it follows later"
        )
    if fact.kind == "warm_started":
        from ..search.history import taken_text

        return "\n".join(taken_text(one) for one in data["sweeps"])
    if fact.kind == "trial_ended":
        metric = board.shown.metric.split("/", 1)[1]
        value = "" if data["value"] is None else f"  {metric} {data['value']:.4g}"
        return f"{fact.trial}  {data['status']}{value}  ({data['reason']})  [{ended}/{wanted}]"
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
