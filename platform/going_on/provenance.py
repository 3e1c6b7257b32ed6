"""Where and with what a sweep ran, and what has changed since."""

from __future__ import annotations

import socket
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...trainables.code_digest import system_code
from ...trainables.code_version import code_version
from ..journal.events import SessionBegan
from ..sweep.plan import Plan

RECORDED_PACKAGES = (
    "ray",
    "torch",
    "optuna",
    "mlflow",
    "numpy",
    "gymnasium",
    "gymnasium-robotics",
    "mujoco",
    "ogbench",
)


def provenance(plan: Plan) -> dict[str, Any]:
    """What `sweep_started` says: the sweep, its plan, what it learns from, this code, this machine."""
    source = plan.spec.source
    return {
        "name": plan.spec.name,
        "spec": plan.spec.model_dump(mode="json"),
        "plan": plan.to_json(),
        "source": {
            **plan.source,
            "kind": source.kind,
            "name": source.name,
            "fingerprint": plan.fingerprint,
        },
        "code_version": code_version(),
        "code": system_code(plan.resolved.system),
        "flowsweep_version": version("flowsweep"),
        "host": socket.gethostname(),
        "device": "cuda" if plan.spec.resources.gpus else "cpu",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on; absent ones are left out."""
    found = {"python": sys.version.split()[0]}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def changed_since(started: SessionBegan, device: str) -> tuple[str, ...]:
    """What differs between a recorded environment and this one, in words."""
    then_now = {
        "device": (started.device, device),
        "flowsweep": (started.code_version, code_version()),
        **{name: (then, versions().get(name)) for name, then in started.versions.items()},
    }
    return tuple(f"{name}: {then} then, {now} now" for name, (then, now) in then_now.items() if then != now)
