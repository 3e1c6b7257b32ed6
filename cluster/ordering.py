"""From what a person asks for to what is sent: everything that can be found wrong here never reaches the cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..platform.sweep.resolve import resolve
from ..platform.sweep.spec import SweepSpec, sweep_file
from ..platform.sweep.yaml_file import overridden, placed, read_yaml
from ..trainables.config import parse
from ..trainables.errors import PackageMissing
from ..trainables.user_code.code import Code, names_code, read_code
from ..trainables.user_code.known import declare
from .joining import ALLOWED
from .plugins import importable, lay_out
from .profiles import Profile, profile_file
from .submit import SWEEP_FILE, Order


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for.

    Attributes:
        sweep: a sweep file, or the name of a shipped sweep.
        changes: dotted key to a value in YAML notation.
        home, python: instead of the profile's.
        variables: besides the profile's.
        packages: folders or wheels, besides the profile's.
        allow_insecure: said of the cluster, and so of what joins it there.
        resume: go on with what is on record there, whatever the file says.
    """

    sweep: str
    changes: Mapping[str, str] = field(default_factory=dict)
    home: str | None = None
    python: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    resume: bool = False
    allow_insecure: bool = False


@contextmanager
def ordered(wishes: Wishes, profile: Profile) -> Iterator[tuple[Order, str]]:
    """The order, and what could not be checked here because a package is missing; for as long as its packages lie ready.

    Raises:
        UserError, UserErrors: something about the sweep or a package cannot work.
    """
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flowsweep-")))
        beside = profile_file().parent
        places = [*(str(beside / Path(place).expanduser()) for place in profile.packages), *wishes.packages]
        plugins = [lay_out(place, scratch / str(number)) for number, place in enumerate(places)]
        stack.enter_context(importable(scratch / str(number) for number in range(len(plugins))))
        file, unchecked = sweep_file(wishes.sweep), ""
        content = with_defaults({"name": file.stem, **overridden(read_yaml(file), wishes.changes)}, profile)
        code = _code_of(content, file.parent)
        with placed(file, wishes.changes):
            spec = parse(SweepSpec, content)
            try:
                resolve(spec)  # data and cores are looked at there
            except PackageMissing as error:
                unchecked = str(error)
        allowed = {ALLOWED: "1"} if wishes.allow_insecure or profile.allow_insecure else {}
        arguments = ("take-up", SWEEP_FILE)
        if wishes.resume:
            arguments = ("resume", spec.name, *([code.name] if code else []))
        yield (
            Order(
                name=spec.name,
                arguments=arguments,
                content=content,
                spec={} if wishes.resume else spec.model_dump(mode="json"),
                python=wishes.python or profile.python,
                home=wishes.home or profile.home,
                variables={**allowed, **profile.env, **wishes.variables},
                packages=tuple(plugins),
                code=code,
            ),
            unchecked,
        )


def _code_of(content: dict[str, Any], beside: Path) -> Code | None:
    """The file of the user's own that the sweep is of, if it is; the sweep then names it as it will lie beside it."""
    system = content.get("system")
    if not isinstance(system, str) or not names_code(system):
        return None
    code = read_code(system, beside)
    content["system"] = code.name
    declare(code.name, code)
    return code


def with_defaults(content: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """A sweep file's content with what the cluster's profile says wherever the file says nothing."""
    merged = dict(content)
    said = {
        "tracking": {"uri": profile.tracker},
        "storage": {"stages": profile.stages},
        "resources": profile.resources,
    }
    for part, values in said.items():
        known = {key: value for key, value in values.items() if value is not None}
        if known and isinstance(merged.get(part) or {}, Mapping):
            merged[part] = {**known, **(merged.get(part) or {})}
    return merged
