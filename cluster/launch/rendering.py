"""Launcher files from a description: which there are for each kind, and what stands in them."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from packaging.requirements import Requirement

from ...platform.sweep.yaml_file import dump_yaml
from .description import Description

HERE = __name__.rpartition(".")[0]
PACKAGE = HERE.partition(".")[0]
_TRACKER = {
    "tracker/Dockerfile": "tracker/Dockerfile",
    "tracker/entry.sh": "tracker/entry.sh",
    "tracker/.gitignore": "tracker/gitignore",
}
_COMPOSE = {**_TRACKER, "tracker/compose.yaml": "tracker/compose.yaml"}
_RAY = {
    "ray-cluster.yaml": "ray/ray-cluster.yaml",
    "README.md": "ray/README.md",
    "clusters.toml": "clusters.toml",
}
_FILES: dict[str, dict[str, str]] = {
    **dict.fromkeys(("aws", "gcp", "onprem"), _RAY),
    "kuberay": {
        "raycluster.yaml": "kuberay/raycluster.yaml",
        "rayjob.yaml": "kuberay/rayjob.yaml",
        "README.md": "kuberay/README.md",
        "clusters.toml": "clusters.toml",
    },
    "slurm": {"sweep.sbatch": "slurm/sweep.sbatch", "README.md": "slurm/README.md"},
}


@dataclass(frozen=True)
class File:
    """One file to write."""

    text: str
    executable: bool = False


def render(given: Description) -> dict[str, File]:
    """Every file for a cluster as described, by its path in the folder."""
    values = _values(given)
    files = {path: File(_render(template, values)) for path, template in _templates(given).items()}
    files["requirements.txt"] = File(requirements())
    files["cluster.yaml"] = File(
        "# What this cluster is; the other files are rendered from it by `flowsweep cluster init`.\n"
        + dump_yaml(given.model_dump(mode="json", exclude_unset=True))
    )
    return {path: _with_mode(path, file) for path, file in sorted(files.items())}


def _with_mode(path: str, file: File) -> File:
    return File(file.text, path.endswith((".sh", ".sbatch")))


def _templates(given: Description) -> Mapping[str, str]:
    files = dict(_FILES[given.kind])
    if given.image is not None:
        files["Dockerfile"] = "Dockerfile"
    if given.tracker:
        if given.kind == "kuberay":
            files |= {**_TRACKER, "tracker.yaml": "kuberay/tracker.yaml"}
        else:
            files |= _COMPOSE
    return files


def _values(given: Description) -> dict[str, Any]:
    """What templates may name."""
    tracker_uri = given.tracker_uri
    if given.kind == "kuberay" and given.tracker:
        tracker_uri = f"http://{given.name}-tracker:5000"
    python = sys.version_info
    variables = {
        "RAY_AUTH_MODE": "token",
        "FLOWSWEEP_HOME": given.home,
        "MINARI_DATASETS_PATH": f"{given.home}/minari",
        "RAY_JOB_STOP_WAIT_TIME_S": "180",
    }
    return {
        **{name: getattr(given, name) for name in Description.model_fields},
        "tracker_uri": tracker_uri,
        "tracked": given.tracker or given.tracker_uri is not None,
        "tracker_image": _beside(given.image) if given.image else None,
        "allowed_hosts": _allowed_hosts(given, tracker_uri),
        "token_file": f"~/.config/flowsweep/{given.name}.token" if given.kind == "kuberay" else "~/.ray/auth_token",
        "shell_prefix": f"{given.activate} && " if given.activate and not given.image else "",
        "node_variables": " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()),
        "ray_version": version("ray"),
        "mlflow_version": version("mlflow"),
        "python_version": f"{python.major}{python.minor}",
        "python_dotted": f"{python.major}.{python.minor}",
    }  # fmt: skip


def _beside(image: str) -> str:
    """The tracking server's image, named after the nodes'."""
    name, colon, tag = image.rpartition(":")
    return f"{name}-tracker:{tag}" if colon and "/" not in tag else f"{image}-tracker"


def _allowed_hosts(given: Description, tracker_uri: str | None) -> str:
    hosts = ["localhost", "localhost:*", "127.0.0.1:*"]
    if tracker_uri:
        host = tracker_uri.partition("://")[2].partition("/")[0]
        hosts += [host, *([host.partition(":")[0]] if ":" in host else [])]
    if given.kind == "kuberay":
        namespace = given.kuberay.namespace
        hosts += [
            f"{given.name}-tracker.{namespace}:5000",
            f"{given.name}-tracker.{namespace}.svc.cluster.local:5000",
        ]
    return ",".join(hosts)


def _render(template: str, values: Mapping[str, Any]) -> str:
    text = _environment().get_template(f"{template}.j2").render(values)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r"[ \t]+\n", "\n", text).rstrip("\n") + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(HERE, "templates"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        comment_start_string="{=#", comment_end_string="#=}",  # `${#nodes[@]}` is bash's own
    )  # fmt: skip
    # JSON is YAML (and, for text and lists, TOML): whatever a value holds, it stays one value.
    environment.filters["y"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["sh"] = shlex.quote
    return environment


def requirements() -> str:
    """What flowsweep requires, at the versions installed here, since nodes and driver must agree."""
    wanted = [Requirement(text) for text in requires(PACKAGE) or []]
    # Nodes reach the study's database; and what is an extra here, they need where this machine has it.
    extras = ["postgresql", *(["ogbench"] if find_spec("ogbench") else [])]
    lines = [
        _pinned(one)
        for one in wanted
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]
    head = "# What flowsweep requires, at the versions of the machine this was rendered on.\n"
    return head + "".join(f"{line}\n" for line in sorted(set(lines)))


def _pinned(wanted: Requirement) -> str:
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    try:
        # A build's own mark (2.9.0+cpu) is this machine's: the nodes take the build that fits them.
        return f"{wanted.name}{extras}=={version(wanted.name).partition('+')[0]}"
    except PackageNotFoundError:
        return f"{wanted.name}{extras}{wanted.specifier}"
