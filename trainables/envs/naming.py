"""Saying in which environment policies of a dataset are to be scored: written into the dataset, once it fits."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..data.dataset import EvaluationSpec
from ..data.flat import open_dataset
from ..data.metadata import FILE, read_metadata
from ..data.names import minari_data_path, parse_name
from ..errors import UserError
from .fit import Seen, tried
from .registered import plain_arguments, registered_spec


def attach_environment(
    dataset: str,
    environment: str,
    *,
    max_episode_steps: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> tuple[EvaluationSpec, Seen]:
    """Have policies that learn from a dataset scored in an environment, from now on and by everybody who reads it.

    It becomes the dataset's ``eval_env_spec``, which Minari understands too.

    Args:
        dataset: Minari id of a dataset on this machine, without a task.
        environment: id of a registered environment.
        max_episode_steps: after which episodes are cut; as registered when not given.
        arguments: of its constructor, plain values.

    Returns:
        How it is built, and what was seen of it.

    Raises:
        UserError: there is no such environment, it has no limit of steps, or it does not fit the dataset, which is then
            left as it was.
    """
    name = parse_name(dataset)
    if not (minari_data_path(name.minari_id) / FILE).is_file():
        raise UserError(
            "is not on this machine", key="dataset", value=dataset, fix="See `flowsweep data list`."
        )
    info = open_dataset(name.minari_id).info
    if read_metadata(minari_data_path(name.minari_id), name.minari_id).provenance.get("family") == "ogbench":
        raise UserError(
            "is of OGBench, whose tasks say where policies are scored", key="dataset", value=dataset,
            fix=f"Choose a task: `{name.minari_id}#task2`.",
        )  # fmt: skip
    registered = registered_spec(environment)
    limit = max_episode_steps or registered.max_episode_steps
    if limit is None:
        raise UserError(
            "is registered without a limit of steps, so that episodes might never end", key="environment",
            value=environment, fix="Give one: `--max-episode-steps 1000`.",
        )  # fmt: skip
    passed = plain_arguments(environment, arguments or {})
    if nested := [entry for entry in info.entries if len(entry) > 1]:
        raise UserError(
            f"its observation {'.'.join(nested[0])} lies deeper than environments are read", key="dataset", value=dataset,
            fix="Write it with a flat dict of arrays.",
        )  # fmt: skip
    keys = tuple(entry[0] for entry in info.entries if entry)
    spec = EvaluationSpec(
        library="gymnasium", id=environment, kwargs=passed, observation_keys=keys, action_low=info.action_low,
        action_high=info.action_high, max_episode_steps=limit,
    )  # fmt: skip
    seen = tried(info.model_copy(update={"evaluation": spec, "unscored": None, "defined_in": None}))
    _write(
        name.minari_id,
        replace(registered, kwargs={**registered.kwargs, **passed}, max_episode_steps=limit).to_json(),
    )
    return spec, seen


def _write(minari_id: str, spec: str) -> None:
    file = minari_data_path(minari_id) / FILE
    facts = json.loads(file.read_text(encoding="utf-8"))
    aside = file.with_name(f".{FILE}.{os.getpid()}")
    aside.write_text(json.dumps({**facts, "eval_env_spec": spec}), encoding="utf-8")
    os.replace(aside, file)
