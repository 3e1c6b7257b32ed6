"""OGBench files against OGBench's own loader, number for number."""

from __future__ import annotations

import threading
import zipfile
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import minari
import numpy as np
import pytest
from flowsweep.trainables.data.flat import open_dataset
from flowsweep.trainables.data.importers import fetch_ogbench, import_ogbench, read_ogbench
from flowsweep.trainables.data.simulators import ogbench_package, silence
from flowsweep.trainables.errors import UserError

MAZE = "pointmaze-medium-navigate-v0"
SCENE = "scene-play-v0"


def write_file(
    path: Path, lengths: list[int], observation_dim: int, action_dim: int, **state: np.ndarray
) -> Path:
    """A file of OGBench's layout: T + 1 rows per episode, a void action in the last, where terminals is true."""
    rng = np.random.default_rng(len(lengths))
    rows = sum(lengths) + len(lengths)
    terminals = np.zeros(rows, bool)
    terminals[np.cumsum(np.array(lengths) + 1) - 1] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        observations=rng.standard_normal((rows, observation_dim)).astype(np.float32),
        actions=np.clip(rng.standard_normal((rows, action_dim)), -1, 1).astype(np.float32),
        terminals=terminals,
        **state,
    )
    return path


@pytest.fixture(scope="module")
def maze_file(tmp_path_factory):
    """Two episodes of 7 and 12 steps that pass through the goals of several tasks."""
    folder = tmp_path_factory.mktemp("ogbench")
    rng = np.random.default_rng(0)
    for name, lengths in ((MAZE, [7, 12]), (f"{MAZE}-val", [5])):
        rows = sum(lengths) + len(lengths)
        places = rng.choice([[20.0, 20.0], [4.0, 12.0], [0.0, 0.0]], size=rows)
        qpos = (places + rng.normal(0, 0.6, places.shape)).astype(np.float32)
        write_file(folder / f"{name}.npz", lengths, 2, 2, qpos=qpos, qvel=np.zeros_like(qpos))
    return folder / f"{MAZE}.npz"


@pytest.fixture(scope="module")
def maze(maze_file, flowsweep_home, ogbench_installed):
    """Its import."""
    return import_ogbench(maze_file)


def ogbenchs_own(file: Path, task: str):
    name = file.stem
    stem, version = name.rsplit("-", 1)
    with silence():
        train, _ = ogbench_package().make_env_and_datasets(
            f"{stem}-singletask{task}-{version}", dataset_path=str(file), dataset_only=False
        )[1:]
    return train


def assert_same_numbers(data, theirs):
    limit = np.float32(1 - 1e-5)
    assert np.array_equal(data.states[data.rows], theirs["observations"])
    assert np.array_equal(data.states[data.rows + 1], theirs["next_observations"])
    assert np.array_equal(data.actions, np.clip(theirs["actions"], -limit, limit))
    assert np.array_equal(data.rewards, theirs["rewards"])
    assert np.array_equal(data.masks, theirs["masks"])
    assert np.array_equal(data.boundaries, theirs["terminals"].astype(bool))


@pytest.mark.parametrize("task", [1, 3, 5])
def test_every_task_of_a_maze_has_the_numbers_of_ogbenchs_loader(maze, maze_file, task):
    data = open_dataset(f"{maze}#task{task}")
    assert 0 < data.info.terminal_share < 1, "the file must tell the tasks apart"
    assert_same_numbers(data, ogbenchs_own(maze_file, f"-task{task}"))
    assert data.info.evaluation.id == f"pointmaze-medium-navigate-singletask-task{task}-v0"
    assert data.info.evaluation.global_rng


def test_without_a_task_it_is_the_default_one(maze, maze_file):
    data = open_dataset(maze)
    assert_same_numbers(data, ogbenchs_own(maze_file, ""))
    assert data.fingerprint == open_dataset(f"{maze}#task1").fingerprint
    assert data.fingerprint != open_dataset(f"{maze}#task3").fingerprint


def test_minari_users_get_the_same_numbers(maze, maze_file):
    theirs = ogbenchs_own(maze_file, "")
    episodes = list(minari.load_dataset(maze))
    assert np.array_equal(np.concatenate([episode.actions for episode in episodes]), theirs["actions"])
    assert np.array_equal(np.concatenate([episode.rewards for episode in episodes]), theirs["rewards"])
    assert np.array_equal(
        np.concatenate([episode.infos["mask"][:-1] for episode in episodes]), theirs["masks"]
    )
    assert not any(episode.terminations.any() for episode in episodes)
    assert all(episode.truncations[-1] for episode in episodes)


