"""Arrays of one's own become datasets that sweeps can learn from and score."""

from __future__ import annotations

import numpy as np
import pytest
from flowsweep.trainables.data.arrays import episodes_of, import_arrays, read_columns
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.envs.naming import attach_environment
from flowsweep.trainables.errors import UserError


def steps(length: int = 10, episodes: int = 3, **changes) -> dict[str, np.ndarray]:
    """Episodes whose states count up; the first one ends, the others are cut."""
    count = length * episodes
    rows = np.arange(count, dtype=np.float32)
    last = rows % length == length - 1
    columns = {
        "observations": np.stack([rows, rows, rows], 1),
        "actions": np.clip(rows[:, None] / count, -1, 1),
        "rewards": -rows,
        "terminals": last & (rows < length),
        "timeouts": last & (rows >= length),
    }
    return {**columns, **changes}


@pytest.fixture
def minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    return tmp_path


def test_without_next_observations_a_cut_step_is_left_out_and_an_end_keeps_its_state():
    made = episodes_of(steps())
    assert made.lengths.tolist() == [10, 9, 9]
    states = made.observations[""][:, 0].tolist()
    assert states[:11] == [*range(10), 9]
    assert states[11:21] == list(range(10, 20))
    assert made.terminations.tolist() == [False] * 9 + [True] + [False] * 18
    assert np.flatnonzero(made.truncations).tolist() == [18, 27]


def test_with_next_observations_every_step_is_kept():
    given = steps()
    made = episodes_of({**given, "next_observations": given["observations"] + 1})
    assert made.lengths.tolist() == [10, 10, 10]
    assert made.observations[""][10, 0] == 10
    assert made.observations[""][-1, 0] == 30


def test_observations_in_parts_and_other_names_of_ends():
    given = steps()
    goal = given.pop("observations")
    given["observations.goal"], given["observations.state"] = goal, goal[:, :2]
    given["terminations"], given["truncations"] = given.pop("terminals"), given.pop("timeouts")
    made = episodes_of(given)
    assert {entry: column.shape[1] for entry, column in made.observations.items()} == {"goal": 3, "state": 2}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rewards": np.zeros(3)}, "rewards has 3"),
        ({"actions": np.full((30, 1), np.nan)}, "actions: is not finite in row 0"),
        ({"terminals": np.zeros(30), "timeouts": np.zeros(30)}, "says of no step that an episode ends there"),
        ({"observations": np.array(["a"] * 30)}, "observations: does not hold numbers"),
    ],
)
def test_columns_that_do_not_fit_are_named(changes, said):
    with pytest.raises(UserError, match=said):
        episodes_of(steps(**changes))


@pytest.mark.parametrize("kind", ["npz", "h5", "parquet"])
def test_every_kind_of_file_gives_the_same_columns(tmp_path, kind):
    file, given = tmp_path / f"steps.{kind}", steps()
    if kind == "npz":
        np.savez(file, **given)
    elif kind == "h5":
        import h5py

        with h5py.File(file, "w") as stored:
            for name, column in given.items():
                stored[name] = column
    else:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        parquet.write_table(pa.table({name: column.tolist() for name, column in given.items()}), file)
    found = read_columns(file)
    assert found.keys() == given.keys()
    for name, column in given.items():
        np.testing.assert_allclose(found[name], column)


def test_a_pickle_in_a_file_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", observations=np.array([{}, None], dtype=object))
    with pytest.raises(UserError, match="allow_pickle"):
        read_columns(tmp_path / "a.npz")
    with pytest.raises(UserError, match="of no kind that can be read"):
        read_columns(tmp_path / "a.pkl")


def test_a_dataset_of_ones_own_is_learnt_from_and_scored_in_its_environment(minari):
    np.savez(minari / "steps.npz", **steps())
    made = import_arrays(minari / "steps.npz", "mine/swing-v0", environment="Pendulum-v1")
    opened = open_dataset(made)
    assert (opened.info.transitions, opened.info.episodes, opened.info.observation_dim) == (28, 3, 3)
    assert opened.info.action_high == (2.0,)
    assert opened.info.evaluation
    assert (opened.info.evaluation.id, opened.info.evaluation.max_episode_steps) == ("Pendulum-v1", 200)
    assert opened.masks.tolist() == [1.0] * 9 + [0.0] + [1.0] * 18
    with pytest.raises(UserError, match="already there"):
        import_arrays(minari / "steps.npz", "mine/swing-v0")


def test_arrays_that_are_not_the_environments_are_refused(minari):
    np.savez(minari / "steps.npz", **steps(actions=np.full((30, 1), 3.0)))
    with pytest.raises(UserError, match="action 0 of step 0 is 3, outside"):
        import_arrays(minari / "steps.npz", "mine/a-v0", environment="Pendulum-v1")
    with pytest.raises(
        UserError, match=r"observations are vectors of 3, those of the environment vectors of"
    ):
        import_arrays(minari / "steps.npz", "mine/a-v0", environment="MountainCarContinuous-v0")
    with pytest.raises(UserError, match="is no environment of an installed package"):
        import_arrays(minari / "steps.npz", "mine/a-v0", environment="Pendulun-v1")


def test_an_environment_is_attached_to_a_dataset_that_names_none(minari):
    np.savez(minari / "small.npz", **steps())
    import_arrays(minari / "small.npz", "mine/small-v0")
    with pytest.raises(UserError, match=r"1 number in \[-1, 1\], but Pendulum-v1.*1 number in \[-2, 2\]"):
        attach_environment("mine/small-v0", "Pendulum-v1")
    np.savez(minari / "steps.npz", **steps(actions=np.linspace(-2, 2, 30)[:, None]))
    import_arrays(minari / "steps.npz", "mine/swing-v0")
    assert open_dataset("mine/swing-v0").info.evaluation is None
    with pytest.raises(UserError, match="where its policies are scored"):
        attach_environment("mine/swing-v0", "MountainCarContinuous-v0")
    attach_environment("mine/swing-v0", "Pendulum-v1", max_episode_steps=50)
    evaluation = open_dataset("mine/swing-v0").info.evaluation
    assert evaluation
    assert (evaluation.id, evaluation.max_episode_steps) == ("Pendulum-v1", 50)
    with pytest.raises(UserError, match="not on this machine"):
        attach_environment("mine/other-v0", "Pendulum-v1")


def test_minaris_own_buffers_need_no_command(minari):
    """What docs/datasets.md shows: Minari writes the dataset, and the environment is named there."""
    from minari import create_dataset_from_buffers
    from minari.data_collector.episode_buffer import EpisodeBuffer

    made = episodes_of(steps(episodes=1))
    buffer = EpisodeBuffer(
        observations=made.observations[""], actions=made.actions, rewards=made.rewards,
        terminations=made.terminations, truncations=made.truncations,
    )  # fmt: skip
    create_dataset_from_buffers("mine/buffered-v0", [buffer], env="Pendulum-v1", eval_env="Pendulum-v1")
    evaluation = open_dataset("mine/buffered-v0").info.evaluation
    assert evaluation
    assert evaluation.id == "Pendulum-v1"
