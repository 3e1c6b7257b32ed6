"""A dataset cannot run a command, wherever it names code: each place planted with one that leaves a file behind."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import gymnasium
import pyarrow as pa
import pytest
from flowsweep.platform.cli import app
from flowsweep.trainables.data.cache import read_entry
from flowsweep.trainables.data.dataset import EvaluationSpec
from flowsweep.trainables.data.flat import entry_path, open_dataset
from flowsweep.trainables.data.names import minari_data_path, parse_name
from flowsweep.trainables.envs import allowed
from flowsweep.trainables.envs.build import make_environment
from flowsweep.trainables.envs.registered import plain_arguments, registered_spec
from flowsweep.trainables.envs.trace import Trace
from flowsweep.trainables.errors import UserError
from gymnasium.envs.registration import EnvSpec
from typer.testing import CliRunner

NAME = "toy-v0"


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that planted code leaves behind: a shell command, a module that does so at import, and a function."""
    mark = tmp_path / "ran"
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "planted_module.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\ndef planted(*a, **k): Path({str(mark)!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    yield mark
    assert not mark.exists(), "what was planted has run"


@pytest.fixture
def plant(write, episode, mark):
    """A dataset whose metadata is changed as asked; without its spaces, Minari itself would build the environment."""
    write(NAME, [episode(30), episode(20)])
    file = minari_data_path(NAME) / "metadata.json"

    def plant(without: tuple[str, ...] = (), **changes) -> None:
        facts = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in facts.items() if key not in without}))

    return plant


def command(mark: Path, **changes) -> str:
    """An environment specification that runs ``touch`` when it is built."""
    spec = EnvSpec("Pendulum-v1", "os:system", max_episode_steps=200, kwargs={"command": f"touch {mark}"})
    return json.dumps({**json.loads(spec.to_json()), **changes})


def shown() -> str:
    """What the two commands say that look at a dataset."""
    runner = CliRunner()
    said = runner.invoke(app, ["data", "show", NAME])
    runner.invoke(app, ["data", "list"])
    assert said.exception is None or isinstance(said.exception, UserError | SystemExit), said.exception
    return said.output + str(said.exception)


def test_the_plants_work(mark, plant):
    """Gymnasium and Minari do run them: without this the rest would prove nothing."""
    with pytest.raises(TypeError):
        gymnasium.make(EnvSpec.from_json(command(mark)))
    assert mark.exists()
    mark.unlink()
    from minari.dataset.minari_storage import MinariStorage

    plant(without=("observation_space",), env_spec=command(mark))
    with pytest.raises((AssertionError, TypeError, AttributeError)):
        MinariStorage.read(minari_data_path(NAME))
    assert mark.exists()
    mark.unlink()
    with pytest.raises(gymnasium.error.Error):
        gymnasium.make("planted_module:Any-v0")
    assert mark.exists()
    mark.unlink()


@pytest.mark.parametrize(
    "without", [(), ("observation_space",), ("action_space",), ("observation_space", "action_space")]
)
@pytest.mark.parametrize("where", ["env_spec", "eval_env_spec"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"id": "Own-v0"},
        {"entry_point": "planted_module:planted", "kwargs": {}},
        {"id": "planted_module:Own-v0"},
        {"id": "os:system-v0"},
        {"id": "Pendulum-v1", "entry_point": "gymnasium.envs.classic_control:PendulumEnv", "kwargs": {},
         "additional_wrappers": [{"name": "W", "entry_point": "planted_module:planted", "kwargs": {}}]},
        {"vector_entry_point": "planted_module:planted", "kwargs": {}},
    ],
)  # fmt: skip
def test_no_entry_point_of_an_environment_is_built(mark, plant, where, changes, without):
    plant(without, **{where: command(mark, **changes)})
    shown()
    with suppress(UserError):
        evaluation = open_dataset(NAME).info.evaluation
        if evaluation is not None:
            make_environment(evaluation).close()


@pytest.mark.parametrize(
    "original", ["planted_module:x-y-play-v0", "os:x-play-v0", "../x-play-v0", "a b-v0", ""]
)
def test_no_task_of_ogbench_names_a_module(mark, plant, original):
    plant(flowsweep={"family": "ogbench", "ogbench_dataset": original, "simulator_state": ["qpos"]})
    with pytest.raises(UserError, match="must be the name of an OGBench dataset"):
        open_dataset(NAME)
    for name in (original, original.replace("-play", "-play-singletask")):
        spec = EvaluationSpec(
            library="ogbench", id=name, action_low=(-1,), action_high=(1,), max_episode_steps=9
        )
        with pytest.raises(UserError, match="not the name of an OGBench dataset"):
            make_environment(spec)


@pytest.mark.parametrize(
    "arguments",
    [
        {"xml_file": "/tmp/model.xml"},
        {"model_path": "model.xml"},
        {"env_id": "planted_module:Any-v0"},
        {"make_kwargs": {}},
        {"entry_point": "planted_module:planted"},
        {"reward_type": "planted_module:planted"},
        {"maze_map": [["../../etc/passwd"]]},
        {"options": {"model": "evil.mjb"}},
        {"options": {"a/b": 1}},
        {"not a name": 1},
        {"maze_map": [[0] * 200] * 200},
        {"text": "x" * 300},
    ],
)
def test_no_argument_leads_to_a_file_or_a_function(mark, arguments):
    with pytest.raises(UserError, match="not taken from a dataset"):
        plain_arguments("PointMaze_UMaze-v3", arguments)
    spec = EvaluationSpec(
        library="gymnasium", id="HalfCheetah-v5", kwargs=arguments, action_low=(-1,) * 6, action_high=(1,) * 6,
        max_episode_steps=9,
    )  # fmt: skip
    with pytest.raises(UserError, match="not taken from a dataset"):
        make_environment(spec)


