"""Nothing that is read back can run code: no unpickling anywhere in the package, and planted pickles are refused."""

from __future__ import annotations

import ast
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from flowsweep.platform.errors import UserError
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.yaml_file import read_yaml
from flowsweep.trainables.artifacts import (
    MANIFEST,
    META,
    TENSORS,
    Damaged,
    Finished,
    Provenance,
    read_snapshot,
    write_snapshot,
)
from flowsweep.trainables.base import Snapshot
from flowsweep.trainables.checkpoints import Checkpoints
from flowsweep.trainables.data.importers import read_ogbench

ROOT = Path(__file__).parents[1]
ROOMS = ("platform", "trainables", "search_spaces", "cluster")
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "_pickle", "jsonpickle"}
CALLS = {
    "torch.load",
    "np.load",
    "numpy.load",
    "pandas.read_pickle",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
}
ALLOWED = {  # np.load refuses pickles unless told otherwise, which no call may
    ("trainables/data/importers.py", "np.load"),
    ("trainables/data/makers/shards.py", "np.load"),
    ("trainables/data/arrays.py", "np.load"),
}


def calls(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def package():
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield str(file.relative_to(ROOT)), ast.parse(file.read_text())


def test_no_module_imports_anything_that_unpickles():
    found = [
        (file, name)
        for file, tree in package()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
        if name.split(".")[0] in UNPICKLERS
    ]
    assert not found


def test_no_call_loads_code_from_data():
    found = {(file, name) for file, tree in package() for name, _ in calls(tree) if name in CALLS}
    assert found == ALLOWED
    for file, tree in package():
        for name, call in calls(tree):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert "allow_pickle" not in keywords, file
            assert keywords.get("shell") != "True", file
            if name == "yaml.load":  # the one loader there is builds on SafeLoader
                assert (file, [ast.unparse(one) for one in call.args]) == (
                    "platform/sweep/yaml_file.py",
                    ["text", "_Loader"],
                )


def test_code_that_a_person_names_is_run_in_one_place():
    """Loaders of modules from text, by which `system: ./train.py:train` is run: told from everything read back."""
    loaders = {"SourceLoader", "InspectLoader", "ExecutionLoader", "Loader", "SourceFileLoader", "FileLoader"}
    bases = {
        (file, ast.unparse(base))
        for file, tree in package()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if ast.unparse(base).rpartition(".")[2] in loaders
    }
    assert bases == {("trainables/user_code/importing.py", "SourceLoader")}
    declaring = {file for file, tree in package() for name, _ in calls(tree) if name == "read_code"}
    assert declaring == {  # each with a path that somebody typed or passed
        "cluster/ordering.py",
        "platform/going_on/named_code.py",
        "platform/sweep/spec.py",
        "trainables/exported.py",
        "trainables/plain_tune.py",
    }


class Planted:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return self.mark.touch, ()


@pytest.fixture
def plant(tmp_path):
    mark = tmp_path / "ran"
    content = pickle.dumps(Planted(mark))
    yield content
    assert not mark.exists(), "the planted pickle was loaded"
    pickle.loads(content)
    assert mark.exists(), "this plant proves nothing"


SNAPSHOT = Snapshot({"x": torch.zeros(3)}, {"step": 1})


@pytest.mark.parametrize("name", [TENSORS, META, MANIFEST])
def test_a_pickle_in_place_of_a_snapshots_file_is_refused(plant, tmp_path, name):
    write_snapshot(tmp_path / "s", SNAPSHOT)
    (tmp_path / "s" / name).write_bytes(plant)
    with pytest.raises(Damaged):
        read_snapshot(tmp_path / "s")


@pytest.mark.parametrize("name", [TENSORS, META])
def test_a_pickle_whose_digest_was_mended_is_refused_too(plant, tmp_path, name):
    import hashlib

    write_snapshot(tmp_path / "s", SNAPSHOT)
    (tmp_path / "s" / name).write_bytes(plant)
    manifest = json.loads((tmp_path / "s" / MANIFEST).read_text())
    manifest["digests"][name] = hashlib.sha256(plant).hexdigest()
    (tmp_path / "s" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(Exception, match=r"(?i)header|utf-8|JSON|Expecting|decode"):
        read_snapshot(tmp_path / "s")


def test_a_pickled_checkpoint_is_passed_over(plant, tmp_path):
    kept = Checkpoints(tmp_path / "c")
    kept.save(1, SNAPSHOT)
    newest = kept.save(2, SNAPSHOT)
    (newest / TENSORS).write_bytes(plant)
    found = kept.latest()
    assert found is not None
    assert [one.step for one in kept.passed_over] == [2]


def test_a_pickled_stage_output_is_computed_again(plant, tmp_path):
    store, key = StageStore(tmp_path / "stages"), "ab" * 32
    with store.acquire(key, "t0") as claim:
        artifact = claim.publish(SNAPSHOT, Provenance())
    (artifact.path / TENSORS).write_bytes(plant)
    again = StageStore(tmp_path / "stages").acquire(key, "t1")
    assert not isinstance(again, Finished)
    assert "SHA-256" in (again.reason or "")
    again.release()


def test_a_pickled_array_in_an_imported_dataset_is_refused(plant, tmp_path):
    np.savez(tmp_path / "d-v0.npz", observations=np.array([plant, None], dtype=object))
    with pytest.raises(UserError, match="allow_pickle"):
        read_ogbench(tmp_path / "d-v0.npz")
    (tmp_path / "e-v0.npz").write_bytes(plant)
    with pytest.raises(UserError, match="cannot be read"):
        read_ogbench(tmp_path / "e-v0.npz")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['touch ran']", "a: !!python/name:os.system", "!!python/module:os"],
)
def test_yaml_that_names_python_is_refused(tmp_path, text):
    (tmp_path / "sweep.yaml").write_text(text)
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(tmp_path / "sweep.yaml")
    assert not (tmp_path / "ran").exists()
