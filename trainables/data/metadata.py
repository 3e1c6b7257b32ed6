"""The one reader of a Minari dataset's ``metadata.json``, which somebody else may have written.

Every value is checked where it is read and told with its place in the file. Nothing in it is ever imported, called or
built: an environment it names is a name, to be looked up among those that are installed (``envs.registered``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError

FILE = "metadata.json"
METADATA_KEY = "flowsweep"
"""Where provenance is kept in the metadata of the Minari datasets we write."""
OGBENCH_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+-v\d{1,3}")
"""Form of the names of OGBench datasets, from which an environment's name is made."""
SIMULATOR_STATE = ("qpos", "qvel", "button_states")
"""What OGBench's tasks are relabelled from, under these names among a dataset's infos."""
_FORMATS = ("hdf5", "arrow", "parquet")
_MOST_BYTES = 4 * 2**20
_MOST_NUMBERS = 10_000_000
"""Of one array of an observation or action: a camera picture has a few hundred thousand."""
_LONGEST, _DEEPEST = 200, 20
_SHOWN = 60
_LAST = 2**63 - 1


@dataclass(frozen=True)
class NamedEnvironment:
    """An environment as a dataset names it. Only ``id`` and ``kwargs`` are ever used, and both are checked before.

    Attributes:
        entry_point: where it says the environment is defined; never imported.
        wrappers: what it says was wrapped around; never applied.
    """

    id: str
    kwargs: Mapping[str, Any]
    max_episode_steps: int | None
    entry_point: str | None
    wrappers: tuple[str, ...]


@dataclass(frozen=True)
class Metadata:
    """What a dataset says of itself.

    Attributes:
        observation_space, action_space: in Minari's JSON form, of known types and sizes; None where not given.
        collected_in: the environment the data were collected in.
        evaluated_in: the environment it asks policies to be scored in, where that is another.
        provenance: the part that flowsweep writes.
        facts: what is kept for the record.
    """

    steps: int
    episodes: int
    data_format: str
    jpeg_encoding: bool
    observation_space: Mapping[str, Any] | None
    action_space: Mapping[str, Any] | None
    collected_in: NamedEnvironment | None
    evaluated_in: NamedEnvironment | None
    ref_min_score: float | None
    ref_max_score: float | None
    description: str | None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> NamedEnvironment | None:
        """The environment policies are scored in."""
        return self.evaluated_in or self.collected_in


def read_metadata(data: Path, name: str) -> Metadata:
    """Read and check ``metadata.json``.

    Args:
        data: the dataset's folder of files.
        name: the dataset, for messages.

    Raises:
        UserError: naming the place and what is wrong with it.
    """
    return _Reader(data / FILE, name).read()


