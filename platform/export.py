"""Write one trial out: its policies, what it measured and where it comes from, in formats others read."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..trainables.artifacts import Damaged, verify
from ..trainables.checkpoints import Checkpoints, best_of, step_of
from ..trainables.exported import ABOUT, FORMAT, policy_folder
from .errors import Refused, UserError, nearest
from .export_readme import readme
from .paths import Home, SweepPaths
from .record.results import SweepState, TrialState, best, read_sweep, tables
from .store.base import size_of
from .store.opening import open_store
from .sweep.yaml_file import dump_yaml

RULE = (
    "the last evaluation counts, and these are the policies it scored; not those of the best one on the way"
)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        step: of its last stage, at which the policies were taken.
        files: by name within ``folder``, with their bytes.
    """

    folder: Path
    sweep: str
    trial: str
    step: int
    value: float | None
    files: Mapping[str, int]


def export(paths: SweepPaths, home: Home, folder: Path, trial: str = "best") -> Exported:
    """Write a trial out as ``folder``, which appears whole or not at all.

    Args:
        trial: a trial's name, or ``best``: the best by its confirmation where there is one.

    Raises:
        Refused: ``folder`` exists.
        UserError: there is no such trial, it left no policy, or a policy is damaged.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise Refused(
            "exists, and nothing is overwritten", key="DIR", value=str(folder), fix="Name a new folder."
        )
    record = read_sweep(paths)
    chosen = _chosen(record, trial)
    sources = _policies(record, chosen, home)
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}.aside"
    try:
        aside.mkdir(parents=True)
        _write(aside, record, chosen, sources)
        os.rename(aside, folder)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}",
            key="DIR",
            value=str(folder),
            fix="Name another folder.",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    files = {str(f.relative_to(folder)): size_of(f) for f in sorted(folder.rglob("*")) if f.is_file()}
    return Exported(folder, record.name, chosen.trial, chosen.progress[0], chosen.value, files)


def best_checkpoint(paths: SweepPaths, trial: TrialState) -> dict[str, Any] | None:
    """Where the state with the trial's best objective is kept, if it is: step, objective, path."""
    for folder in sorted((paths.trials / trial.trial).glob(f"{trial.through}*")):
        if found := best_of(folder):
            return {"step": step_of(found), "value": Checkpoints(folder).best_value(), "path": str(found)}
    return None


def _chosen(record: SweepState, trial: str) -> TrialState:
    if trial != "best":
        if trial not in record.trials:
            raise UserError(
                "no such trial in this sweep", key="--trial", value=trial, fix=nearest(trial, record.trials)
            )
        return record.trials[trial]
    row = best(record)
    if row is None:
        raise UserError("no trial of this sweep has finished", fix=f"See `flowsweep show {record.name}`.")
    return record.trials[row.trial]


def _policies(record: SweepState, trial: TrialState, home: Home) -> dict[int, Path]:
    """A verified folder with the last stage's output for every seed: the trial's own, or a shared one of the store."""
    root = record.paths.root
    own = [root / artifact.path for artifact in trial.artifacts if artifact.role == "policy"]
    keys = {use.seed: use.key for use in trial.stages if use.stage == trial.through}
    found: dict[int, Path] = {}
    try:
        for seed in trial.seeds:
            folder = record.paths.trials / trial.trial / policy_folder(seed)
            if folder in own:
                verify(folder)
                found[seed] = folder
            elif seed in keys:
                store = open_store(home, record.spec.get("storage", {}).get("stages"))
                found[seed] = store.fetch(keys[seed])
    except Damaged as error:
        raise UserError(
            f"the policy is damaged: {error.what}", key=str(error.path),
            fix=f"Train it again: `flowsweep rerun {record.name} --trial {trial.trial}`.",
        ) from None  # fmt: skip
    except KeyError:
        raise UserError(
            "its policy is no longer in the stage store", key="--trial", value=trial.trial,
            fix=f"Train it again: `flowsweep rerun {record.name} --trial {trial.trial}`.",
        ) from None  # fmt: skip
    if len(found) < len(trial.seeds):
        step, steps = trial.progress
        raise UserError(
            f"it left no policy: {trial.status} at step {step:,} of {steps:,}", key="--trial", value=trial.trial,
            fix="Only a trial that ran to its end leaves one.",
        )  # fmt: skip
    return found


def _write(aside: Path, record: SweepState, trial: TrialState, sources: Mapping[int, Path]) -> None:
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    for seed, source in sources.items():
        shutil.copytree(source, aside / policy_folder(seed))
        verify(aside / policy_folder(seed))
    about = _about(record, trial)
    stages = {name: dict(config) for name, config in trial.configs.items()}
    spec = record.spec
    config = {"system": spec["system"], **record.source.named, "stages": stages}
    (aside / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    (aside / ABOUT).write_text(json.dumps(about, indent=2, allow_nan=False), encoding="utf-8")
    every = tables(record)
    for name, table in (("metrics", every["curves"]), ("episodes", every["episodes"])):
        mine = table.filter(compute.field("trial") == trial.trial)
        parquet.write_table(mine, aside / f"{name}.parquet", compression="zstd")
    (aside / "README.md").write_text(readme(about), encoding="utf-8")


def _about(record: SweepState, trial: TrialState) -> dict[str, Any]:
    """Everything a person or a program must know to use and to trust it."""
    started, (step, steps) = record.started, trial.progress
    assert started is not None
    value = trial.value if trial.value is not None and abs(trial.value) < float("inf") else None
    return {
        "format": FORMAT,
        "sweep": record.name,
        "trial": trial.trial,
        "confirms": trial.confirms,
        "system": record.spec["system"],
        "stage": trial.through,
        "seeds": list(trial.seeds),
        "split": "tune" if trial.phase == "search" else "test",
        "params": dict(trial.params),
        "configs": {name: dict(config) for name, config in trial.configs.items()},
        "metric": f"{trial.through}/{record.metric.bare}",
        "value": value,
        "step": step,
        "steps": steps,
        "rule": RULE,
        "best_checkpoint": best_checkpoint(record.paths, trial),
        record.source.kind: {
            "name": record.source.name,
            "fingerprint": record.source_facts.get("fingerprint"),
        },
        "stage_keys": {f"{use.stage} seed {use.seed}": use.key for use in trial.stages},
        **{
            name: getattr(started, name)
            for name in ("flowsweep_version", "code_version", "device", "versions")
        },
    }
