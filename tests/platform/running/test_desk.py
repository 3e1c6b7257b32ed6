"""The desk: the journal first, then the search, then the decision; nothing doubled, nothing lost."""

from pathlib import Path

import pytest
from flowsweep.platform.errors import UserError
from flowsweep.platform.journal.events import SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal, read
from flowsweep.platform.journal.state import SweepState
from flowsweep.platform.running.desk import Desk
from flowsweep.platform.running.scheduling import make_pruner
from flowsweep.platform.search.bridge import StudySearch
from flowsweep.platform.search.recovery import reconcile
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.trainables.events import Evaluated, Produced, Progress, Pulse
from flowsweep.trainables.failures import Failure
from optuna.trial import TrialState


@pytest.fixture
def office(toy_sweep, tmp_path: Path):
    """A desk over a real journal and a real study, and a way to reopen both as a later driver would."""

    class Office:
        def __init__(self):
            self.spec = toy_sweep(stop={"rule": "none"})
            self.space = resolve(self.spec).space
            self.watched = []
            self.open()

        def open(self):
            if hasattr(self, "search"):
                self.search.close()
            self.journal = Journal(tmp_path / "journal.jsonl")
            self.search = StudySearch(
                "s",
                f"sqlite:///{tmp_path / 'optuna.db'}",
                self.spec.search,
                self.space,
                "maximize",
                make_pruner(self.spec.stop),
            )
            state = SweepState.of(self.facts(), keep_reports=False)
            self.desk = Desk(self.journal, self.spec, self.search, self.watched.append, state=state)
            if state.started is None:
                started = self.journal.append(SweepStarted(spec=self.spec.model_dump(mode="json")))
                state.apply(started)

        def facts(self, *kinds):
            return [
                fact for fact in read(tmp_path / "journal.jsonl") if not kinds or fact.event.kind in kinds
            ]

        def propose(self):
            proposal = self.search.propose()
            self.desk.propose(
                proposal.trial,
                TrialProposed(params=proposal.params, through="tune", number=proposal.number, seeds=(0, 1)),
            )
            return proposal.trial

    made = Office()
    yield made
    made.journal.close()


def scored(step, *values, stage="tune"):
    return Evaluated(
        stage=stage, step=step, steps=40, seeds=(0, 1), metrics={"return": list(values)},
        episodes=({}, {}), episodes_spent=10, cpu_s=0.1,
    )  # fmt: skip


def test_the_objective_is_the_mean_over_tuning_seeds_at_the_last_evaluation(office):
    trial = office.propose()
    assert office.desk.receive(trial, [scored(10, 1.0, 3.0)], False, None).action == "continue"
    decision = office.desk.receive(trial, [scored(40, 2.0, 6.0)], True, None)
    assert (decision.action, decision.status) == ("stop", "finished")
    assert office.facts("trial_ended")[0].event == TrialEnded(
        status="finished", reason="all steps done", value=4.0
    )
    frozen = office.search.study.trials[0]
    assert (frozen.state, frozen.value, frozen.intermediate_values) == (
        TrialState.COMPLETE,
        4.0,
        {10: 2.0, 40: 4.0},
    )


def test_a_score_of_another_stage_is_no_objective(office):
    trial = office.propose()
    office.desk.receive(trial, [scored(40, 9.0, 9.0, stage="base")], False, None)
    assert office.search.study.trials[0].intermediate_values == {}


def test_pulses_are_shown_but_not_recorded(office):
    trial = office.propose()
    office.desk.receive(trial, [Pulse(stage="tune", step=3, steps=40)], False, None)
    assert [fact.event.kind for fact in office.facts()] == ["sweep_started", "trial_proposed"]
    assert office.watched[-1].event.kind == "pulse"


def test_a_failure_ends_the_trial_with_its_class_and_reason(office):
    trial = office.propose()
    decision = office.desk.receive(trial, [], False, Failure("diverged", "loss became non-finite"))
    assert decision.status == "diverged"
    ended = office.facts("trial_ended")[0].event
    assert (ended.failure, ended.reason) == ("diverged", "loss became non-finite")
    assert office.search.study.trials[0].state == TrialState.FAIL


def test_a_full_disk_ends_the_driver_and_no_trial(office):
    trial = office.propose()
    with pytest.raises(
        UserError, match=f"what {trial} has to keep cannot be written: No space left.*Free some"
    ):
        office.desk.receive(
            trial, [scored(10, 0.5, 0.5)], False, Failure("disk_full", "No space left on device")
        )
    assert [fact.event.kind for fact in office.facts()] == [
        "sweep_started",
        "trial_proposed",
        "evaluated",
    ]
    assert trial in office.desk.open
    assert office.search.study.trials[0].state == TrialState.RUNNING


def test_what_a_restarted_worker_repeats_is_not_doubled(office):
    trial = office.propose()
    office.desk.receive(trial, [scored(10, 1.0, 1.0)], False, None)
    office.desk.receive(trial, [scored(10, 1.0, 1.0), scored(20, 2.0, 2.0)], False, None)
    assert [fact.event.step for fact in office.facts("evaluated")] == [10, 20]


def test_two_seeds_at_one_step_of_a_shared_stage_are_two_reports(office):
    trial = office.propose()
    reports = [
        Progress(stage="base", step=10, steps=40, seeds=(seed,), metrics={"loss": [0.5]}) for seed in (0, 1)
    ]
    office.desk.receive(trial, reports, False, None)
    assert [fact.event.seeds for fact in office.facts("progress")] == [(0,), (1,)]


def test_a_later_driver_knows_what_is_already_on_record(office):
    trial = office.propose()
    office.desk.receive(trial, [scored(10, 1.0, 1.0)], False, None)
    office.journal.close()
    office.open()
    office.search.reopen(trial)
    office.desk.reopen(trial)
    office.desk.receive(trial, [scored(10, 1.0, 1.0), scored(40, 5.0, 5.0)], True, None)
    assert [fact.event.step for fact in office.facts("evaluated")] == [10, 40]
    assert office.search.study.trials[0].value == 5.0


def test_results_after_the_end_change_nothing(office):
    trial = office.propose()
    office.desk.receive(trial, [scored(40, 2.0, 2.0)], True, None)
    before = len(office.facts())
    assert office.desk.receive(trial, [scored(50, 9.0, 9.0)], False, None).action == "stop"
    assert len(office.facts()) == before


def test_an_artifact_is_recorded_relative_to_the_sweep(office):
    trial = office.propose()
    office.desk.receive(trial, [Produced(path="policy-seed-0", role="policy")], False, None)
    assert office.facts("artifact")[0].event.path == f"trials/{trial}/policy-seed-0"


def test_a_study_behind_its_journal_is_brought_in_line(office):
    ended, orphan = office.propose(), office.search.propose().trial
    # The driver died after writing the journal and before telling the study; the orphan was never journalled.
    office.journal.append(TrialEnded(status="finished", reason="all steps done", value=7.0), ended)
    office.journal.close()
    office.open()
    reconcile(office.search, office.desk.state)
    states = {trial.number: trial.state for trial in office.search.study.trials}
    assert states == {0: TrialState.COMPLETE, int(orphan[1:]): TrialState.FAIL}
    assert office.search.study.trials[0].value == 7.0
