"""The tracker against real MLflow: everything arrives, and exactly once."""

from __future__ import annotations

from pathlib import Path

from flowsweep.platform.journal.events import SweepEnded, TrialStopped
from flowsweep.platform.tracking.runs import SWEEP, stage_run, trial_run
from flowsweep.platform.tracking.tracker import catch_up, tracker_status
from flowsweep.trainables.events import Produced, StageComputed, StageReused

KEY = "ab" * 32


def test_a_sweep_its_trials_and_its_stages_become_runs_that_point_at_each_other(sweep, database):
    sweep.start()
    sweep.propose("t0")
    sweep.journal.append(
        StageComputed(stage="pretrain", key=KEY, seed=0, steps=9, cpu_s=3.5, wall_s=4, bytes=7), "t0"
    )
    sweep.report("t0", 50)
    sweep.report("t0", 100, 0.25, "evaluated", "success_rate", episodes=[{}, {}], episodes_spent=20)
    for place in ("t0/config.json", "t0/step_100/tensors.safetensors"):
        path = sweep.paths.trials / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(place)
    sweep.journal.append(Produced(path="trials/t0/config.json", role="config"), "t0")
    sweep.journal.append(Produced(path="trials/t0/step_100", role="checkpoint"), "t0")
    sweep.end("t0", "finished", "all steps done", 0.75)
    sweep.propose("t1")
    sweep.journal.append(StageReused(stage="pretrain", key=KEY, seed=0, saved_cpu_s=3.5), "t1")
    sweep.journal.append(TrialStopped(rule="median", reason="below the median"), "t1")
    sweep.end("t1", "pruned", "median: below the median")
    sweep.journal.append(SweepEnded(status="finished", reason="2 of 2 trials"))
    assert catch_up(sweep.paths, database, "flowsweep/links") == 13
    assert catch_up(sweep.paths, database) == 0

    runs = sweep.tracked(database, "flowsweep/links")
    assert set(runs) == {SWEEP, trial_run("t0"), trial_run("t1"), stage_run(KEY)}
    parent, (trial, points), (other, _), (stage, _) = (
        runs[SWEEP][0],
        runs[trial_run("t0")],
        runs[trial_run("t1")],
        runs[stage_run(KEY)],
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in (trial, other, stage)} == {parent.info.run_id}
    link = "flowsweep.stage.pretrain.seed_0"
    assert trial.data.tags[link] == other.data.tags[link] == stage.info.run_id
    assert stage.data.metrics["cpu_s"] == 3.5
    assert points["refine/critic_loss"] == [(50, 1.0)]
    assert points["refine/critic_loss.seed_0"] == [(50, 0.5)]
    assert points["refine/critic_loss.seed_1"] == [(50, 1.5)]
    assert points["refine/success_rate"] == [(100, 0.75)]
    assert points["refine/episodes_spent"] == [(100, 20)]
    assert points["value"] == [(0, 0.75)]
    assert trial.data.params == {
        "dataset": "D4RL/pointmaze/large-v2",
        "refine.kl_radius": "0.01",
        "refine.steps": "100",
        "refine.critic.layers": "[256, 256]",
    }
    assert [run.info.status for run in (parent, trial, other, stage)] == [
        "FINISHED",
        "FINISHED",
        "KILLED",
        "FINISHED",
    ]
    assert other.data.tags["flowsweep.status"] == "pruned"
    assert other.data.tags["flowsweep.decision"] == "stop by median: below the median"
    assert trial.data.tags["mlflow.source.git.commit"] == "0123abc"
    [dataset] = trial.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("D4RL/pointmaze/large-v2", "f" * 36)

    from mlflow import MlflowClient

    client = MlflowClient(database)
    listed = [
        file.path
        for folder in ("config", "checkpoint/step_100")
        for file in client.list_artifacts(trial.info.run_id, folder)
    ]
    assert listed == ["config/config.json", "checkpoint/step_100/tensors.safetensors"]
    assert (Path(database.removeprefix("sqlite:///")).parent / "mlflow-artifacts").is_dir()


def test_a_place_lost_after_sending_doubles_nothing(sweep, database):
    sweep.start()
    sweep.propose("t0")
    for step in range(1, 40):
        sweep.report("t0", step, float("nan") if step == 7 else float("inf") if step == 8 else step)
    catch_up(sweep.paths, database, "flowsweep/lost")
    once = sweep.tracked(database, "flowsweep/lost")
    sweep.paths.tracking.unlink()
    assert catch_up(sweep.paths, database, "flowsweep/lost") == 41
    again = sweep.tracked(database, "flowsweep/lost")
    assert again.keys() == once.keys()
    assert repr(again[trial_run("t0")][1]) == repr(once[trial_run("t0")][1])
    assert len(once[trial_run("t0")][1]["refine/critic_loss"]) == 39


def test_what_the_tracker_refuses_is_noted_and_the_rest_arrives(sweep, database):
    sweep.start()
    sweep.propose("t0", 0.01)
    sweep.propose("t0", 0.02)  # Params cannot be changed at the tracker.
    sweep.journal.append(Produced(path="../../etc/passwd", role="config"), "t0")
    sweep.journal.append(Produced(path="media/gone.png", role="media"), "t0")
    sweep.report("t0", 1)
    catch_up(sweep.paths, database, "flowsweep/refused")
    sweep.propose("t0", 0.03)
    sweep.end("t0", "finished")
    catch_up(sweep.paths, database)
    refused = "\n".join(tracker_status(sweep.paths).refused)
    assert "passwd is not in the sweep's folder" in refused
    assert "gone.png is not in the sweep's folder" in refused
    assert "refine.kl_radius" in refused
    assert sweep.tracked(database, "flowsweep/refused")[trial_run("t0")][0].info.status == "FINISHED"


def test_a_tracker_that_lost_its_runs_gets_everything_again(sweep, database):
    from mlflow import MlflowClient

    sweep.start()
    sweep.propose("t0")
    sweep.report("t0", 1)
    catch_up(sweep.paths, database, "flowsweep/emptied")
    client = MlflowClient(database)
    emptied = client.get_experiment_by_name("flowsweep/emptied")
    assert emptied is not None
    client.rename_experiment(emptied.experiment_id, "flowsweep/elsewhere")
    sweep.report("t0", 2)
    assert catch_up(sweep.paths, database, "flowsweep/emptied") == 4
    points = sweep.tracked(database, "flowsweep/emptied")[trial_run("t0")][1]
    assert [step for step, _ in points["refine/critic_loss"]] == [1, 2]
