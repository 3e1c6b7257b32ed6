"""What is learnt from keeps its kind wherever it is named."""

from __future__ import annotations

import json

import pytest
from flowsweep.trainables.base import Stage, StageConfig, System, identity_key, load_system
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.source_ref import KINDS, NOTHING, SourceRef


class Config(StageConfig):
    """A stage without settings of its own."""


class Bare(Stage[Config]):
    """A stage that does nothing."""

    name = "bare"
    config_type = Config

    def start(self, lanes, source, device):
        raise NotImplementedError

    finished = cost = start  # type: ignore[assignment]


def system(kind, stage) -> System:
    return System("bare", "Bare", "none", (stage,), lambda name: name, {}, learns_from=kind)  # type: ignore[arg-type]


def test_the_identity_of_an_output_has_the_fingerprint_under_the_kind():
    identities = {}
    for kind in KINDS:
        (stage,) = system(kind, Bare()).stages
        identities[kind] = stage.identity(Config(steps=3), {}, "print", 1)
        assert identities[kind][kind] == "print"
        assert set(KINDS) & set(identities[kind]) == {kind}
    assert len({identity_key(identity) for identity in identities.values()}) == 3


def test_outputs_of_datasets_keep_the_keys_they_had():
    fidec = load_system("fidec")
    config = fidec.presets["default"]()["pretrain"]
    was = {
        "stage": "pretrain",
        "version": fidec.stage("pretrain").version,
        "config": config.model_dump(mode="json"),
        "upstream": {},
        "dataset": "print",
        "seed": 7,
    }
    assert fidec.stage("pretrain").identity(config, {}, "print", 7) == was


def test_a_stage_cannot_be_shared_by_systems_that_learn_from_different_things():
    stage = Bare()
    system("environment", stage)
    system("environment", stage)
    with pytest.raises(ValueError, match="shared with a system that learns from environments"):
        system("problem", stage)


def test_a_request_goes_through_json():
    request = TrialRequest(
        trial="t", system="s", source=SourceRef(kind="environment", name="detour-v0"), configs={}, seeds=(0,),
        through="bare", episodes=1, split="test",
    )  # fmt: skip
    said = json.loads(request.model_dump_json())
    assert said["source"] == {"kind": "environment", "name": "detour-v0"}
    assert TrialRequest.recorded(said) == request


def test_a_request_of_a_version_that_knew_only_datasets_can_be_read():
    said = {"trial": "t", "system": "s", "dataset": "a/b-v0", "configs": {}, "seeds": [0], "through": "x"}
    request = TrialRequest.recorded({**said, "episodes": 1})
    assert (request.source, request.split) == (SourceRef(kind="dataset", name="a/b-v0"), "tune")


@pytest.mark.parametrize("said", [{"problem": "riddle"}, {"problem": {"name": "riddle"}, "dataset": None}])
def test_what_is_named_is_found_under_its_kind(said):
    assert SourceRef.among(said) == SourceRef(kind="problem", name="riddle")
    assert str(SourceRef.among(said)) == "problem riddle"


def test_naming_nothing_is_to_learn_from_nothing_that_is_named():
    assert SourceRef.among({"dataset": None}) == NOTHING
    assert NOTHING.named == {}
