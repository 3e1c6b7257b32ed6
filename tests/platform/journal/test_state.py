"""What events amount to: one fold, whoever asks."""

from __future__ import annotations

from itertools import count

import pytest
from flowsweep.platform.journal.events import (
    BudgetSpent,
    Entry,
    SweepEnded,
    SweepResumed,
    SweepStarted,
    TrialEnded,
    TrialExtended,
    TrialPlaced,
    TrialProposed,
    TrialRetried,
)
from flowsweep.platform.journal.state import SweepState, TrialStatus, mark
from flowsweep.trainables.events import Evaluated, Progress, Pulse, StageComputed, StageReused

SPEC = {"objective": {"metric": "tune/return", "direction": "maximize"}}


def folded(*events, keep_reports: bool = True) -> SweepState:
    """The state after events, each ``event`` of the sweep or ``(trial, event)``."""
    numbers = count()
    told = [(None, one) if not isinstance(one, tuple) else one for one in (SweepStarted(spec=SPEC), *events)]
    entries = [Entry(seq=next(numbers), time=float(n), trial=t, event=e) for n, (t, e) in enumerate(told)]
    return SweepState.of(entries, keep_reports=keep_reports)


def scored(step: int, *lanes: float, stage: str = "tune") -> Evaluated:
    return Evaluated(
        stage=stage, step=step, steps=40, seeds=tuple(range(len(lanes))), metrics={"return": lanes}, episodes_spent=2
    )  # fmt: skip


PROPOSED = TrialProposed(through="tune", seeds=(0, 1))


def test_a_trial_is_worth_the_mean_over_seeds_of_its_last_report_of_the_objective():
    state = folded(("t0", PROPOSED), ("t0", scored(10, 1.0, 3.0)), ("t0", scored(20, 2.0, 6.0)))
    trial = state.trials["t0"]
    assert (trial.value, trial.history, trial.latest) == (
        4.0,
        [(10, {"return": 2.0}), (20, {"return": 4.0})],
        {"return": 4.0},
    )


def test_a_report_of_another_stage_is_no_objective():
    assert folded(("t0", PROPOSED), ("t0", scored(10, 1.0, stage="base"))).trials["t0"].value is None


@pytest.mark.parametrize(
    ("status", "ended", "final", "resumable", "optuna", "mlflow"),
    [
        ("waiting", False, False, False, "RUNNING", "RUNNING"),
        ("running", False, False, False, "RUNNING", "RUNNING"),
        ("finished", True, True, False, "COMPLETE", "FINISHED"),
        ("pruned", True, True, False, "PRUNED", "KILLED"),
        ("diverged", True, True, False, "FAIL", "FAILED"),
        ("out_of_memory", True, True, False, "FAIL", "FAILED"),
        ("failed", True, True, False, "FAIL", "FAILED"),
        ("cancelled", True, False, True, "RUNNING", "KILLED"),
        ("preempted", True, False, True, "RUNNING", "KILLED"),
    ],
)
def test_a_status_knows_what_it_means_and_its_names_elsewhere(
    status, ended, final, resumable, optuna, mlflow
):
    found = TrialStatus(status)
    assert (found.has_ended, found.is_final, found.is_resumable) == (ended, final, resumable)
    assert (found.optuna, found.mlflow) == (optuna, mlflow)


def test_every_status_a_trial_can_end_with_is_one():
    words = TrialEnded.model_fields["status"].annotation.__args__
    assert set(words) == {str(status) for status in TrialStatus if status.has_ended}


def test_a_retried_trial_waits_again_and_starts_over_only_when_that_was_asked_for():
    events = [
        ("t0", PROPOSED),
        ("t0", scored(10, 1.0)),
        ("t0", TrialEnded(status="failed", failure="code_error")),
    ]
    again = folded(*events, ("t0", TrialRetried(failure="code_error", asked=True))).trials["t0"]
    assert (again.status, again.reopened, again.value, len(again.reports)) == ("waiting", True, 1.0, 1)
    afresh = folded(*events, ("t0", TrialRetried(failure="code_error", asked=True, afresh=True))).trials["t0"]
    assert (afresh.value, afresh.reports, afresh.history, afresh.marks) == (None, [], [], set())


