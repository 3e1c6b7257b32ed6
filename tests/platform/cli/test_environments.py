"""What the commands about environments say."""

import json

from flowsweep.platform.cli import app
from typer.testing import CliRunner


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["environments", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_environments_are_listed_with_their_limits():
    assert "swimmer-velocity-v1" in said("list")
    listed = {one["name"]: one for one in json.loads(said("list", "--json"))}
    assert listed["hopper-velocity-v1"]["limit"] == 25
    assert listed["hopper-speed-v1"]["discounted"]


def test_one_environment_is_shown():
    assert "1 inside the disc" in said("show", "detour-v0")
    assert json.loads(said("show", "detour-v0", "--json"))["action_dim"] == 2


def test_an_unknown_environment_is_a_users_mistake():
    done = CliRunner().invoke(app, ["environments", "show", "detuor-v0"])
    assert done.exit_code != 0
    assert "Did you mean `detour-v0`" in str(done.exception)
