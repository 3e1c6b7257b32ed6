import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import minari
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.makers import RECIPES, dataset_id, ensure_dataset, make_dataset, recipe_for
from flowsweep.trainables.data.makers.shards import read_shard, shard_sizes
from flowsweep.trainables.errors import UserError

UMAZE = RECIPES["pointmaze-umaze"]
TINY = "pointmaze-tiny"


@pytest.fixture(scope="module")
def room(flowsweep_home):
    """The session's home, with a recipe like the smallest in shards of 300 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TINY, replace(UMAZE, name=TINY, shard_steps=300))
        yield flowsweep_home


@pytest.fixture(scope="module")
def tiny(room):
    """A dataset of three shards."""
    return make_dataset(TINY, steps=800, workers=1)


def test_the_data_do_not_depend_on_the_number_of_workers(tiny):
    one = open_dataset(tiny)
    three = open_dataset(make_dataset(TINY, steps=800, workers=3, name="three-v0"))
    assert one.fingerprint == three.fingerprint
    assert one.info.transitions == 800


def test_the_seed_decides_the_data(tiny):
    other = open_dataset(make_dataset(TINY, steps=800, seed=1, workers=1))
    assert other.name == "flowsweep/pointmaze-tiny-800-seed1-v0"
    assert open_dataset(tiny).fingerprint != other.fingerprint


def test_shards_of_one_dataset_are_not_copies_of_each_other(tiny):
    data = open_dataset(tiny)
    assert not np.array_equal(data.actions[:200], data.actions[300:500])


_MAKE = """
import sys
from dataclasses import replace
from flowsweep.trainables.data import makers
if __name__ == "__main__":
    recipe = replace(makers.RECIPES["pointmaze-umaze"], name="pointmaze-tiny", shard_steps=int(sys.argv[2]))
    makers.RECIPES[recipe.name] = recipe
    tell = lambda done, total: print(done, flush=True)
    print(makers.make_dataset(recipe.name, steps=int(sys.argv[1]), workers=1, name=sys.argv[3], progress=tell))
