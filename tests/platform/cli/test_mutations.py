"""Shipped sweeps made wrong at random: `plan` answers each with a key and a rule, and what it accepts can be run.

The default run tries a few of every sweep; `pytest -m slow tests/platform/cli/test_mutations.py` tries a thousand.
"""

from __future__ import annotations

import importlib.util
import json
import re
import time
from pathlib import Path

import pytest
from flowsweep.platform.search.draws import sample
from flowsweep.platform.store.stages import StageStore
from flowsweep.platform.sweep.resolve import resolve
from flowsweep.platform.sweep.spec import load_spec, shipped_sweeps
from flowsweep.platform.sweep.yaml_file import dump_yaml, read_yaml
from flowsweep.trainables.errors import Diverged, UserError
from flowsweep.trainables.request import TrialRequest
from flowsweep.trainables.walk import Walk

SUPPORT = Path(__file__).parents[2] / "support"
TOLD = re.compile(r"(Error: )?(- )?\S+: .{8,}")
"""A mistake as it is told: the place or key, and what is wrong with it."""
LIMIT_S = 20
FEW, MANY = 8, 1000


@pytest.fixture(scope="session")
def mutated():
    spec = importlib.util.spec_from_file_location("mutations", SUPPORT / "mutations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mutated


@pytest.fixture
def sweep(request, mutated, umaze_dataset):
    """Writes one wrong file: of what the sweep's file says, or of all its settings written out."""

    def write(name: str, seed: int, path: Path) -> None:
        file = shipped_sweeps()[name]
        text, values = file.read_text(), read_yaml(file)
        if str(values.get("dataset", "")).startswith("flowsweep/"):
            text = text.replace(values["dataset"], umaze_dataset)
            values["dataset"] = umaze_dataset
        full = json.loads(load_spec(file).model_dump_json(exclude_none=True)) | values
        path.write_bytes(
            mutated(text, values if seed % 2 else full, seed, dump_yaml).encode(errors="surrogatepass")
        )

    return write


def judge(run, path: Path, seed: int) -> bool:
    """Plan the file; True where it is accepted."""
    begun = time.process_time()
    code, _, err = run("plan", str(path))  # anything but a message would be raised here
    assert time.process_time() - begun < LIMIT_S, seed
    assert code in (0, 2, 3, 4), (seed, err)
    for line in err.strip().splitlines():
        assert TOLD.fullmatch(line), (seed, line)
    assert (code == 0) == (not err), (seed, err)
    assert len(err) < 20_000, seed
    return code == 0


@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_a_few_wrong_files_of_every_shipped_sweep(run, sweep, name, tmp_path):
    for seed in range(FEW):
        sweep(name, seed, tmp_path / "s.yaml")
        judge(run, tmp_path / "s.yaml", seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped_sweeps()))
def test_a_thousand_wrong_files_of_every_shipped_sweep(run, sweep, name, tmp_path):
    accepted = 0
    for seed in range(MANY):
        path = tmp_path / "s.yaml"
        sweep(name, seed, path)
        if judge(run, path, seed):
            accepted += 1
            if accepted % 10 == 1:
                goes_some_steps(path, tmp_path / f"run-{seed}")


def goes_some_steps(path: Path, place: Path) -> None:
    """Walk the first configuration drawn through stages of three updates, in this process."""
    spec = load_spec(path)
    resolved = resolve(spec)
    resolved = resolve(spec, resolved.system.open_source(spec.source.name))
    configs = resolved.trial_configs(sample(resolved.spec.search, resolved.space))
    for config in configs.values():
        config["steps"] = min(config["steps"], 3)
    request = TrialRequest(
        trial="t0000", system=spec.system, source=spec.source, configs=configs, seeds=spec.seeds.tune[:1],
        through=resolved.stage, episodes=1,
    )  # fmt: skip
    try:
        for _ in Walk(request, StageStore(place / "stages"), place / "trial"):
            pass
    except (Diverged, UserError):  # a radius of 1e9 may do that
        pass


def test_an_accepted_sweep_goes_some_steps(tmp_path):
    goes_some_steps(shipped_sweeps()["drill"], tmp_path)
