from pathlib import Path

import pytest
from flowsweep.trainables.data.names import minari_root, parse_name
from flowsweep.trainables.errors import UserError


@pytest.mark.parametrize(
    ("name", "minari_id", "task"),
    [
        ("cartpole-v0", "cartpole-v0", None),
        ("flowsweep/pointmaze-umaze-v0", "flowsweep/pointmaze-umaze-v0", None),
        ("D4RL/antmaze/umaze-diverse-v1", "D4RL/antmaze/umaze-diverse-v1", None),
        ("flowsweep/cube-single-play-v0#task3", "flowsweep/cube-single-play-v0", 3),
    ],
)
def test_a_name_is_a_minari_id_and_perhaps_a_task(name, minari_id, task):
    parsed = parse_name(name)
    assert (parsed.minari_id, parsed.task, str(parsed)) == (minari_id, task, name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "umaze",
        "flowsweep/umaze",
        "../../etc/passwd-v0",
        "a/../b-v0",
        "/etc/x-v0",
        "flowsweep//x-v0",
        "x-v0\n",
        "x-v0#task0",
        "x-v0#task",
        "x-v0#task3#task4",
        "-x-v0",
        "x\x00-v0",
        "x y-v0",
        "~/x-v0",
        "$HOME/x-v0",
        "ü-v0",
        "a/b/c/d/e/f-v0",
        "x" * 500 + "-v0",
        None,
        7,
    ],
)
def test_a_malformed_or_hostile_name_is_refused_with_the_rule(name):
    with pytest.raises(UserError, match="must be a Minari id such as"):
        parse_name(name)


def test_no_name_leaves_its_folder():
    for name in ("x-v0", "a/b/c-v12#task9"):
        assert ".." not in parse_name(name).folder.parts
        assert not parse_name(name).folder.is_absolute()


def test_tasks_of_one_dataset_are_kept_apart():
    assert parse_name("a/b-v0").folder != parse_name("a/b-v0#task1").folder


def test_the_root_is_where_minari_looks(monkeypatch, tmp_path):
    from minari.storage.datasets_root_dir import get_dataset_path

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert minari_root() == get_dataset_path()
    monkeypatch.delenv("MINARI_DATASETS_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert minari_root() == Path(get_dataset_path())