def test_arguments_of_known_collections_pass():
    given = {
        "maze_map": [[1, 1, 1], [1, "r", "g"], [1, 1, 1]], "reward_type": "sparse", "continuing_task": False,
        "tasks_to_complete": ["microwave", "kettle"], "forward_reward_weight": 1.25, "goal_cell": None,
    }  # fmt: skip
    assert plain_arguments("x", {**given, "render_mode": "human"}) == given


def test_only_registered_names_are_built(mark):
    with pytest.raises(UserError, match=r"no environment of an installed package.*environments allow"):
        registered_spec("NotThere-v0")
    with pytest.raises(UserError, match=r"Did you mean `Pendulum-v1`"):
        registered_spec("Pendulum-v0")
    assert registered_spec("Pendulum-v1").max_episode_steps == 200


def test_no_trace_names_code(mark, tmp_path, room):
    import numpy as np

    spec = EvaluationSpec(
        library="gymnasium",
        id="planted_module:Own-v0",
        action_low=(-1,),
        action_high=(1,),
        max_episode_steps=9,
    )
    nothing = np.zeros((1, 1), np.float32)
    path = Trace(spec, 0, 0, None, nothing, nothing, nothing[0], nothing, None).save(
        tmp_path / "t.safetensors"
    )
    with pytest.raises(UserError, match="without a module to import"):
        make_environment(Trace.load(path).spec)


def test_no_flat_dataset_names_code(mark, plant):
    """The manifest of a dataset's flat form is a file too."""
    plant(env_spec=command(mark, entry_point="x:y", kwargs={}))
    open_dataset(NAME)
    entry = entry_path(parse_name(NAME), minari_data_path(NAME))
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["info"]["evaluation"] |= {"id": "planted_module:Own-v0"}
    (entry / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="without a module to import"):
        make_environment(open_dataset(NAME).info.evaluation)
    manifest["info"]["evaluation"] |= {"library": "planted_module"}
    (entry / "manifest.json").write_text(json.dumps(manifest))
    assert read_entry(entry) is None


def test_no_pickle_in_an_arrow_file_is_loaded(mark, plant, tmp_path):
    """Older versions of pyarrow loaded the pickled type of such a column when the file was opened."""
    import pickle

    class Planted:
        def __reduce__(self):
            return mark.touch, ()

    plant()
    open_dataset(NAME)
    entry = entry_path(parse_name(NAME), minari_data_path(NAME))
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Planted()),
    }  # fmt: skip
    schema = pa.schema([pa.field("state", pa.float32(), metadata=extension)])
    with pa.OSFile(str(entry / "states.arrow"), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1.0], pa.float32())], schema=schema))
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["files"]["states.arrow"]["bytes"] = (entry / "states.arrow").stat().st_size
    (entry / "manifest.json").write_text(json.dumps(manifest))
    assert read_entry(entry) is None


class TestWhatTheUserAllows:
    """In words, and only what is installed."""

    def test_a_package_beside_the_sweep_is_not_installed(self, mark, room):
        with pytest.raises(UserError, match="no installed package is imported under this name"):
            allowed.allow("planted_module")
        assert allowed.allowed() == []

    @pytest.mark.parametrize("module", ["os", "antigravity", "os.path", "../x", "", "_pytest"])
    def test_pythons_own_modules_are_nobodys_package(self, mark, room, module):
        with pytest.raises(UserError, match="no installed package"):
            allowed.allow(module)

    def test_an_allowed_package_is_imported_before_names_are_looked_up(self, room, monkeypatch, tmp_path):
        (tmp_path / "path").mkdir()
        (tmp_path / "path" / "own_worlds.py").write_text(
            "import gymnasium\ngymnasium.register('OwnWorld-v0', "
            "'gymnasium.envs.classic_control.pendulum:PendulumEnv', max_episode_steps=7)\n"
        )
        info = tmp_path / "path" / "own_worlds-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-worlds\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("own_worlds\n")
        (info / "RECORD").write_text("own_worlds.py,,\n")
        monkeypatch.syspath_prepend(str(tmp_path / "path"))
        with pytest.raises(UserError, match="no environment of an installed package"):
            registered_spec("OwnWorld-v0")
        run = CliRunner().invoke(app, ["environments", "allow", "own_worlds", "--json"])
        assert json.loads(run.output) == ["own_worlds"]
        assert (room / "home" / allowed.FILE).stat().st_mode & 0o777 == 0o600
        assert registered_spec("OwnWorld-v0").max_episode_steps == 7
        shutil.rmtree(tmp_path / "path")
        monkeypatch.delitem(__import__("sys").modules, "own_worlds")
        with pytest.raises(UserError, match=r"cannot be imported.*allow --forget own_worlds"):
            registered_spec("OwnWorld-v0")
        allowed.forget("own_worlds")
        assert allowed.allowed() == []
        gymnasium.registry.pop("OwnWorld-v0")

    @pytest.mark.parametrize("content", ["{}", "[1]", '["a b"]', '["os.path"]', "x", "[" * 9000])
    def test_a_list_that_is_none_is_refused(self, room, content):
        (room / "home").mkdir()
        (room / "home" / allowed.FILE).write_text(content)
        with pytest.raises(UserError, match="is no list of package names"):
            allowed.import_allowed()
