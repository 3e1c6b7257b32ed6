"""Opening a dataset: flattened once under flowsweep's home, mapped into memory ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..home import dataset_cache
from . import checks
from .cache import FlatArrays, build_entry, file_digest, read_entry
from .dataset import DatasetInfo, EvaluationSpec, FlatDataset
from .metadata import METADATA_KEY, Metadata, NamedEnvironment, read_metadata
from .names import DatasetName, minari_data_path, parse_name
from .semantics import family_of
from .source import Entry, RawEpisodes, Spaces, read_episodes, read_spaces, source_guard

LOADER_VERSION = 1
"""Raised whenever the same Minari dataset would give other arrays; its fingerprint is then another."""
INFO_VERSION = 3
"""Raised whenever more is told of the same arrays, so that what older versions told is made anew."""


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
    key = hashlib.sha256(f"{name} {source_guard(data)} {LOADER_VERSION}.{INFO_VERSION}".encode()).hexdigest()[
        :16
    ]
    return (cache_dir or dataset_cache()) / name.folder / key


def _build(name: DatasetName, data: Path) -> tuple[DatasetInfo, FlatArrays, Mapping[str, Any]]:
    metadata = read_metadata(data, str(name))
    storage = _minari_storage(data, metadata, str(name))
    spaces = read_spaces(storage.observation_space, storage.action_space, str(name))
    family = family_of(name, metadata, spaces)
    raw = read_episodes(storage, metadata, spaces, family.entries, family.infos, str(name))
    checks.refuse_non_finite(raw, str(name))
    with np.errstate(over="ignore"):  # looked at below
        labels = family.label(raw)
    checks.refuse_unfit_rewards(raw.rewards, labels.rewards, str(name))
    actions, findings = checks.scale_actions(raw.actions, spaces, str(name))
    findings += checks.look_over_metadata(metadata, spaces, family.entries)
    findings += checks.look_over(labels.rewards, labels.masks, raw.lengths)
    findings += [checks.Finding(level="note", text=note) for note in labels.notes]
    arrays = _arrays(raw, actions, labels.rewards, labels.masks)
    shaped_by = {
        "loader": LOADER_VERSION,
        "action_low": spaces.action_low.tolist(),
        "action_high": spaces.action_high.tolist(),
        "evaluation": None
        if isinstance(labels.evaluation, str)
        else labels.evaluation.model_dump(mode="json"),
    }
    fingerprint = arrays.digest(shaped_by)
    info = _info(name, metadata, spaces, family.entries, arrays, labels.evaluation, findings, fingerprint)
    facts = {"loader_version": LOADER_VERSION, "family": family.name, "source": _source_facts(data, metadata)}
    return info, arrays, facts


def _minari_storage(data: Path, metadata: Metadata, name: str) -> Any:
    """Minari's reader of the files. Not its own way to one, which builds whatever environment the metadata names."""
    from minari.dataset._storages import get_minari_storage
    from minari.serialization import deserialize_space

    from .simulators import silence

    given = metadata.observation_space, metadata.action_space
    try:
        with silence():
            spaces = [None if space is None else deserialize_space(dict(space)) for space in given]
            if None in spaces:
                asked = _spaces_of_environment(metadata.collected_in)
                spaces = [found or other for found, other in zip(spaces, asked, strict=True)]
            reader = get_minari_storage(metadata.data_format)
            return reader(data, *spaces, jpeg_encoding=metadata.jpeg_encoding)  # type: ignore[arg-type]
    except UserError as error:
        raise UserError(
            f"it does not say what its observations and actions are, and the environment it names cannot be asked: "
            f"{error}", key="dataset", value=name,
        ) from error  # fmt: skip
    except Exception as error:  # whatever Minari meets in a file that is not what it should be
        raise UserError(
            f"its metadata cannot be used ({type(error).__name__}: {error})",
            key="dataset",
            value=name,
            fix="Make, import or download it again.",
        ) from error


def _spaces_of_environment(named: NamedEnvironment | None) -> tuple[Any, Any]:
    """Observation and action space of an installed environment."""
    from ..envs.build import make_environment  # imports simulators

    if named is None:
        raise UserError("there is none", key="env_spec")
    limit = named.max_episode_steps or 1
    environment = make_environment(
        EvaluationSpec(
            library="gymnasium",
            id=named.id,
            kwargs=named.kwargs,
            action_low=(),
            action_high=(),
            max_episode_steps=limit,
        )
    )
    environment.close()
    return environment.observation_space, environment.action_space


def _arrays(raw: RawEpisodes, actions: np.ndarray, rewards: np.ndarray, masks: np.ndarray) -> FlatArrays:
    boundaries = np.zeros(len(rewards), np.bool_)
    boundaries[raw.last_steps] = True
    return FlatArrays(raw.states, raw.rows.astype(np.int64), actions, rewards, masks, boundaries)


def _info(
    name: DatasetName,
    metadata: Metadata,
    spaces: Spaces,
    entries: Sequence[Entry],
    arrays: FlatArrays,
    evaluation: EvaluationSpec | str,
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
        entries=tuple(entries),
        action_low=tuple(spaces.action_low.tolist()),
        action_high=tuple(spaces.action_high.tolist()),
        reward_min=float(arrays.rewards.min()),
        reward_max=float(arrays.rewards.max()),
        terminal_share=float((arrays.masks == 0).mean()),
        ref_min_score=metadata.ref_min_score,
        ref_max_score=metadata.ref_max_score,
        evaluation=None if isinstance(evaluation, str) else evaluation,
        unscored=evaluation if isinstance(evaluation, str) else None,
        defined_in=metadata.environment.entry_point if metadata.environment else None,
        findings=tuple(findings),
    )


def _source_facts(data: Path, metadata: Metadata) -> dict[str, Any]:
    provenance = {METADATA_KEY: metadata.provenance} if metadata.provenance else {}
    return {
        "files": {path.name: file_digest(path) for path in sorted(data.iterdir()) if path.is_file()},
        "metadata": {**metadata.facts, **provenance},
    }
