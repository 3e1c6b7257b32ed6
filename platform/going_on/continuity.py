"""Whether a sweep that goes on is still the sweep that began: the same data, the same code, the same packages."""

from __future__ import annotations

from dataclasses import dataclass

from ...trainables.code_digest import code_differences, system_code
from ..errors import Refused
from ..journal.events import SessionBegan
from ..sweep.plan import Plan
from .provenance import versions


@dataclass(frozen=True)
class Changes:
    """What differs from when the sweep was last taken up, in words.

    Attributes:
        data, code: what old and new trials could not be compared over.
        packages: what may matter, and mostly does not.
    """

    data: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


def changes_since(plan: Plan, then: SessionBegan | None) -> Changes:
    """What has changed since a sweep was last started or resumed."""
    if then is None:
        return Changes()
    now = plan.fingerprint
    fingerprint = then.source.get("fingerprint")
    data = () if fingerprint in (None, now) else (f"fingerprint {fingerprint[:12]} then, {now[:12]} now",)
    code = then.code
    installed = versions()
    packages = tuple(
        f"{name} {version} then, {installed.get(name, 'none')} now"
        for name, version in then.versions.items()
        if installed.get(name) != version
    )
    return Changes(
        data, tuple(code_differences(code, system_code(plan.resolved.system))) if code else (), packages
    )


def check_unchanged(changes: Changes, plan: Plan, anyway: bool) -> None:
    """Refuse to go on over other data or with other code, unless it is asked for.

    Raises:
        Refused: with the difference.
    """
    if anyway:
        return
    fix = "Bring the old {} back, start a new sweep, or go on with `--anyway`; that is then on record."
    if changes.data:
        raise Refused(
            f"has changed since the sweep began: {'; '.join(changes.data)}",
            key=plan.spec.source.kind,
            value=plan.spec.source.name,
            fix=fix.format("data"),
        )
    if changes.code:
        raise Refused(
            f"has changed since the sweep was last run: {'; '.join(changes.code)}",
            key="system",
            value=plan.spec.system,
            fix=fix.format("code"),
        )
