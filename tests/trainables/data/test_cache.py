import json
import os
import shutil

import numpy as np
import pytest
from flowsweep.trainables.data import cache
from flowsweep.trainables.data.catalogue import refuse_damage
from flowsweep.trainables.data.flat import entry_path, open_dataset
from flowsweep.trainables.data.names import minari_data_path, parse_name
from flowsweep.trainables.errors import UserError


@pytest.fixture
def opened(write, episode):
    name = write("toy-v0", [episode(30), episode(20)])
    data = open_dataset(name)
    return name, data, entry_path(parse_name(name), minari_data_path(name))


def test_a_write_that_dies_leaves_nothing_that_could_be_opened(write, episode, monkeypatch):
    name = write("toy-v0", [episode(3)])
    entry = entry_path(parse_name(name), minari_data_path(name))
    write_table = cache._write_table

    def die_at_the_second_table(path, columns):
        if path.name == cache.TRANSITIONS:
            raise MemoryError
        write_table(path, columns)

    monkeypatch.setattr(cache, "_write_table", die_at_the_second_table)
    with pytest.raises(MemoryError):
        open_dataset(name)
    assert not entry.exists()
    assert cache.read_entry(entry) is None
    monkeypatch.setattr(cache, "_write_table", write_table)
    assert open_dataset(name).info.transitions == 3
    assert not list(entry.parent.glob(".aside-*")), "what the dead writer left aside is cleared"


@pytest.mark.parametrize("file", [cache.STATES, cache.TRANSITIONS])
def test_a_shortened_file_is_noticed_and_made_again(opened, file):
    name, before, entry = opened
    (entry / file).write_bytes((entry / file).read_bytes()[:-100])
    assert cache.read_entry(entry) is None
    after = open_dataset(name)
    assert after.fingerprint == before.fingerprint
    assert after.states[:, 0].tolist() == [*range(31), *range(21)]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99}'])
def test_a_manifest_that_is_no_manifest_is_made_again(opened, text):
    name, before, entry = opened
    (entry / cache.MANIFEST).write_text(text)
    assert cache.read_entry(entry) is None
    assert open_dataset(name).fingerprint == before.fingerprint


def test_a_changed_byte_is_found_by_the_digests(opened):
    name, _, entry = opened
    refuse_damage(name)
    content = bytearray((entry / cache.STATES).read_bytes())
    content[len(content) // 2] ^= 1
    (entry / cache.STATES).write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"states\.arrow no longer hold what was written.*Delete"):
        refuse_damage(name)


def test_an_entry_of_an_older_state_of_the_dataset_is_dropped(opened, write, episode):
    name, _, entry = opened
    shutil.rmtree(minari_data_path(name).parent)
    write(name, [episode(5)])
    open_dataset(name)
    assert not entry.exists()


def test_the_digest_depends_on_every_column_and_on_what_shaped_them():
    def arrays(**changes):
        columns = {
            "states": np.zeros((3, 2), np.float32),
            "rows": np.arange(2),
            "actions": np.zeros((2, 1), np.float32),
            "rewards": np.zeros(2, np.float32),
            "masks": np.ones(2, np.float32),
            "boundaries": np.array([False, True]),
        }
        return cache.FlatArrays(**{**columns, **changes})

    digests = {
        arrays().digest({}),
        arrays().digest({"loader": 2}),
        arrays(states=np.zeros((2, 3), np.float32)).digest({}),
        arrays(states=np.ones((3, 2), np.float32)).digest({}),
        arrays(rows=np.array([0, 2])).digest({}),
        arrays(actions=np.ones((2, 1), np.float32)).digest({}),
        arrays(rewards=np.ones(2, np.float32)).digest({}),
        arrays(masks=np.zeros(2, np.float32)).digest({}),
        arrays(boundaries=np.array([True, True])).digest({}),
    }
    assert len(digests) == 9
    assert arrays().digest({}) == arrays().digest({})


def test_the_manifest_is_readable_json(opened):
    _, data, entry = opened
    assert json.loads((entry / cache.MANIFEST).read_text())["info"]["fingerprint"] == data.fingerprint


def test_nodes_with_copies_and_caches_of_their_own_each_make_the_flat_form_once(
    write, episode, monkeypatch, tmp_path
):
    name = write("toy-v0", [episode(3)])
    made, original = [], cache._publish
    monkeypatch.setattr(cache, "_publish", lambda *args: (made.append(args[0]), original(*args)))
    root = minari_data_path(name).parents[len(name.split("/"))]
    for node in ("one", "two"):
        copy = shutil.copytree(root, tmp_path / node / "minari")  # of another time
        for file in copy.rglob("*.*"):
            os.utime(file, (1, len(node) + ord(node[0])))
    for node in ("one", "two", "one", "two"):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / node / "minari"))
        monkeypatch.setenv("FLOWSWEEP_DATASET_CACHE", str(tmp_path / node / "cache"))
        assert open_dataset(name).info.transitions == 3
    assert len(made) == 2
    assert [tmp_path / "one" / "cache" in entry.parents for entry in made] == [True, False]
