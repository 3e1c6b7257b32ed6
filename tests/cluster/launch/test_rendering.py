"""Every rendered file is what the tool it is for takes, by that tool's own schema or reading."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml
from flowsweep.cluster.launch.checks import check_files, ray_refuses
from flowsweep.cluster.profiles import Profiles
from flowsweep.trainables.config import parse
from packaging.requirements import Requirement
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parents[2] / "support" / "schemas"
PROGRAMS = Path(sys.executable).parent


@cache
def schema(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def mistakes(document: dict, name: str, kind: str | None = None) -> list[str]:
    """What a schema says against a document."""
    pool = [("urn:kubernetes", schema("kubernetes")), ("urn:kuberay", schema("kuberay"))]
    registry = Registry().with_resources((urn, Resource.from_contents(content)) for urn, content in pool)
    against = {"$ref": f"urn:{name}#/$defs/{kind}"} if kind else schema(name)
    validator = jsonschema.Draft202012Validator(against, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def manifests(rendered: dict[str, str]) -> list[dict]:
    kept = [
        text for path, text in rendered.items() if path in ("raycluster.yaml", "rayjob.yaml", "tracker.yaml")
    ]
    return [document for text in kept for document in yaml.safe_load_all(text)]


def program(name: str) -> str:
    """A checker from the development requirements."""
    found = shutil.which(name, path=str(PROGRAMS))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_ray_takes_its_cluster_file(rendered):
    if "ray-cluster.yaml" not in rendered:
        assert {"raycluster.yaml", "sweep.sbatch"} & set(rendered)
        return
    assert ray_refuses(yaml.safe_load(rendered["ray-cluster.yaml"])) is None


@pytest.mark.parametrize(
    "wrong", [{"max_worker": 2}, {"max_workers": "two"}, {"head_node_type": "nobody"}, {"provider": {}}]
)
def test_rays_check_refuses_what_ray_would(files_of, wrong):
    assert ray_refuses({**yaml.safe_load(files_of("aws")["ray-cluster.yaml"]), **wrong})


def test_manifests_are_what_kubernetes_and_kuberay_take(rendered):
    for document in manifests(rendered):
        name = "kuberay" if document["apiVersion"] == "ray.io/v1" else "kubernetes"
        assert mistakes(document, name, document["kind"]) == []


def test_the_schemas_refuse_what_is_unknown_and_what_is_of_another_type(files_of):
    cluster, job = (yaml.safe_load(files_of("kuberay")[name]) for name in ("raycluster.yaml", "rayjob.yaml"))
    cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["img"] = "x"
    job["spec"]["backoffLimit"] = "twice"
    assert ["img" in one for one in mistakes(cluster, "kuberay", "RayCluster")] == [True]
    assert ["backoffLimit" in one for one in mistakes(job, "kuberay", "RayJob")] == [True]
    compose = yaml.safe_load(files_of("aws")["tracker/compose.yaml"])
    compose["services"]["tracker"]["port"] = []
    assert mistakes(compose, "compose-spec")


def test_compose_takes_the_tracking_server(rendered):
    if "tracker/compose.yaml" in rendered:
        assert mistakes(yaml.safe_load(rendered["tracker/compose.yaml"]), "compose-spec") == []


def test_every_volume_and_secret_that_is_mounted_is_one_of_the_pods(rendered):
    for document in manifests(rendered):
        for pod in pods(document):
            volumes = {volume["name"] for volume in pod["volumes"]} | claims(document)
            mounts = {mount["name"] for box in pod["containers"] for mount in box["volumeMounts"]}
            assert mounts == volumes


def pods(node) -> list[dict]:
    """Every pod described anywhere in a document."""
    if isinstance(node, list):
        return [pod for item in node for pod in pods(item)]
    if not isinstance(node, dict):
        return []
    own = [node] if "containers" in node else []
    return own + [pod for item in node.values() for pod in pods(item)]


def claims(document: dict) -> set[str]:
    return {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}


def test_scripts_are_read_by_their_shell_without_a_finding(rendered, tmp_path):
    for path, text in rendered.items():
        if path.endswith((".sh", ".sbatch")):
            file = tmp_path / Path(path).name
            file.write_text(text)
            # The environment's own script is not there to be followed.
            read = subprocess.run(
                [program("shellcheck"), "--exclude=SC1090,SC1091", file],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert read.returncode == 0, read.stdout


def test_dockerfiles_are_read_without_a_finding(rendered, tmp_path):
    for path, text in rendered.items():
        if path.endswith("Dockerfile"):
            # Versions of the two clients are given as lower bounds.
            read = subprocess.run(
                [program("hadolint"), "--ignore=DL3013", "-"],
                input=text, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert read.returncode == 0, read.stdout + read.stderr


def test_every_node_asks_for_a_token(rendered):
    for path, text in rendered.items():
        if path == "ray-cluster.yaml":
            config = yaml.safe_load(text)
            starts = [
                c
                for key in ("head", "worker")
                for c in config[f"{key}_start_ray_commands"]
                if "ray start" in c
            ]
            assert len(starts) == 2
            assert all("RAY_AUTH_MODE=token" in command for command in starts)
            assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
            assert "--dashboard-host=127.0.0.1" in starts[0]
        elif path in ("raycluster.yaml", "rayjob.yaml"):
            spec = yaml.safe_load(text)["spec"]
            assert spec.get("rayClusterSpec", spec)["authOptions"] == {"mode": "token"}
        elif path == "sweep.sbatch":
            before, _, after = text.partition("export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=")
            assert "ray start" in after
            assert "ray start" not in before


def test_no_file_holds_a_secret(rendered):
    assert check_files(rendered) == []
    for text in rendered.values():
        assert not re.search(r"postgresql(\+psycopg)?://[^\s/@]+:[^\s/@]+@", text)


@pytest.mark.parametrize(
    "planted",
    [
        "export PGPASSWORD=correct-horse",
        "  - name: AWS_SECRET_ACCESS_KEY\n    value: abcdefgh12345",
        "database: postgresql://mlflow:correct-horse@db/mlflow",
        "{name: RAY_AUTH_TOKEN, value: 0123456789abcdef}",
    ],
)
def test_a_secret_that_somebody_wrote_in_is_found(planted):
    found = check_files({"sweep.sbatch": f"#!/bin/bash\n{planted}\n"})
    assert any("holds a secret" in str(one) for one in found)
    assert "horse" not in " ".join(map(str, found))


def test_the_profile_is_one_that_submit_takes(rendered):
    if "clusters.toml" in rendered:
        (profile,) = parse(Profiles, tomllib.loads(rendered["clusters.toml"])).clusters.values()
        assert profile.token_file
        assert profile.home == "/shared/flowsweep"


def test_requirements_are_the_versions_installed_here(files_of):
    import ray

    lines = [line for line in files_of("aws")["requirements.txt"].splitlines() if not line.startswith("#")]
    wanted = {one.name: one for one in map(Requirement, lines)}
    assert wanted["ray"].specifier.contains(ray.__version__)
    assert wanted["ray"].extras == {"default", "tune", "train"}
    assert {"torch", "mlflow", "optuna", "psycopg"} <= set(wanted)
    assert not any("+" in str(one.specifier) for one in wanted.values())


def test_what_a_user_writes_stays_one_value(wishes):
    from flowsweep.cluster.launch.description import read_description
    from flowsweep.cluster.launch.rendering import render

    odd = """sudo mount "a b" '$(x)' : # {{ kind }}"""
    kind, changes = wishes["aws"]
    given = read_description(None, kind, {**changes, "setup": json.dumps([odd])})
    config = yaml.safe_load(render(given)["ray-cluster.yaml"].text)
    assert config["initialization_commands"] == [odd]
