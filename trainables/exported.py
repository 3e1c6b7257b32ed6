"""Load what `flowsweep export` wrote: a trial's policies, checked, without running code from the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .artifacts import Damaged, read_snapshot
from .base import Lane, Learner, Snapshot, Stage, load_system
from .config import parse
from .errors import UserError
from .source_ref import KINDS, NOTHING, SourceRef
from .user_code.code import names_code, read_code
from .user_code.known import declare

if TYPE_CHECKING:
    from .envs.policy import Policy

ABOUT = "export.json"
FORMAT = 1


@runtime_checkable
class ActingStage(Protocol):
    """A stage whose outputs stand for policies."""

    def policy(self, lanes: Sequence[Lane], outputs: Sequence[Snapshot], device: str) -> Policy:
        """The policies that stored outputs stand for, one lane per output."""
        ...


def policy_folder(seed: int) -> str:
    """Where the policy of a seed lies within an export."""
    return f"policy-seed-{seed}"


def load_policy(folder: str | Path, device: str = "cpu", *, code: str | None = None) -> Policy:
    """The exported policies as one policy of as many lanes as there are seeds; what they learnt from is not opened.

    Args:
        folder: what `flowsweep export` wrote.
        code: the file that the system is (``PATH.py:NAME``), where it is one of your own; no export says so.

    Raises:
        UserError: this is no export, is damaged, or its stage has no policies.
    """
    stage, lanes, outputs, _ = _read(Path(folder), code)
    if not isinstance(stage, ActingStage):
        raise UserError(f"{stage.name} learns no policy", key=str(folder), fix="Use `load_learner`.")
    return stage.policy(lanes, outputs, device)


def load_learner(folder: str | Path, device: str = "cpu", *, code: str | None = None) -> Learner:
    """The exported result as a learner that can be scored (``evaluate``) but not trained; opens what it learnt from.

    Raises:
        UserError: this is no export, is damaged, or what it learnt from is not here.
    """
    stage, lanes, outputs, about = _read(Path(folder), code)
    if not any(isinstance(about.get(kind), str | dict) for kind in (*KINDS, NOTHING.kind)):
        raise UserError(
            f"is damaged: {ABOUT} does not say what was learnt from", key=str(folder), fix="Export it again."
        )
    ref = SourceRef.among(about)
    source = load_system(about["system"]).open_source(ref.name)
    learnt_from = about[ref.kind].get("fingerprint") if isinstance(about[ref.kind], dict) else None
    if learnt_from not in (None, source.fingerprint):
        raise UserError(
            f"was learnt from other content than the {ref.kind} {ref.name} has here", key=str(folder),
            fix=f"Bring the same {ref.kind} here; `load_policy` needs none.",
        )  # fmt: skip
    metric = about.get("metric")
    stage.check(source, [metric.split("/", 1)[-1]] if isinstance(metric, str) else [])
    return stage.finished(lanes, outputs, source, device)


def load_outputs(folder: str | Path) -> list[dict[str, Any]]:
    """What a training function returned in each run, one per seed: tensors, arrays, numbers and text. No code is needed.

    Raises:
        UserError: this is no export of a training function, or is damaged.
    """
    from .user_code.learner import output_of

    place = Path(folder)
    found = _outputs(place, _about(place)["seeds"])
    if not all("output" in one.meta for one in found):
        raise UserError(
            "is of no training function", key=str(folder), fix="Use `load_policy` or `load_learner`."
        )
    return [output_of(one) for one in found]


def _outputs(folder: Path, seeds: Sequence[int]) -> list[Snapshot]:
    try:
        return [read_snapshot(folder / policy_folder(seed)) for seed in seeds]
    except Damaged as error:
        raise UserError(f"is damaged: {error.what}", key=str(error.path), fix="Export it again.") from None


def _read(
    folder: Path, code: str | None = None
) -> tuple[Stage, Sequence[Lane], Sequence[Snapshot], Mapping[str, Any]]:
    about = _about(folder)
    if code and names_code(about["system"]):
        declare(about["system"], read_code(code, Path.cwd(), key="code"))
    stage = load_system(about["system"]).stage(about["stage"])
    config = parse(stage.config_type, about["configs"].get(stage.name, {}), stage.name)
    outputs = _outputs(folder, about["seeds"])
    split = about.get("split", "tune")
    return stage, [Lane(config, seed, split=split) for seed in about["seeds"]], outputs, about


def _about(folder: Path) -> Mapping[str, Any]:
    """What an export says of itself, as far as it is read here: of the right types, nothing looked up yet."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError(about)
    except (OSError, ValueError, RecursionError):
        raise UserError(
            "is no export", key=str(folder), fix="Write one: `flowsweep export NAME DIR`."
        ) from None
    if about.get("format") != FORMAT:
        raise UserError(f"has format {about.get('format')!r}, this version reads {FORMAT}", key=str(folder))
    seeds = about.get("seeds")
    whole = isinstance(seeds, list) and bool(seeds) and all(type(seed) is int and seed >= 0 for seed in seeds)
    texts = all(isinstance(about.get(key), str) for key in ("system", "stage"))
    if not (whole and texts and isinstance(about.get("configs"), dict)):
        raise UserError(
            f"is damaged: {ABOUT} lacks system, stage, configs or seeds, or has them in another form",
            key=str(folder), fix="Export it again.",
        )  # fmt: skip
    return about
