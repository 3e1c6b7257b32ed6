"""Which setting held the policy, told from configurations and from what refinements reported."""

import math

import pytest
from flowsweep.platform.journal.events import SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.journal.journal import Journal
from flowsweep.platform.paths import Home
from flowsweep.platform.record.findings import findings
from flowsweep.platform.record.results import read_sweep
from flowsweep.trainables.base import Evidence
from flowsweep.trainables.events import Progress
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig
from flowsweep.trainables.fidec.joint_config import JointConfig

REFINE = SYSTEM.stage("refine")


def trial(name, active=(0.9,), ratio=(1.0,), alpha=(3.0,), **config):
    curves = {"constraint_active": active, "penalty_over_radius": ratio, "alpha": alpha}
    return Evidence(name, RefineConfig(**config), curves)


def said(trials, searched=("kl_radius",), stage=REFINE):
    return [(one.rule, one.setting, one.trials) for one in stage.findings(trials, searched)]


def test_a_constraint_that_was_active_for_a_while_is_at_work():
    assert said([trial("a", active=(0.0, 0.4, 0.0))]) == []


def test_a_radius_no_trial_reached_had_no_effect():
    trials = [
        trial("a", active=(0.0, 0.01), ratio=(0.0, 0.2)),
        trial("b", active=(0.0,), ratio=(0.1,), kl_radius=0.3),
    ]
    (found,) = REFINE.findings(trials, ["kl_radius"])
    assert (found.rule, found.setting, found.trials) == ("constraint_slack", "kl_radius", ("a", "b"))
    assert "not active in any trial: its range had no effect (radius 0.001 to 0.3" in found.reason
    assert "penalty at most 0.2 of it" in found.reason


def test_a_radius_some_trials_did_not_reach_is_told_of_those():
    trials = [trial("a"), trial("b", active=(0.0,), ratio=(0.1,), kl_radius=0.3)]
    (found,) = REFINE.findings(trials, ["kl_radius"])
    assert found.trials == ("b",)
    assert "in these trials" in found.reason


def test_a_radius_that_is_not_searched_need_not_be_reached():
    assert said([trial("a", active=(0.0,), ratio=(0.1,))], searched=["residual_scale"]) == []


def test_a_multiplier_that_has_not_caught_up_does_not_hold_the_radius():
    (found,) = REFINE.findings([trial("a", ratio=(9.0, 4.0)), trial("b", ratio=(9.0, 1.1))], [])
    assert (found.rule, found.trials) == ("radius_not_held", ("a",))
    assert "4 times the radius" in found.reason


@pytest.mark.parametrize(("bound", "field"), [(-10.0, "log_alpha_min"), (10.0, "log_alpha_max")])
def test_a_multiplier_at_a_bound_is_named_with_the_bound(bound, field):
    assert said([trial("a", alpha=(3.0, math.exp(bound))), trial("b")]) == [("alpha_at_bound", field, ("a",))]


def test_without_a_multiplier_none_can_be_at_a_bound():
    fixed = trial(
        "a", alpha=(math.exp(-10),), alpha_init=math.exp(-10), constraint="fixed_alpha", ratio=(9.0,)
    )
    assert said([fixed]) == []


def test_joint_training_bounds_no_multiplier_but_has_a_radius():
    curves = {"constraint_active": [0.0], "penalty_over_radius": [0.3], "alpha": [math.exp(-10)]}
    stage = JOINT_SYSTEM.stage("joint")
    assert said([Evidence("a", JointConfig(), curves)], stage=stage) == [
        ("constraint_slack", "kl_radius", ("a",))
    ]


@pytest.mark.parametrize(
    ("config", "unread"),
    [
        (RefineConfig(test_policy="best_of_n"), {"test_iterations"}),
        (RefineConfig(test_policy="iterated"), {"test_samples"}),
        (
            RefineConfig(constraint="fixed_alpha", test_policy="iterated"),
            {"kl_radius", "dual_learning_rate", "log_alpha_min", "log_alpha_max", "test_samples"},
        ),
        (
            RefineConfig(constraint="per_state_projection", test_policy="iterated", gradient_clip="none"),
            {"alpha_init", "dual_learning_rate", "log_alpha_min", "log_alpha_max", "test_samples", "gradient_norm"},
        ),
        (PoolsConfig(), set()),
        (PoolsConfig(fisher_scope="local"), {"fisher_samples", "fisher_draw"}),
        (PretrainConfig(gradient_clip="none"), {"gradient_norm"}),
        (
            JointConfig(fisher_scope="identity", test_policy="iterated"),
            {
                "test_samples", "score_estimator", "fisher_point", "fisher_time", "fisher_time_width",
                "fisher_samples", "clip_for_fisher",
            },
        ),
    ],
)  # fmt: skip
def test_a_configuration_names_what_it_does_not_read(config, unread):
    assert config.unread().keys() == unread
    assert unread <= set(type(config).model_fields)


@pytest.mark.parametrize(
    "changes",
    [{"constraint": "fixed_alpha"}, {"constraint": "per_state_projection"}, {"gradient_clip": "none"}, {}],
)
def test_what_is_not_read_changes_nothing(changes, start, small):
    """Held against the learner: metrics other than those measured against the radius come out bit-equal."""
    other = {
        "kl_radius": 0.5, "alpha_init": 7.0, "dual_learning_rate": 0.5, "log_alpha_min": -1.0, "log_alpha_max": 9.0,
        "gradient_norm": 0.01, "test_samples": 3, "test_iterations": 2,
    }  # fmt: skip
    config = small("refine", zero_init=False, **changes)
    amended = config.model_copy(update={name: other[name] for name in config.unread()})
    assert amended != config
    first, second = (start("refine", [(chosen, 0)]) for chosen in (config, amended))
    told, retold = first.advance(5), second.advance(5)
    measured = {"penalty_over_radius", "constraint_active", "alpha"}
    assert {k: v for k, v in told.items() if k not in measured} == {
        k: v for k, v in retold.items() if k not in measured
    }


def test_a_sweep_whose_radius_never_binds_says_so(start, small, tmp_path):
    """Real refinements, far inside a radius, on record as a driver would leave them."""
    paths = Home(tmp_path).sweep("s")
    with Journal(paths.journal) as journal:
        spec = {
            "system": "fidec",
            "dataset": "d",
            "objective": {"metric": "refine/return", "direction": "maximize"},
        }
        journal.append(SweepStarted(name="s", spec=spec))
        for name, radius in (("t0", 50.0), ("t1", 90.0)):
            config = small("refine", kl_radius=radius, residual_form="tanh", residual_scale=0.5)
            configs = {"refine": config, "pools": small("pools"), "pretrain": small("pretrain")}
            journal.append(TrialProposed(phase="search", params={"refine.kl_radius": radius}, seeds=[0], configs={stage: chosen.model_dump(mode="json") for stage, chosen in configs.items()}, through="refine"), name)  # fmt: skip
            learner = start("refine", [(config, 0)])
            journal.append(
                Progress(stage="refine", step=5, steps=5, seeds=[0], metrics=learner.advance(5), cpu_s=0.1),
                name,
            )
            journal.append(TrialEnded(status="finished", reason="", value=None), name)
    found = {one.rule: one for one in findings(read_sweep(paths))}
    assert found.keys() == {"warning", "constraint_slack"}
    assert found["constraint_slack"].setting == "refine.kl_radius"
    assert found["constraint_slack"].trials == ("t0", "t1")
    assert "kl_radius has no effect" in found["warning"].reason