"""


def test_a_killed_make_goes_on_from_its_finished_shards(tiny, room, tmp_path):
    script = tmp_path / "make.py"
    script.write_text(_MAKE)
    command = [sys.executable, str(script), "800", "300", "killed-v0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as first:
        while int(first.stdout.readline()) < 300:
            pass
        os.killpg(first.pid, signal.SIGKILL)
    assert not (room / "minari" / "killed-v0").exists(), "a half-made dataset must not be found"
    kept = sorted(room.glob("datasets/.making/*/shard-*.npz"))
    assert kept
    if len(kept) > 1:
        kept[-1].write_bytes(kept[-1].read_bytes()[:200])  # as a full disk would leave it
        assert read_shard(kept[-1]) is None
    second = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(second[0]) >= 300, "finished shards are not made again"
    assert second[-1] == "killed-v0"
    assert open_dataset("killed-v0").fingerprint == open_dataset(tiny).fingerprint


def test_the_workers_of_a_killed_make_end_too(room, tmp_path):
    script = tmp_path / "make.py"
    script.write_text(_MAKE)
    make = subprocess.Popen(
        [sys.executable, str(script), "500000", "1000", "orphaned-v0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while int(make.stdout.readline()) < 1000:
        pass
    os.kill(make.pid, signal.SIGKILL)  # the parent alone: its worker must notice
    make.wait()
    make.stdout.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(make.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(make.pid, signal.SIGKILL)
    pytest.fail("a worker outlived its parent")


def test_a_dataset_that_is_there_is_not_made_again(umaze_dataset):
    calls = []
    assert (
        make_dataset("pointmaze-umaze", steps=20_000, progress=lambda *step: calls.append(step))
        == umaze_dataset
    )
    assert calls == []


def test_force_replaces_and_gives_the_same_data(tiny, room):
    file = room / "minari" / tiny / "data" / "main_data.hdf5"
    before, inode = open_dataset(tiny).fingerprint, file.stat().st_ino
    assert make_dataset(TINY, steps=800, workers=1, force=True) == tiny
    assert file.stat().st_ino != inode
    assert open_dataset(tiny).fingerprint == before


def test_a_name_taken_by_another_dataset_is_refused(tiny):
    with pytest.raises(UserError, match=r"another dataset has this name.*--force"):
        make_dataset(TINY, steps=800, seed=2, name=tiny)


def test_it_is_a_proper_minari_dataset(umaze_dataset):
    dataset = minari.load_dataset(umaze_dataset)
    assert (dataset.total_steps, dataset.spec.dataset_id) == (20_000, umaze_dataset)
    first = dataset[0]
    assert dataset.observation_space.contains({key: value[0] for key, value in first.observations.items()})
    assert dataset.action_space.contains(first.actions[0])
    assert set(np.unique(first.rewards)) <= {0.0, 1.0}, "Minari users get the environment's own sparse reward"
    metadata = dataset.storage.metadata
    assert any(requirement.startswith("mujoco==") for requirement in metadata["requirements"])
    assert metadata["flowsweep"]["seed"] == 0
    assert "flowsweep" in minari.namespace.list_local_namespaces()


def test_detours_make_the_way_longer_but_still_reach(umaze_dataset):
    direct = open_dataset(umaze_dataset).info
    wandering = open_dataset(make_dataset("pointmaze-umaze-detour", steps=10_000)).info
    assert wandering.transitions / wandering.episodes > 1.4 * direct.transitions / direct.episodes
    assert wandering.terminal_share * 10_000 >= wandering.episodes - 1, "all but the last, which is cut"


@pytest.mark.parametrize(
    ("steps", "seed", "name"),
    [
        (None, 0, "flowsweep/pointmaze-umaze-v0"),
        (100_000, 0, "flowsweep/pointmaze-umaze-v0"),
        (20_000, 0, "flowsweep/pointmaze-umaze-20k-v0"),
        (2_000_000, 3, "flowsweep/pointmaze-umaze-2m-seed3-v0"),
        (12_345, 0, "flowsweep/pointmaze-umaze-12345-v0"),
    ],
)
def test_size_and_seed_are_in_the_name_unless_they_are_the_default(steps, seed, name):
    assert dataset_id(UMAZE, steps, seed) == name
    assert recipe_for(name) == (UMAZE, steps or 100_000, seed)


@pytest.mark.parametrize(
    "name", ["flowsweep/pointmaze-umaze-20000-v0", "x/pointmaze-umaze-v0", "flowsweep/no-v0"]
)
def test_a_name_no_recipe_would_give_belongs_to_none(name):
    assert recipe_for(name) is None


def test_ensuring_makes_what_is_missing_and_nothing_else(tiny):
    assert ensure_dataset("flowsweep/pointmaze-tiny-300-v0", workers=1)
    assert not ensure_dataset("flowsweep/pointmaze-tiny-300-v0")
    assert not ensure_dataset("D4RL/pointmaze/umaze-v2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "pointmaze-umase"}, "Did you mean `pointmaze-umaze`"),
        ({"steps": 0}, "steps: must be at least 1"),
        ({"recipe": "cube-single-play", "steps": 1500}, "must be a multiple of 1000"),
        ({"workers": 0}, "workers: must be at least 1"),
        ({"seed": -1}, "seed: must not be negative"),
        ({"name": "../x-v0"}, "name: must be a Minari id"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_rule(room, options, message):
    with pytest.raises(UserError, match=message):
        make_dataset(**{"recipe": "pointmaze-umaze", **options})


def test_shards_add_up_to_the_size_asked_for():
    assert shard_sizes(UMAZE, 25_000) == [10_000, 10_000, 5_000]
    assert shard_sizes(UMAZE, 10_000) == [10_000]


@pytest.mark.slow
@pytest.mark.parametrize("maze", ["umaze", "medium", "large"])
def test_the_reference_score_is_what_random_actions_reach(maze):
    from flowsweep.trainables.data.makers.pointmaze import random_success_rate

    options = RECIPES[f"pointmaze-{maze}"].options
    assert random_success_rate(options["environment"]) == pytest.approx(
        options["random_success_rate"], abs=0.001
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.endswith("-play")])
def test_oracle_data_do_not_depend_on_the_number_of_workers(room, recipe, monkeypatch):
    monkeypatch.setitem(RECIPES, recipe, replace(RECIPES[recipe], shard_steps=1000))
    one = open_dataset(make_dataset(recipe, steps=2000, workers=1, name=f"{recipe}-one-v0"))
    two = open_dataset(make_dataset(recipe, steps=2000, workers=2, name=f"{recipe}-two-v0"))
    assert one.fingerprint == two.fingerprint
