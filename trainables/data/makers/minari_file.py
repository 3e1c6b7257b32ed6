"""Writing episodes as a Minari dataset that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..metadata import METADATA_KEY
from ..names import minari_root
from .recipe import Description, Episodes

_ASIDE = ".flowsweep-"  # Minari does not list hidden folders


def write_minari(
    minari_id: str,
    episodes: Episodes,
    description: Description,
    facts: Mapping[str, Any],
    replace: bool = False,
) -> None:
    """Write a Minari dataset in hdf5, under its id.

    Minari writes in place; here it is pointed at a folder aside, which is then renamed, so that a reader or a kill
    meets the whole dataset or none. hdf5, because Minari 0.5.4 reads long arrow and parquet episodes back wrongly.

    Args:
        minari_id: a name checked by :func:`~..names.parse_name`.
        facts: provenance kept under ``flowsweep`` in the dataset's metadata.
        replace: whether to take the place of a dataset of that id.
    """
    root = minari_root()
    root.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=root))
    try:
        with _minari_root_at(aside), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Minari asks for an author's e-mail
            _create(minari_id, episodes, description, facts)
        _sync_files(aside)
        _put_in_place(aside, root, minari_id, replace)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _create(minari_id: str, episodes: Episodes, description: Description, facts: Mapping[str, Any]) -> None:
    import minari

    dataset = minari.create_dataset_from_buffers(
        minari_id,
        list(_buffers(episodes)),
        eval_env=description.evaluation,
        observation_space=description.observation_space,
        action_space=description.action_space,
        algorithm_name=description.algorithm,
        author="flowsweep",
        code_permalink=f"flowsweep {version('flowsweep')}: {facts.get('made_by', 'trainables.data')}",
        description=description.text,
        requirements=description.requirements,
        data_format="hdf5",
        **({"env": description.environment} if description.environment is not None else {}),
    )
    # Reference scores go in afterwards: given to Minari they make it play the environment.
    dataset.storage.update_metadata(
        {
            "ref_min_score": description.ref_min_score,
            "ref_max_score": description.ref_max_score,
            METADATA_KEY: {**description.facts, **facts},
        }
    )


def _buffers(episodes: Episodes) -> Iterator[Any]:
    from minari.data_collector.episode_buffer import EpisodeBuffer

    step = state = 0
    for index, length in enumerate(episodes.lengths.tolist()):
        steps, states = slice(step, step + length), slice(state, state + length + 1)
        observations: Any = {name: column[states] for name, column in episodes.observations.items()}
        yield EpisodeBuffer(
            id=index,
            observations=observations.get("", observations),
            actions=episodes.actions[steps],  # type: ignore[arg-type]
            rewards=episodes.rewards[steps],  # type: ignore[arg-type]
            terminations=episodes.terminations[steps],  # type: ignore[arg-type]
            truncations=episodes.truncations[steps],  # type: ignore[arg-type]
            infos={name: column[states] for name, column in episodes.infos.items()} or None,
        )
        step, state = steps.stop, states.stop


@contextmanager
def _minari_root_at(folder: Path) -> Iterator[None]:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _put_in_place(aside: Path, root: Path, minari_id: str, replace: bool) -> None:
    final = root / minari_id
    final.parent.mkdir(parents=True, exist_ok=True)
    for namespace in (aside / minari_id).relative_to(aside).parents:
        described, wanted = aside / namespace / "namespace_metadata.json", root / namespace
        if described.exists() and not (wanted / described.name).exists():
            described.rename(wanted / described.name)
    if replace and final.exists():
        final.rename(aside / "replaced")
    (aside / minari_id).rename(final)