def test_running_out_of_memory_is_counted_until_a_person_asks_for_the_trial_again():
    lost = ("t0", TrialRetried(failure="out_of_memory", lanes=1))
    assert folded(("t0", PROPOSED), lost, lost).trials["t0"].memory_failures == 2
    asked = ("t0", TrialRetried(failure="out_of_memory", asked=True))
    assert folded(("t0", PROPOSED), lost, asked).trials["t0"].memory_failures == 0


def test_an_extended_trial_goes_on_with_its_new_configuration():
    longer = TrialExtended(stage="tune", previous_steps=40, steps=80, configs={"tune": {"steps": 80}})
    trial = folded(("t0", PROPOSED), ("t0", TrialEnded(status="finished")), ("t0", longer)).trials["t0"]
    assert (trial.status, trial.reopened, trial.configs) == ("waiting", True, {"tune": {"steps": 80}})


def test_what_a_repeat_shows_was_spent_once():
    state = folded(
        ("t0", PROPOSED), ("t0", scored(40, 1.0)), ("t0", TrialEnded(status="finished", value=1.0)),
        ("t1", PROPOSED), ("t1", TrialEnded(status="finished", value=1.0, repeats="t0")),
    )  # fmt: skip
    first, repeat = state.trials["t0"], state.trials["t1"]
    assert repeat.reports == first.reports
    assert (first.episodes_spent, repeat.episodes_spent, repeat.cpu_s) == (2, 0, 0)


def test_without_reports_a_state_says_the_same_of_values_and_costs_of_stages():
    events = [
        ("t0", PROPOSED),
        ("t0", StageComputed(stage="base", key="k", seed=0, cpu_s=3.0)),
        ("t0", StageReused(stage="base", key="l", seed=1, saved_cpu_s=2.0)),
        ("t0", scored(40, 1.0)),
    ]
    small = folded(*events, keep_reports=False)
    assert small.trials["t0"].reports == []
    assert (small.trials["t0"].value, small.saved_cpu_s) == (1.0, 2.0)
    assert (small.stages_computed, small.stages_reused) == (1, 1)


def test_the_same_work_leaves_the_same_mark_and_other_seeds_another():
    report = Progress(stage="base", step=10, steps=40, seeds=(0,), metrics={"loss": [0.5]})
    assert mark(report) == mark(report.model_copy(update={"cpu_s": 9.0}))
    assert mark(report) != mark(report.model_copy(update={"seeds": (1,)}))


def test_trials_are_counted_by_phase_and_status_as_they_move():
    state = folded(
        ("t0", PROPOSED), ("t1", PROPOSED), ("t0", TrialPlaced()), ("t0", TrialEnded(status="pruned"))
    )
    assert state.counts["search", TrialStatus.WAITING] == 1
    assert (state.ended("search"), state.ended("confirm")) == (1, 0)


def test_a_resumed_sweep_runs_again_and_keeps_what_it_does_not_say_anew():
    state = folded(
        BudgetSpent(rule="budget.steps", reason="x"),
        SweepEnded(status="finished"),
        SweepResumed(host="there"),
    )
    assert (state.status, state.spent, len(state.sessions)) == ("running", [], 2)
    assert state.started is not None
    assert (state.started.host, state.spec) == ("there", SPEC)


def test_a_pulse_moves_what_a_trial_does_and_nothing_else():
    trial = folded(("t0", PROPOSED), ("t0", Pulse(stage="tune", step=20, steps=40))).trials["t0"]
    assert (trial.done, trial.marks, trial.value) == (0.5, set(), None)