class _Reader:
    def __init__(self, file: Path, name: str):
        self.file, self.name = file, name

    def wrong(self, place: str, rule: str, *value: Any) -> UserError:
        shown = f", not {_short(value[0])}" if value else ""
        where = f"`{place}` of its {FILE}" if place else f"its {FILE}"
        return UserError(
            f"{where} {rule}{shown}", key="dataset", value=self.name,
            fix=f"Correct {self.file}, or make, import or download the dataset again.",
        )  # fmt: skip

    def read(self) -> Metadata:
        try:
            if self.file.stat().st_size > _MOST_BYTES:
                raise self.wrong("", f"is larger than {_MOST_BYTES // 2**20} MiB")
            text = self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong("", f"cannot be read ({error})") from None
        facts = self.json(text, "")
        return Metadata(
            steps=self.count(facts, "total_steps"),
            episodes=self.count(facts, "total_episodes"),
            data_format=self.one_of(facts, "data_format", _FORMATS),
            jpeg_encoding=bool(facts.get("jpeg_encoding", True)),
            observation_space=self.space(facts, "observation_space"),
            action_space=self.space(facts, "action_space"),
            collected_in=self.environment(facts, "env_spec"),
            evaluated_in=self.environment(facts, "eval_env_spec"),
            ref_min_score=self.number(facts, "ref_min_score"),
            ref_max_score=self.number(facts, "ref_max_score"),
            description=_text_or_none(facts.get("description")),
            provenance=self.provenance(facts),
            facts={key: facts[key] for key in ("dataset_id", "minari_version", "requirements") if key in facts},
        )  # fmt: skip

    def json(self, text: str, place: str) -> dict[str, Any]:
        """A JSON object."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.wrong(place, f"is not valid JSON ({error})") from None
        if not isinstance(found, dict):
            raise self.wrong(place, "must be a JSON object", found)
        return found

    def count(self, facts: Mapping[str, Any], key: str) -> int:
        value = facts.get(key)
        # Some collections have numbers as floats.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not 0 <= value <= _LAST:
            raise self.wrong(key, "must be a whole number, 0 or above", value)
        return value

    def one_of(self, facts: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> str:
        value = facts.get(key)
        if not isinstance(value, str) or value not in allowed:
            raise self.wrong(key, f"must be one of {', '.join(allowed)}", value)
        return value

    def number(self, facts: Mapping[str, Any], key: str) -> float | None:
        value = facts.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self.wrong(key, "must be a finite number", value)
        return float(value)

    def text(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not value or len(value) > _LONGEST or not value.isprintable():
            raise self.wrong(place, f"must be a text of 1 to {_LONGEST} printable characters", value)
        return value

    def environment(self, facts: Mapping[str, Any], key: str) -> NamedEnvironment | None:
        stored = facts.get(key)
        if stored is None or stored == "":
            return None
        if not isinstance(stored, str):
            raise self.wrong(key, "must be a text that holds JSON", stored)
        spec = self.json(stored, key)
        kwargs = spec.get("kwargs") or {}
        if not isinstance(kwargs, dict):
            raise self.wrong(f"{key}.kwargs", "must be a JSON object", kwargs)
        steps = spec.get("max_episode_steps")
        if steps is not None and (
            isinstance(steps, bool) or not isinstance(steps, int) or not 0 < steps <= _LAST
        ):
            raise self.wrong(f"{key}.max_episode_steps", "must be a whole number above 0", steps)
        return NamedEnvironment(
            id=self.text(spec.get("id"), f"{key}.id"),
            kwargs=kwargs,
            max_episode_steps=steps,
            entry_point=_text_or_none(spec.get("entry_point")),
            wrappers=self.wrappers(spec, key),
        )  # fmt: skip

    def wrappers(self, spec: Mapping[str, Any], key: str) -> tuple[str, ...]:
        stored, place = spec.get("additional_wrappers") or (), f"{key}.additional_wrappers"
        if not isinstance(stored, list | tuple):
            raise self.wrong(place, "must be a list", stored)
        names = [one.get("name") if isinstance(one, dict) else one for one in stored]
        return tuple(self.text(name, place) for name in names)

    def space(self, facts: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
        stored = facts.get(key)
        if stored is None:
            return None
        if not isinstance(stored, str):
            raise self.wrong(key, "must be a text that holds JSON", stored)
        found = self.json(stored, key)
        self.check_space(found, key, _DEEPEST)
        return found

    def check_space(self, space: Any, place: str, depth: int) -> None:
        """Known types, and sizes that fit into memory; the rest is Minari's to read."""
        if not depth:
            raise self.wrong(place[:_LONGEST], f"must not be nested deeper than {_DEEPEST} spaces")
        kind = space.get("type") if isinstance(space, dict) else None
        if kind == "Box":
            self.check_shape(space.get("shape"), f"{place}.shape")
        elif kind in ("Dict", "Tuple"):
            parts = space.get("subspaces")
            named = (
                parts.items()
                if isinstance(parts, dict)
                else enumerate(parts if isinstance(parts, list) else ())
            )
            if not isinstance(parts, dict if kind == "Dict" else list):
                raise self.wrong(f"{place}.subspaces", "must hold the parts of the space", parts)
            for part, inner in named:
                self.check_space(inner, f"{place}.{part}", depth - 1)
        elif kind in ("MultiBinary", "Text"):
            size = space.get("n" if kind == "MultiBinary" else "max_length")
            self.check_shape(size if isinstance(size, list) else [size], place)
        elif kind not in ("Discrete", "MultiDiscrete"):
            raise self.wrong(f"{place}.type", "must be a kind of space that Minari stores", kind)

    def check_shape(self, shape: Any, place: str) -> None:
        whole = isinstance(shape, list) and len(shape) <= 8
        if not whole or not all(type(size) is int and 0 <= size <= _MOST_NUMBERS for size in shape):
            raise self.wrong(place, "must be sizes of axes", shape)
        if math.prod(shape) > _MOST_NUMBERS:
            raise self.wrong(place, f"must hold at most {_MOST_NUMBERS:,} numbers", shape)

    def provenance(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        ours = facts.get(METADATA_KEY)
        if ours is None:
            return {}
        if not isinstance(ours, dict):
            raise self.wrong(METADATA_KEY, "must be a JSON object", ours)
        if ours.get("family") == "ogbench":
            original, state = ours.get("ogbench_dataset"), ours.get("simulator_state")
            if (
                not isinstance(original, str)
                or not OGBENCH_NAME.fullmatch(original)
                or len(original) > _LONGEST
            ):
                raise self.wrong(
                    f"{METADATA_KEY}.ogbench_dataset", "must be the name of an OGBench dataset", original
                )
            if not isinstance(state, list) or not all(one in SIMULATOR_STATE for one in state):
                allowed = ", ".join(SIMULATOR_STATE)
                raise self.wrong(f"{METADATA_KEY}.simulator_state", f"must be a list of {allowed}", state)
        return ours


def _short(value: Any) -> str:
    text = "null" if value is None else ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _text_or_none(value: Any) -> str | None:
    return value[: 10 * _LONGEST] if isinstance(value, str) else None
