"""Opening a dataset: flattened once under flowsweep's home, mapped into memory ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..home import dataset_cache
from . import checks
from .cache import FlatArrays, build_entry, file_digest, read_entry
from .dataset import DatasetInfo, FlatDataset
from .names import DatasetName, minari_data_path, parse_name
from .semantics import METADATA_KEY, family_of
from .source import RawEpisodes, Spaces, read_episodes, read_spaces, source_guard

LOADER_VERSION = 1
"""Raised whenever the same Minari dataset would give other arrays."""


def open_dataset(name: str, *, cache_dir: Path | None = None) -> FlatDataset:
    """Open an offline dataset for learning.

    The first time, its Minari files are read, checked, labelled and written as two Arrow files; later, in this or any
    other process, those are mapped into memory within milliseconds and the Minari files are not read. A dataset that
    is not on this machine is downloaded through Minari if its server answers.

    Args:
        name: Minari id ``namespace/name-vN``, optionally with ``#taskN`` to relabel an OGBench dataset with one of
            its tasks.
        cache_dir: where flat datasets are kept; :func:`dataset_cache` when None.

    Returns:
        Memory-mapped, read-only columns.

    Raises:
        UserError: the name is malformed or unknown, or the dataset cannot be learnt from (discrete or unbounded
            actions, image observations, NaN, damaged files); the message says what to do.
    """
    parsed = parse_name(name)
    data = minari_data_path(parsed.minari_id)
    if not (data / "metadata.json").exists():
        from .remote import fetch

        fetch(parsed.minari_id)
    entry = entry_path(parsed, data, cache_dir)
    return read_entry(entry) or build_entry(entry, lambda: _build(parsed, data))


def entry_path(name: DatasetName, data: Path, cache_dir: Path | None = None) -> Path:
    """Where the flat form of a dataset is, given its Minari files as they are now."""
    key = hashlib.sha256(f"{name} {source_guard(data)} {LOADER_VERSION}".encode()).hexdigest()[:16]
    return (cache_dir or dataset_cache()) / name.folder / key


def _build(name: DatasetName, data: Path) -> tuple[DatasetInfo, FlatArrays, Mapping[str, Any]]:
    storage, metadata = _minari_storage(data, str(name))
    spaces = read_spaces(storage.observation_space, storage.action_space, str(name))
    family = family_of(name, metadata, spaces)
    raw = read_episodes(storage, spaces, family.entries, family.infos, str(name))
    checks.refuse_non_finite(raw, str(name))
    labels = family.label(raw)
    actions, findings = checks.scale_actions(raw.actions, spaces)
    findings += checks.look_over(labels.rewards, labels.masks, raw.lengths)
    findings += [checks.Finding(level="note", text=note) for note in labels.notes]
    arrays = _arrays(raw, actions, labels.rewards, labels.masks)
    shaped_by = {
        "loader": LOADER_VERSION,
        "action_low": spaces.action_low.tolist(),
        "action_high": spaces.action_high.tolist(),
        "evaluation": labels.evaluation.model_dump(mode="json") if labels.evaluation else None,
    }
    info = _info(name, metadata, spaces, arrays, labels.evaluation, findings, arrays.digest(shaped_by))
    facts = {"loader_version": LOADER_VERSION, "family": family.name, "source": _source_facts(data, metadata)}
    return info, arrays, facts


def _minari_storage(data: Path, name: str) -> tuple[Any, dict[str, Any]]:
    from minari.dataset.minari_storage import MinariStorage

    from .simulators import gymnasium_with_robotics, silence

    try:
        metadata = MinariStorage.read_raw_metadata(data)
        if not {"observation_space", "action_space"} <= metadata.keys():
            gymnasium_with_robotics()  # Minari then builds the environment to ask it
        with silence():
            return MinariStorage.read(data), metadata
    except Exception as error:  # whatever Minari meets in a file that is not what it should be
        raise UserError(
            f"its metadata cannot be used ({type(error).__name__}: {error})",
            key="dataset",
            value=name,
            fix="Make, import or download it again.",
        ) from error


def _arrays(raw: RawEpisodes, actions: np.ndarray, rewards: np.ndarray, masks: np.ndarray) -> FlatArrays:
    boundaries = np.zeros(len(rewards), np.bool_)
    boundaries[raw.last_steps] = True
    return FlatArrays(raw.states, raw.rows.astype(np.int64), actions, rewards, masks, boundaries)


def _info(
    name: DatasetName,
    metadata: Mapping[str, Any],
    spaces: Spaces,
    arrays: FlatArrays,
    evaluation: Any,
    findings: list[Any],
    fingerprint: str,
) -> DatasetInfo:
    return DatasetInfo(
        name=str(name),
        fingerprint=fingerprint,
        episodes=int(arrays.boundaries.sum()),
        transitions=len(arrays.rows),
        observation_dim=arrays.states.shape[1],
        action_dim=arrays.actions.shape[1],
        action_low=tuple(spaces.action_low.tolist()),
        action_high=tuple(spaces.action_high.tolist()),
        reward_min=float(arrays.rewards.min()),
        reward_max=float(arrays.rewards.max()),
        terminal_share=float((arrays.masks == 0).mean()),
        ref_min_score=metadata.get("ref_min_score"),
        ref_max_score=metadata.get("ref_max_score"),
        evaluation=evaluation,
        findings=tuple(findings),
    )


def _source_facts(data: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("dataset_id", "minari_version", "requirements", METADATA_KEY)
    return {
        "files": {path.name: file_digest(path) for path in sorted(data.iterdir()) if path.is_file()},
        "metadata": {key: metadata[key] for key in kept if key in metadata},
    }
