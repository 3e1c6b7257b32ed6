"""Descriptions of clusters of every kind, and the files rendered from them."""

from __future__ import annotations

from functools import cache

import pytest
from flowsweep.cluster.launch.description import Description, read_description
from flowsweep.cluster.launch.rendering import render

IMAGE = {"image": "registry.example.org/flowsweep:1"}
AWS = {**IMAGE, "machine": "g5.2xlarge", "aws.image_id": "ami-0123456789abcdef0"}
GCP = {
    **IMAGE,
    "machine": "n1-standard-8",
    "gcp.project": "p",
    "gcp.disk_image": "projects/p/global/images/i",
}
ONPREM = {"onprem.head": "10.0.0.1", "onprem.workers": "[10.0.0.2, 10.0.0.3]"}
KUBERAY = {**IMAGE, "kuberay.volume_claim": "shared"}
SLURM = {"activate": "source ~/flowsweep/bin/activate"}
WISHES: dict[str, tuple[str, dict[str, str]]] = {
    "aws": ("aws", AWS),
    "aws, all there is": (
        "aws",
        {**AWS, "gpus": "1", "spot": "true", "storage": "s3://bucket/prefix", "aws.instance_profile": "sweeps",
         "setup": "['sudo mount -t nfs4 fs:/ /shared']", "tracker_uri": "https://mlflow.example.org",
         "nodes.min": "1", "nodes.max": "20", "head_machine": "m7i.xlarge"},
    ),
    "gcp": ("gcp", GCP),
    "gcp, all there is": (
        "gcp",
        {**GCP, "gpus": "2", "spot": "true", "storage": "gs://bucket/prefix", "gcp.accelerator": "nvidia-tesla-t4",
         "gcp.service_account": "sweeps@p.iam.gserviceaccount.com"},
    ),
    "onprem": ("onprem", {**ONPREM, "activate": "source /opt/flowsweep/bin/activate"}),
    "onprem, all there is": (
        "onprem", {**ONPREM, **IMAGE, "onprem.ssh_key": "~/.ssh/lab", "tracker": "false", "gpus": "4"},
    ),
    "kuberay": ("kuberay", KUBERAY),
    "kuberay, all there is": (
        "kuberay",
        {**KUBERAY, "gpus": "2", "spot": "true", "kuberay.namespace": "sweeps", "storage": "s3://bucket/prefix",
         "kuberay.node_selector": "{cloud.example.org/spot: 'true'}"},
    ),
    "kuberay, a tracker elsewhere": (
        "kuberay", {**KUBERAY, "tracker": "false", "tracker_uri": "https://mlflow.example.org"},
    ),
    "slurm": ("slurm", SLURM),
    "slurm, all there is": (
        "slurm",
        {**SLURM, "gpus": "2", "spot": "true", "slurm.partition": "gpu", "slurm.account": "lab",
         "slurm.gpu_type": "a100", "nodes": "{min: 2, max: 8}", "setup": "['module load cuda']"},
    ),
}  # fmt: skip


@cache
def described(which: str) -> Description:
    kind, changes = WISHES[which]
    return read_description(None, kind, changes)


@cache
def texts(which: str) -> dict[str, str]:
    return {path: file.text for path, file in render(described(which)).items()}


@pytest.fixture(params=WISHES)
def which(request) -> str:
    """Each of the descriptions."""
    return request.param


@pytest.fixture
def description(which) -> Description:
    """A description."""
    return described(which)


@pytest.fixture
def rendered(which) -> dict[str, str]:
    """Its files: text by path."""
    return texts(which)


@pytest.fixture
def files_of():
    """The files of one of the descriptions, by its name here."""
    return texts


@pytest.fixture
def wishes() -> dict[str, tuple[str, dict[str, str]]]:
    """Kind and settings of every description."""
    return WISHES