def test_objects_and_buttons_have_the_numbers_of_ogbenchs_loader(flowsweep_home, tmp_path, ogbench_installed):
    rng = np.random.default_rng(1)
    for name, lengths in ((SCENE, [6, 9]), (f"{SCENE}-val", [3])):
        rows = sum(lengths) + len(lengths)
        state = {
            "qpos": rng.uniform(-0.2, 0.2, (rows, 25)).astype(np.float32),
            "qvel": np.zeros((rows, 24), np.float32),
            "button_states": rng.integers(0, 2, (rows, 2)),
        }
        file = write_file(tmp_path / f"{name}.npz", lengths, 40, 5, **state)
    file = tmp_path / f"{SCENE}.npz"
    data = open_dataset(import_ogbench(file))
    assert data.info.reward_min < data.info.reward_max < 0
    assert_same_numbers(data, ogbenchs_own(file, ""))
    assert not data.info.evaluation.global_rng


def test_a_task_that_does_not_exist_is_refused(maze):
    with pytest.raises(UserError, match="there are tasks 1 to 5"):
        open_dataset(f"{maze}#task6")


def test_an_id_that_is_taken_is_refused_unless_forced(maze, maze_file):
    with pytest.raises(UserError, match=r"already there.*--force"):
        import_ogbench(maze_file)
    before = open_dataset(maze).fingerprint
    assert import_ogbench(maze_file, force=True) == maze
    assert open_dataset(maze).fingerprint == before


def test_the_record_names_the_file_and_its_digest(maze):
    imported = minari.load_dataset(maze).storage.metadata["flowsweep"]["imported"]
    assert imported["file"] == f"{MAZE}.npz"
    assert len(imported["sha256"]) == 64


@pytest.mark.parametrize("name", ["x.npz", "cube.npz", "../cube-single-play-v0.txt", "cube-single-play.npz"])
def test_a_file_whose_name_says_nothing_is_refused(room, name):
    with pytest.raises(UserError, match="not the name of an OGBench dataset"):
        import_ogbench(room / name)


def test_a_missing_file_is_refused(room):
    with pytest.raises(UserError, match="no such file"):
        import_ogbench(room / f"{MAZE}.npz")


def damage_shorter(columns):
    columns["qpos"] = columns["qpos"][:-1]


def damage_open_end(columns):
    columns["terminals"][-1] = False


def damage_missing(columns):
    del columns["qvel"]


def damage_images(columns):
    columns["observations"] = np.zeros((len(columns["actions"]), 8, 8, 3), np.uint8)


def damage_discrete(columns):
    columns["actions"] = np.zeros(len(columns["actions"]), np.int32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_shorter, "do not end together"),
        (damage_open_end, "do not end together"),
        (damage_missing, "lacks qvel"),
        (damage_images, "images or discrete actions"),
        (damage_discrete, "images or discrete actions"),
    ],
)
def test_a_file_of_another_form_is_refused(maze_file, tmp_path, damage, message):
    with np.load(maze_file) as stored:
        columns = dict(stored)
    damage(columns)
    np.savez(tmp_path / f"{MAZE}.npz", **columns)
    with pytest.raises(UserError, match=message):
        read_ogbench(tmp_path / f"{MAZE}.npz")


def test_a_torn_file_is_refused(maze_file, tmp_path):
    torn = tmp_path / f"{MAZE}.npz"
    torn.write_bytes(maze_file.read_bytes()[:300])
    with pytest.raises(UserError, match="cannot be read"):
        read_ogbench(torn)


