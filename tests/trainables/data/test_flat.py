import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import minari
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.errors import UserError

LIMIT = np.float32(1 - 1e-5)


def test_two_hand_made_episodes_come_out_as_written(write, episode):
    name = write("toy-v0", [episode(3), episode(2, start=10, terminated=True)])
    data = open_dataset(name)
    assert data.states.tolist() == [[k, -k] for k in (0, 1, 2, 3, 10, 11, 12)]
    assert data.rows.tolist() == [0, 1, 2, 4, 5]
    np.testing.assert_allclose(data.actions[:, 0], [0, 0.01, 0.02, 0, 0.01], atol=1e-7)
    np.testing.assert_allclose(data.rewards, [0, 0.01, 0.02, 0, 0.01], atol=1e-7)
    assert data.masks.tolist() == [1, 1, 1, 1, 0]
    assert data.boundaries.tolist() == [False, False, True, False, True]
    assert data.episode_of.tolist() == [0, 0, 0, 1, 1]


def test_the_next_state_of_an_episodes_last_transition_is_its_own_final_state(write, episode):
    data = open_dataset(write("toy-v0", [episode(3), episode(2, start=10)]))
    following = data.states[data.rows + 1, 0]
    assert following.tolist() == [1, 2, 3, 11, 12]


def test_info_says_what_the_arrays_hold(write, episode):
    info = open_dataset(write("toy-v0", [episode(3), episode(2, terminated=True)])).info
    assert (info.episodes, info.transitions, info.observation_dim, info.action_dim) == (2, 5, 2, 1)
    assert info.terminal_share == pytest.approx(0.2)
    assert (info.reward_min, info.reward_max) == (0.0, pytest.approx(0.02))
    assert info.evaluation is None


def test_actions_are_mapped_from_their_box_and_kept_off_its_faces(write, episode):
    box = gymnasium.spaces.Box(np.array([2.0], np.float32), np.array([6.0], np.float32))
    actions = np.array([[2.0], [4.0], [5.0], [6.0]], np.float32)
    data = open_dataset(
        write("toy-v0", [episode(4, actions=actions), episode(2, actions=actions[1:3])], None, box)
    )
    np.testing.assert_allclose(data.actions[:4, 0], [-LIMIT, 0, 0.5, LIMIT], atol=1e-7)
    assert (data.info.action_low, data.info.action_high) == ((2.0,), (6.0,))


def test_the_fingerprint_follows_the_content_and_not_the_name_or_the_day(write, episode):
    first = open_dataset(write("toy-v0", [episode(3), episode(2)])).fingerprint
    again = open_dataset(write("elsewhere/toy-v7", [episode(3), episode(2)])).fingerprint
    other = open_dataset(write("other-v0", [episode(3), episode(2, start=1e-3)])).fingerprint
    cut = open_dataset(write("cut-v0", [episode(3), episode(2, terminated=True)])).fingerprint
    assert first == again
    assert len({first, other, cut}) == 3


def test_a_dataset_written_anew_under_its_name_is_read_anew(write, episode):
    before = open_dataset(write("toy-v0", [episode(3)]))
    minari.delete_dataset("toy-v0")
    after = open_dataset(write("toy-v0", [episode(4)]))
    assert (before.info.transitions, after.info.transitions) == (3, 4)
    assert len(before.states) == 4, "what is mapped stays readable when its files are superseded"


def test_columns_are_mapped_and_cannot_be_written(umaze_dataset):
    data = open_dataset(umaze_dataset)
    for column in (data.states, data.rows, data.actions, data.rewards, data.masks, data.boundaries):
        assert not column.flags.writeable
        assert not column.flags.owndata
    assert data.boundaries.dtype == np.bool_


_OPEN_AGAIN = """
import sys, time
from flowsweep.trainables.data.flat import open_dataset
import h5py
def refuse(*args, **kwargs): raise AssertionError("read the Minari file")
h5py.File = refuse
before = time.process_time()
data = open_dataset(sys.argv[1])
seconds = time.process_time() - before
loaded = sorted({"minari", "gymnasium", "mujoco", "torch", "pandas"} & set(sys.modules))
import json; print(json.dumps([seconds, data.fingerprint, loaded, float(data.states.sum())]))
"""


def test_a_later_process_opens_it_within_100_ms_without_the_minari_files(umaze_dataset):
    data = open_dataset(umaze_dataset)
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_AGAIN, umaze_dataset], capture_output=True, text=True, check=True
    )
    seconds, fingerprint, loaded, total = json.loads(done.stdout)
    assert seconds < 0.1
    assert fingerprint == data.fingerprint
    assert loaded == [], "opening a cached dataset must not import simulators"
    assert total == pytest.approx(float(data.states.sum()))


def test_many_openers_at_once_build_it_once(write, episode, monkeypatch):
    from flowsweep.trainables.data import flat

    built, build = [], flat._build
    monkeypatch.setattr(flat, "_build", lambda *args: (built.append(1), build(*args))[1])
    name = write("toy-v0", [episode(30), episode(20)])
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_dataset(name), range(8)))
    assert len(built) == 1
    assert len({data.fingerprint for data in opened}) == 1


def test_the_cache_may_be_kept_elsewhere(write, episode, tmp_path):
    open_dataset(write("toy-v0", [episode(3)]), cache_dir=tmp_path / "flat")
    assert list((tmp_path / "flat" / "toy-v0").glob("*/manifest.json"))


def test_the_manifest_names_the_source_and_its_digest(write, episode, tmp_path):
    open_dataset(write("toy-v0", [episode(3)]), cache_dir=tmp_path / "flat")
    manifest = json.loads(next((tmp_path / "flat").glob("toy-v0/*/manifest.json")).read_text())
    assert len(manifest["source"]["files"]["main_data.hdf5"]) == 64
    assert manifest["source"]["metadata"]["dataset_id"] == "toy-v0"


def test_an_unknown_recipe_size_says_how_to_make_it(room):
    with pytest.raises(
        UserError, match=r"Make it with `flowsweep data make pointmaze-umaze --steps 20000 --seed 3`"
    ):
        open_dataset("flowsweep/pointmaze-umaze-20k-seed3-v0")


def test_the_default_size_needs_no_option(room):
    with pytest.raises(UserError, match=r"Make it with `flowsweep data make pointmaze-large`\."):
        open_dataset(["flowsweep/pointmaze-large-v0", "task1"][0])


def test_a_misspelt_recipe_is_corrected(room):
    with pytest.raises(UserError, match="Did you mean `flowsweep/pointmaze-umaze-v0`"):
        open_dataset("flowsweep/pointmaze-umase-v0")


def test_an_unreachable_server_is_said_within_seconds(room, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nothing listens
    with pytest.raises(UserError, match=r"server does not answer.*minari download D4RL/door/human-v2"):
        open_dataset("D4RL/door/human-v2")


def test_a_task_is_refused_where_there_is_none(write, episode):
    write("toy-v0", [episode(3)])
    with pytest.raises(UserError, match="only OGBench datasets have tasks"):
        open_dataset("toy-v0#task1")
