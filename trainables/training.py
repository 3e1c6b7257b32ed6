"""One learner's course through its steps: reports at fixed marks, evaluations, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .base import BURST_STEPS, Learner, Score, Snapshot
from .checkpoints import Cadence, CheckpointPolicy, Checkpoints
from .disk_room import no_room
from .errors import EnvironmentFailed, UserError, nearest
from .events import (
    CheckpointDamaged,
    Checkpointed,
    CheckpointSkipped,
    Continued,
    Evaluated,
    Event,
    Progress,
    Pulse,
)
from .places import place_of_class

REPORTS = 20  # progress reports over a stage; part of the record, so it must not depend on the machine


class Training:
    """Advances a learner to its last step, saying what happens.

    Iteration may be abandoned after any event; a new Training over the same folder continues from the last
    checkpoint, and what it then reports equals what an undisturbed one would have reported.

    Args:
        stage: name of the stage, for reports.
        learner: at step 0; restored from ``folder`` when that holds a checkpoint.
        steps: updates in all.
        seeds: one per lane.
        folder: where checkpoints of this stage of this trial live.
        evaluate_at: steps at which to evaluate, ascending.
        episodes: episodes per lane at each evaluation.
        burst_steps: updates between two looks at the outside world.
        policy: when the state is stored on the way, and what is kept.
        best_by: metric and whether it is maximized, by which the best checkpoint is chosen; none when not given.
        best_within: limits a best checkpoint keeps, as far as evaluations report them: metric, ``max`` or ``min``, limit.
        declared: the metrics the stage says it reports; not looked at where not given.
        ends: steps at which it ended before it was taken further; up to each, it reports as it did then.
    """

    def __init__(
        self,
        stage: str,
        learner: Learner,
        steps: int,
        seeds: Sequence[int],
        folder: Path,
        evaluate_at: Sequence[int] = (),
        episodes: int = 0,
        burst_steps: int = BURST_STEPS,
        policy: CheckpointPolicy | None = None,
        ends: Sequence[int] = (),
        best_by: tuple[str, bool] | None = None,
        best_within: Sequence[tuple[str, str, float]] = (),
        declared: Collection[str] | None = None,
    ):
        self.burst_steps, self.policy = burst_steps, policy or CheckpointPolicy()
        self.best_by = best_by if self.policy.keep_best else None
        self.best_within = best_within
        self.stage, self.learner, self.steps, self.seeds = stage, learner, steps, list(seeds)
        self._declared = declared
        self.evaluate_at, self.episodes = sorted(set(evaluate_at)), episodes
        self.marks = sorted({*report_marks([*ends, steps]), *self.evaluate_at})
        self.checkpoints = Checkpoints(folder, self.policy.keep_last)
        self._sums: dict[str, list[float]] = {}
        self._counted: dict[str, int] = {}
        self._cpu_s = self._wall_s = 0.0
        self._evaluated_step = 0
        self._resume()

    def __iter__(self) -> Iterator[Event]:
        cadence = Cadence(self.policy, self.learner.step)
        for passed in self.checkpoints.passed_over:
            yield CheckpointDamaged(
                stage=self.stage, step=passed.step, reason=passed.reason, resumed_step=self.learner.step
            )
        if self.learner.step:
            yield Continued(
                stage=self.stage, step=self.learner.step, steps=self.steps, seeds=tuple(self.seeds)
            )
        # A checkpoint taken between reaching a mark and scoring it owes that evaluation.
        if self.learner.step in self.evaluate_at and self._evaluated_step < self.learner.step:
            yield from self._evaluate(cadence)
        for mark in [mark for mark in self.marks if mark > self.learner.step]:
            while self.learner.step < mark:
                burst = self.burst_steps - self.learner.step % self.burst_steps
                self._advance(min(burst, mark - self.learner.step))
                if self.learner.step < mark:
                    yield Pulse(stage=self.stage, step=self.learner.step, steps=self.steps)
                    yield from self._save_if_due(cadence)
            yield self._report()
            if mark in self.evaluate_at:
                yield from self._evaluate(cadence)
            yield from self._save_if_due(cadence)

    def save(self) -> Checkpointed | CheckpointSkipped:
        """Store the learner's state and the half-filled report; without room on the disk, say so and go on."""
        state, step = self.learner.state(), self.learner.step
        course = {
            "sums": self._sums,
            "counted": self._counted,
            "cpu_s": self._cpu_s,
            "wall_s": self._wall_s,
            "evaluated_step": self._evaluated_step,
        }
        try:
            path = self.checkpoints.save(
                step, Snapshot(state.tensors, {"learner": state.meta, "course": course}, state.log)
            )
        except Exception as error:
            if (reason := no_room(error)) is None:
                raise
            return CheckpointSkipped(stage=self.stage, step=step, reason=reason.lower())
        return Checkpointed(stage=self.stage, step=step, path=f"{path.parent.name}/{path.name}")

    def _save_if_due(self, cadence: Cadence) -> Iterator[Event]:
        if cadence.due(self.learner.step):
            cadence.saved(self.learner.step)
            yield self.save()

    def _resume(self) -> None:
        snapshot = self.checkpoints.latest()
        if snapshot is None:
            return
        self.learner.load_state(Snapshot(snapshot.tensors, snapshot.meta["learner"], snapshot.log))
        course = snapshot.meta["course"]
        self._sums, self._counted = course["sums"], _counted(course)
        self._cpu_s, self._wall_s = course["cpu_s"], course.get("wall_s", 0.0)
        self._evaluated_step = course["evaluated_step"]

    def _advance(self, steps: int) -> None:
        # Bursts have fixed borders, so that sums of floats come out equal after an interruption.
        cpu_s, wall_s = time.process_time(), time.monotonic()
        try:
            metrics = self.learner.advance(steps)
        except EnvironmentFailed as failed:
            # The learner stands at a border between two steps: what it has learnt so far is kept.
            self._count(failed.metrics, failed.steps)
            self.save()
            raise
        self._cpu_s += time.process_time() - cpu_s
        self._wall_s += time.monotonic() - wall_s
        self._count(metrics, steps)

    def _count(self, metrics: Mapping[str, list[float]], steps: int) -> None:
        self._check_declared(metrics)
        for name, values in metrics.items():
            held = self._sums.setdefault(name, [0.0] * len(values))
            self._sums[name] = [total + value * steps for total, value in zip(held, values, strict=True)]
            self._counted[name] = self._counted.get(name, 0) + steps

    def _check_declared(self, metrics: Collection[str]) -> None:
        """Refuse what no sweep could name as its objective and no table explains."""
        for name in metrics:
            if self._declared is not None and name not in self._declared:
                raise UserError(
                    f"{place_of_class(type(self.learner))}is reported, but not among the `metrics` of its stage",
                    key=f"{self.stage}/{name}",
                    fix=f"{nearest(name, self._declared)} Add it to `metrics`, with what it means.",
                )

    def _report(self) -> Progress:
        means = {name: [total / self._counted[name] for total in sums] for name, sums in self._sums.items()}
        report = Progress(
            stage=self.stage,
            step=self.learner.step,
            steps=self.steps,
            seeds=tuple(self.seeds),
            metrics=means,
            cpu_s=self._cpu_s,
            wall_s=self._wall_s,
        )
        self._sums, self._counted, self._cpu_s, self._wall_s = {}, {}, 0.0, 0.0
        return report

    def _evaluate(self, cadence: Cadence) -> Iterator[Event]:
        try:
            report = evaluated(self.stage, self.learner, self.steps, self.seeds, self.episodes)
        except EnvironmentFailed:
            self.save()  # the evaluation stays owed
            raise
        self._check_declared(report.metrics)
        self._evaluated_step = self.learner.step
        yield report
        value = self._better_value(report)
        if value is not None:
            cadence.saved(self.learner.step)
            stored = self.save()
            yield stored
            if isinstance(stored, Checkpointed):
                self.checkpoints.mark_best(self.learner.step, value)

    def _better_value(self, report: Evaluated) -> float | None:
        """The objective, where it is better than at the best checkpoint so far; the mean over the lanes."""
        name, maximize = self.best_by or ("", True)
        if not report.metrics.get(name) or not self._within(report):
            return None
        value, best = report.mean(name), self.checkpoints.best_value()
        if best is None:
            return value if value == value else None
        return value if (value > best if maximize else value < best) else None

    def _within(self, report: Evaluated) -> bool:
        """Whether a score keeps the limits on what it reports."""
        means = {name: report.mean(name) for name, lanes in report.metrics.items() if lanes}
        return all(
            means[name] <= limit if kind == "max" else means[name] >= limit
            for name, kind, limit in self.best_within
            if name in means
        )


