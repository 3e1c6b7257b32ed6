import json

import gymnasium
import h5py
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.names import minari_data_path
from flowsweep.trainables.errors import UserError


def test_discrete_actions_are_refused(write, episode):
    discrete = episode(3, actions=np.array([0, 1, 0]))
    name = write("toy-v0", [discrete], action_space=gymnasium.spaces.Discrete(2))
    with pytest.raises(UserError, match=r"a flow policy needs a vector of real numbers.*Box"):
        open_dataset(name)


def test_unbounded_actions_are_refused(write, episode):
    name = write("toy-v0", [episode(3)], action_space=gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32))
    with pytest.raises(UserError, match="unbounded"):
        open_dataset(name)


def test_images_are_refused(write, episode):
    images = episode(2, observations=np.zeros((3, 8, 8, 3), np.uint8))
    name = write("toy-v0", [images], observation_space=gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="without any vector of real numbers"):
        open_dataset(name)


@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
def test_a_nan_is_refused_and_located(write, episode, field):
    broken = episode(4, start=5)
    broken[field][2] = np.nan
    name = write("toy-v0", [episode(3), broken, episode(2)])
    with pytest.raises(UserError, match=rf"{field} are not finite in 1 places, first in episode 1"):
        open_dataset(name)


def test_infinities_that_cancel_are_found_too(write, episode):
    broken = episode(4)
    broken["rewards"][1:3] = [np.inf, -np.inf]
    with pytest.raises(UserError, match="rewards are not finite in 2 places, first in episode 0"):
        open_dataset(write("toy-v0", [broken]))


def test_a_total_that_does_not_match_the_episodes_is_refused(write, episode):
    name = write("toy-v0", [episode(3), episode(2)])
    metadata = minari_data_path(name) / "metadata.json"
    facts = json.loads(metadata.read_text())
    metadata.write_text(json.dumps({**facts, "total_steps": 6}))
    with pytest.raises(UserError, match="declares 6 steps in 2 episodes, but its files hold 5 in 2"):
        open_dataset(name)


@pytest.mark.parametrize("data_format", ["arrow", "parquet"])
def test_arrow_and_parquet_are_read_like_hdf5(write, episode, data_format):
    pytest.importorskip("pyarrow")
    episodes = [episode(3, infos={}), episode(2, start=10, terminated=True, infos={})]
    plain = open_dataset(write("toy-v0", episodes))
    other = open_dataset(write("toy-v1", episodes, data_format=data_format))
    assert other.fingerprint == plain.fingerprint


def test_the_long_arrow_episodes_minari_reads_back_wrongly_are_refused(write, episode):
    # Minari issue 351: an episode beyond 32,767 steps comes back cut, its remainder posing as the next one.
    name = write("toy-v0", [episode(40_000, infos={}), episode(10, infos={})], data_format="arrow")
    with pytest.raises(UserError, match="declares 40010 steps in 2 episodes"):
        open_dataset(name)


def test_a_torn_file_is_refused_without_a_traceback(write, episode):
    name = write("toy-v0", [episode(30), episode(20)])
    file = minari_data_path(name) / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"its files cannot be read.*data make --force"):
        open_dataset(name)


def test_an_episode_with_a_missing_state_is_refused(write, episode):
    name = write("toy-v0", [episode(3)])
    with h5py.File(minari_data_path(name) / "main_data.hdf5", "a") as file:
        file["episode_0/observations"].resize((3, 2))
    with pytest.raises(
        UserError, match=r"episode 0 holds an array of shape \(3, 2\) where \(4, 2\) was expected"
    ):
        open_dataset(name)


def test_metadata_that_is_not_minaris_is_refused(write, episode):
    name = write("toy-v0", [episode(3)])
    (minari_data_path(name) / "metadata.json").write_text("{}")
    with pytest.raises(UserError, match=r"`total_steps` of its metadata\.json must be a whole number"):
        open_dataset(name)


def test_a_dict_observation_is_laid_out_as_observation_then_goal(write, episode):
    box = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    space = gymnasium.spaces.Dict({"achieved_goal": box, "desired_goal": box, "observation": box})
    parts = {
        "achieved_goal": np.full((4, 1), 7.0),
        "desired_goal": np.arange(4.0)[:, None] + 100,
        "observation": np.arange(4.0)[:, None],
    }
    data = open_dataset(write("toy-v0", [episode(3, observations=parts)], space))
    assert data.states.tolist() == [[k, 100 + k] for k in range(4)]
