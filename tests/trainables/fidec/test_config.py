import subprocess
import sys

import pytest
from flowsweep.trainables.base import identity_key
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM
from flowsweep.trainables.fidec.config import PoolsConfig, PretrainConfig, RefineConfig
from flowsweep.trainables.fidec.joint_config import JointConfig
from flowsweep.trainables.fidec.source import checked


def test_planning_a_sweep_does_not_load_torch():
    code = (
        "import sys; from types import SimpleNamespace; from flowsweep.trainables.fidec import JOINT_SYSTEM, SYSTEM;"
        "data = SimpleNamespace(info=SimpleNamespace(transitions=9, episodes=1, observation_dim=3, action_dim=2));"
        "[stage.cost(preset(), data) for system in (SYSTEM, JOINT_SYSTEM)"
        " for preset in system.presets.values() for stage in system.stages];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("system", "preset"), [(s, preset) for s in (SYSTEM, JOINT_SYSTEM) for preset in s.presets]
)
def test_every_preset_configures_every_stage_and_survives_json(system, preset):
    configs = system.presets[preset]()
    assert list(configs) == [stage.name for stage in system.stages]
    for name, config in configs.items():
        assert parse(system.stage(name).config_type, config.model_dump(mode="json")) == config


@pytest.mark.parametrize("config_type", [PretrainConfig, PoolsConfig, RefineConfig, JointConfig])
def test_every_field_says_what_it_means(config_type):
    assert all(field.description for field in config_type.model_fields.values())


@pytest.mark.parametrize(
    ("config_type", "values", "message"),
    [
        (RefineConfig, {"kl_radius": 0}, "kl_radius: should be greater than 0"),
        (
            RefineConfig,
            {"kl_radius": -1e-3},
            r"kl_radius: should be greater than 0 \(got -0.001\). It means: Bound on",
        ),
        (RefineConfig, {"kl_radios": 1}, "Did you mean `kl_radius`"),
        (RefineConfig, {"discount": 1.0}, "discount: should be less than 1"),
        (RefineConfig, {"constraint": "none"}, "constraint"),
        (RefineConfig, {"hidden": [0]}, "hidden widths must lie between 1 and 8192"),
        (RefineConfig, {"hidden": []}, "hidden"),
        (RefineConfig, {"log_alpha_min": 1.0, "log_alpha_max": 1.0}, "must be below log_alpha_max"),
        (RefineConfig, {"alpha_init": 100.0, "log_alpha_max": 1.0}, "must lie between exp"),
        (
            PoolsConfig,
            {"base_actions": 0},
            r"base_actions: should be greater than or equal to 1 \(got 0\). It means:",
        ),
        (
            PoolsConfig,
            {"fisher_samples": 0},
            r"fisher_samples: should be greater than or equal to 1 \(got 0\). It means:",
        ),
        (
            PoolsConfig,
            {"fisher_time": 0.0},
            r"fisher_time: should be greater than 0 \(got 0.0\). It means: Flow time",
        ),
        (
            PoolsConfig,
            {"fisher_time": 1.0},
            r"fisher_time: should be less than 1 \(got 1.0\). It means: Flow time",
        ),
        (
            PoolsConfig,
            {"fisher_time": 1.2},
            r"fisher_time: should be less than 1 \(got 1.2\). It means: Flow time",
        ),
        (PoolsConfig, {"fisher_time_width": -0.1}, "fisher_time_width: should be greater than or equal to 0"),
        (
            PoolsConfig,
            {"fisher_time": 0.1, "fisher_time_width": 0.1},
            "fisher_time_width 0.1 must be below fisher_time 0.1, .*; lower the width or raise the time",
        ),
        (PretrainConfig, {"learning_rate": "3e-4"}, "learning_rate"),
        (PretrainConfig, {"steps": 0}, "steps"),
        (RefineConfig, {"test_policy": "max_q"}, "test_policy"),
        (RefineConfig, {"test_samples": 0}, "test_samples: should be greater than or equal to 1"),
        (JointConfig, {"hidden": [0]}, "hidden widths must lie between 1 and 8192"),
        (JointConfig, {"fisher_time": 0.1, "fisher_time_width": 0.1}, "must be below fisher_time"),
        (JointConfig, {"dual_learning_rate": 1e-2}, "unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_rule(config_type, values, message):
    with pytest.raises(UserError, match=message):
        parse(config_type, values)


def test_a_bound_that_can_never_bind_is_pointed_out_but_allowed():
    assert "kl_radius has no effect" in RefineConfig(residual_form="tanh", residual_scale=0.01).warnings()[0]
    assert RefineConfig(residual_form="tanh", residual_scale=0.1).warnings() == []
    assert RefineConfig(residual_scale=0.01).warnings() == []


def test_pools_are_shared_by_what_shapes_them_only():
    stage = SYSTEM.stage("pools")
    key = lambda **changes: identity_key(stage.identity(PoolsConfig(**changes), {"pretrain": "k"}, "f", 0))  # noqa: E731
    assert key() == key(steps=7)
    assert key() != key(fisher_time=0.8)


def test_cost_grows_with_work(dataset):
    def core_s(stage, **changes):
        configs = {**SYSTEM.presets["default"](), **changes}
        return SYSTEM.stage(stage).cost(configs, dataset).core_s

    assert core_s("refine", refine=RefineConfig(base_actions="fresh")) > 4 * core_s("refine")
    assert core_s("refine", refine=RefineConfig(steps=10)) < core_s("refine") / 1000
    assert core_s("pools", pools=PoolsConfig(base_actions=16)) == pytest.approx(168 / 88 * core_s("pools"))


def test_a_dataset_without_actions_is_refused(dataset):
    empty = dataset.info.model_copy(update={"action_dim": 0})
    with pytest.raises(UserError, match="no continuous action entry"):
        checked(type(dataset)(empty, *list(vars(dataset).values())[1:7]))


def test_constant_rewards_are_a_warning_not_a_refusal(dataset):
    info = dataset.info.model_copy(update={"reward_min": 0.0, "reward_max": 0.0})
    findings = checked(type(dataset)(info, *list(vars(dataset).values())[1:7])).info.findings
    assert any(finding.level == "warning" and "every reward is 0" in finding.text for finding in findings)