def _counted(course: Mapping[str, Any]) -> dict[str, int]:
    """Updates behind each sum; older checkpoints know one number for all."""
    if "counted" in course:
        return dict(course["counted"])
    return dict.fromkeys(course["sums"], int(course["counted_steps"]))


def report_marks(ends: Sequence[int]) -> list[int]:
    """The steps at which a stage reports that ended at each of ``ends`` in turn, ascending."""
    marks, begin = set(), 0
    for end in ends:
        every = max(1, -(-end // REPORTS))
        marks |= {mark for mark in (*range(0, end, every), end) if mark > begin}
        begin = end
    return sorted(marks)


def evaluated(stage: str, learner: Learner, steps: int, seeds: Sequence[int], episodes: int) -> Evaluated:
    """Score a learner's lanes, each on its own seed."""
    started_s = time.process_time()
    scores: list[Score] = learner.evaluate(seeds, episodes)
    return Evaluated(
        stage=stage,
        step=learner.step,
        steps=steps,
        seeds=tuple(seeds),
        metrics={name: [score.metrics[name] for score in scores] for name in scores[0].metrics},
        episodes=[{name: list(values) for name, values in score.episodes.items()} for score in scores],
        episodes_spent=episodes * len(seeds) if any(score.metrics for score in scores) else 0,
        cpu_s=time.process_time() - started_s,
    )