def test_a_file_that_would_run_code_is_not_unpickled(tmp_path):
    hostile = tmp_path / f"{MAZE}.npz"
    with open(hostile, "wb") as file:
        np.savez(file, observations=np.array([print], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        read_ogbench(hostile)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(maze_file):
    handler = partial(Quiet, directory=str(maze_file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_download_is_whole_recorded_and_not_repeated(server, maze_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    file = fetch_ogbench(MAZE, base_url=server, progress=lambda done, total: seen.append((done, total)))
    size = maze_file.stat().st_size
    assert file.read_bytes() == maze_file.read_bytes()
    assert seen[-1] == (size, size)
    assert fetch_ogbench(MAZE, base_url="http://127.0.0.1:9") == file
    assert sorted(path.name for path in file.parent.iterdir()) == [f"{MAZE}.npz", f"{MAZE}.npz.sha256"]


def test_a_downloaded_file_that_changed_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = fetch_ogbench(MAZE, base_url=server)
    file.write_bytes(file.read_bytes() + b"!")
    with pytest.raises(UserError, match="has changed since it was downloaded"):
        fetch_ogbench(MAZE, base_url=server)


def test_a_failed_download_leaves_nothing_and_names_the_ways_out(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"could not be downloaded.*404.*--base-url.*--from-dir"):
        fetch_ogbench("cube-single-play-v0", base_url=server)
    assert list((tmp_path / ".ogbench" / "data").iterdir()) == []


def test_a_folder_is_used_without_a_network(maze_file):
    assert fetch_ogbench(MAZE, folder=maze_file.parent, base_url="http://127.0.0.1:9") == maze_file


def test_a_folder_without_the_file_is_said(tmp_path):
    with pytest.raises(UserError, match="not in that folder"):
        fetch_ogbench(MAZE, folder=tmp_path)


def columns(**changes):
    """Columns of a file of one episode of three steps."""
    whole = {
        "observations": np.zeros((4, 2), np.float32), "actions": np.zeros((4, 2), np.float32),
        "terminals": np.array([0, 0, 0, 1.0]), "qpos": np.zeros((4, 2)), "qvel": np.zeros((4, 2)),
    }  # fmt: skip
    return {**whole, **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"qpos": np.array([{}, 1, 2, 3], dtype=object)}, "allow_pickle"),
        ({"observations": np.zeros(4, np.float32)}, "its observations are float32 of 1 axes"),
        ({"actions": np.zeros((4, 2, 2), np.float32)}, "its actions are float32 of 3 axes"),
        ({"terminals": np.zeros((4, 1))}, "its terminals are float64 of 2 axes"),
        ({"terminals": np.float64(1)}, "its terminals are float64 of 0 axes"),
        ({"qvel": np.array([["a"] * 2] * 4)}, "its qvel are <U1 of 2 axes"),
        ({"qpos": np.zeros((3, 2))}, "columns do not end together"),
        ({"terminals": np.zeros(0)}, "columns do not end together"),
    ],
)
def test_columns_of_another_form_are_refused(tmp_path, changes, told):
    np.savez(tmp_path / f"{MAZE}.npz", **columns(**changes))
    with pytest.raises(UserError, match=told) as refused:
        read_ogbench(tmp_path / f"{MAZE}.npz")
    assert "\n" not in str(refused.value)


def test_columns_nobody_asked_for_are_not_read(tmp_path):
    np.savez(tmp_path / f"{MAZE}.npz", **columns(extra=np.array([{}, 1], dtype=object)))
    assert len(read_ogbench(tmp_path / f"{MAZE}.npz")) == 1


def test_a_file_that_unpacks_beyond_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    from flowsweep.trainables.data import importers

    class Free:
        available = 1000

    np.savez(tmp_path / f"{MAZE}.npz", **columns())
    monkeypatch.setattr(importers.psutil, "virtual_memory", lambda: Free)
    with pytest.raises(UserError, match=r"unpacks to .* GiB of memory are free"):
        read_ogbench(tmp_path / f"{MAZE}.npz")


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path):
    path = tmp_path / f"{MAZE}.npz"
    np.savez(path, **columns())
    header = np.lib.format.magic(1, 0)
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 64), }".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in columns():
            archive.writestr(f"{name}.npy", header + len(text).to_bytes(2, "little") + text.encode())
    with pytest.raises(UserError, match="cannot be read"):
        read_ogbench(path)


def test_two_hundred_damaged_files_are_read_or_refused(tmp_path):
    path = tmp_path / f"{MAZE}.npz"
    np.savez_compressed(path, **columns())
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        for place in draw.integers(0, len(whole), draw.integers(1, 6)):
            content[place] = draw.integers(256)
        path.write_bytes(bytes(content[: len(whole) if draw.random() < 0.7 else draw.integers(len(whole))]))
        with suppress(UserError):
            read_ogbench(path)


def test_a_digest_beside_a_file_that_is_no_digest_is_a_change(tmp_path):
    np.savez(tmp_path / f"{MAZE}.npz", **columns())
    for record in (b"", b"\xff\xfe", b"x"):
        (tmp_path / f"{MAZE}.npz.sha256").write_bytes(record)
        with pytest.raises(UserError, match="has changed since"):
            fetch_ogbench(MAZE, folder=tmp_path)
