import subprocess
import sys
from types import SimpleNamespace

import pytest
from flowsweep.platform.store.stages import StageStore
from flowsweep.search_spaces.baselines import FQL_SPACES, IFQL_SPACES, REBRAC_SPACES
from flowsweep.search_spaces.parameters import Choice, named_space
from flowsweep.trainables.artifacts import read_snapshot
from flowsweep.trainables.base import identity_key, load_system
from flowsweep.trainables.baselines.config import ActorCriticConfig, DistillConfig, ValueConfig
from flowsweep.trainables.config import parse
from flowsweep.trainables.errors import UserError
from flowsweep.trainables.fidec import SYSTEM as FIDEC
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import SourceRef
from flowsweep.trainables.walk import Walk

NAMES = ["fql", "ifql", "rebrac"]
SPACES = {"fql": FQL_SPACES, "ifql": IFQL_SPACES, "rebrac": REBRAC_SPACES}
PARAMETERS = [
    (system, field, parameter)
    for system, spaces in SPACES.items()
    for fields in spaces.values()
    for field, parameter in fields.items()
]


def test_planning_a_sweep_does_not_load_torch():
    code = (
        "import sys; from types import SimpleNamespace; from flowsweep.trainables.base import load_system;"
        "data = SimpleNamespace(info=SimpleNamespace(transitions=9, episodes=1, observation_dim=3, action_dim=2));"
        f"systems = [load_system(name) for name in {NAMES}];"
        "[stage.cost(preset(), data) for s in systems for preset in s.presets.values() for stage in s.stages];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_configures_every_stage_and_survives_json(name):
    system = load_system(name)
    for preset in system.presets.values():
        configs = preset()
        assert list(configs) == [stage.name for stage in system.stages]
        for stage, config in configs.items():
            assert parse(system.stage(stage).config_type, config.model_dump(mode="json")) == config


@pytest.mark.parametrize("config_type", [DistillConfig, ValueConfig, ActorCriticConfig])
def test_every_field_says_what_it_means(config_type):
    assert all(field.description for field in config_type.model_fields.values())


@pytest.mark.parametrize(
    ("config_type", "values", "message"),
    [
        (DistillConfig, {"alpha": 0}, "alpha: should be greater than 0"),
        (DistillConfig, {"alfa": 1}, "Did you mean `alpha`"),
        (DistillConfig, {"hidden": [0]}, "hidden"),
        (DistillConfig, {"hidden": []}, "hidden"),
        (ValueConfig, {"expectile": 1.0}, "expectile: should be less than 1"),
        (ValueConfig, {"action_samples": 0}, "action_samples"),
        (ActorCriticConfig, {"actor_penalty": -1}, "actor_penalty"),
        (ActorCriticConfig, {"actor_delay": 0}, "actor_delay"),
    ],
)
def test_a_mistake_is_named_with_its_rule(config_type, values, message):
    with pytest.raises(UserError, match=message):
        parse(config_type, values)


def test_one_sample_leaves_nothing_to_choose_and_that_is_said():
    assert "nothing to choose" in ValueConfig(action_samples=1).warnings()[0]
    assert ValueConfig().warnings() == []


@pytest.mark.parametrize("name", ["fql", "ifql"])
@pytest.mark.parametrize("preset", ["default", "official"])
def test_the_flow_is_fidecs_own_and_its_artifact_is_shared(name, preset):
    system = load_system(name)
    assert system.stage("pretrain") is FIDEC.stage("pretrain")

    def key(owner):
        config = owner.presets[preset]()["pretrain"]
        return identity_key(owner.stage("pretrain").identity(config, {}, "fingerprint", 3))

    assert key(system) == key(FIDEC)


def test_cost_counts_the_work():
    data = SimpleNamespace(info=SimpleNamespace(transitions=9, episodes=1, observation_dim=17, action_dim=6))

    def core_s(system, **changes):
        configs = dict(load_system(system).presets["default"]())
        last = load_system(system).stages[-1]
        configs[last.name] = configs[last.name].model_copy(update=changes)
        return last.cost(configs, data).core_s  # type: ignore[arg-type]

    # The flow's ten evaluations are most of FQL's update; IFQL needs none of them while it trains.
    assert core_s("fql") > 2 * core_s("ifql")
    assert core_s("rebrac", actor_delay=4) < core_s("rebrac")
    assert core_s("rebrac", steps=10) < core_s("rebrac") / 1000


@pytest.mark.parametrize(("system", "field", "parameter"), PARAMETERS)
def test_every_value_of_a_space_is_one_its_stage_accepts_and_has_its_reason(system, field, parameter):
    stage, name = field.split(".")
    values = parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
    loaded = load_system(system)
    for value in values:
        config = loaded.presets["default"]()[stage].model_dump(mode="json") | {name: value}
        assert getattr(parse(loaded.stage(stage).config_type, config), name) == value
    assert parameter.reason


@pytest.mark.parametrize("system", NAMES)
def test_every_system_ships_a_default_space(system):
    assert named_space(system, "default") == SPACES[system]["default"]


@pytest.mark.parametrize("system", NAMES)
def test_a_walk_through_the_stage_store_ends_with_a_scored_policy(system, umaze_dataset, tmp_path):
    loaded = load_system(system)
    configs = {
        name: config.model_dump(mode="json") | {"steps": 4, "hidden": [8], "batch_size": 8}
        for name, config in loaded.presets["default"]().items()
    }
    last = loaded.stages[-1].name

    def walk(trial: str):
        request = TrialRequest(
            trial=trial, system=system, source=SourceRef(kind="dataset", name=umaze_dataset),
            configs=configs, seeds=(0,), through=last, episodes=1
        )  # fmt: skip
        return list(Walk(request, StageStore(tmp_path / "stages"), tmp_path / trial))

    events = walk("first")
    assert [e.stage for e in events if e.kind == "evaluated"] == [last]
    assert read_snapshot(tmp_path / "first" / "policy-seed-0").tensors
    computed = [e.stage for e in events if e.kind == "stage_computed"]
    assert computed == [stage.name for stage in loaded.stages[:-1]]
    assert [e.stage for e in walk("second") if e.kind == "stage_reused"] == computed
