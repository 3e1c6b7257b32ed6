"""What a cluster is to be: the one small description that every launcher file is rendered from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ...platform.errors import UserError, UserErrors
from ...platform.sweep.yaml_file import overridden, placed, read_yaml
from ...platform.tracking.check import checked_uri
from ...trainables.config import FrozenConfig, parse

KINDS = ("aws", "gcp", "onprem", "kuberay", "slurm")
WORD = r"^[A-Za-z0-9][A-Za-z0-9._:@/+=,-]*$"
"""Values that stand unquoted in a script hold nothing a shell would act on."""
_IMAGE = "registry.example.org/flowsweep:1"
_IMAGES = "a machine image with Docker, and with the NVIDIA driver where there are GPUs"


class Nodes(FrozenConfig):
    """How many machines work, beside the head."""

    min: int = Field(default=0, ge=0, le=10_000)
    """Kept even when idle."""
    max: int = Field(default=2, ge=1, le=10_000)
    """Never more."""

    @model_validator(mode="after")
    def _ordered(self) -> Nodes:
        if self.min > self.max:
            raise ValueError(f"nodes.min is {self.min}, more than nodes.max, {self.max}")
        return self


class Aws(FrozenConfig):
    """What only Amazon's machines need."""

    region: str = Field(default="us-west-2", pattern=WORD)
    """Region the machines are in."""
    image_id: str | None = Field(default=None, pattern=r"^(ami-[0-9a-f]+)$")
    """A machine image with Docker, and with the NVIDIA driver where there are GPUs."""
    instance_profile: str | None = Field(default=None, pattern=WORD)
    """Name of the instance profile that lets every node use the storage."""


class Gcp(FrozenConfig):
    """What only Google's machines need."""

    project: str | None = Field(default=None, pattern=WORD)
    """Id of the project that pays."""
    region: str = Field(default="us-west1", pattern=WORD)
    """Region the machines are in."""
    zone: str = Field(default="us-west1-b", pattern=WORD)
    """Zone the machines are in."""
    disk_image: str | None = Field(default=None, pattern=WORD)
    """A machine image with Docker, and with the NVIDIA driver where there are GPUs."""
    accelerator: str | None = Field(default=None, pattern=WORD)
    """Kind of GPU, such as `nvidia-tesla-t4`, for machines whose type does not include them."""
    service_account: str | None = Field(default=None, pattern=WORD)
    """Address of the service account that lets every node use the storage."""


class Onprem(FrozenConfig):
    """Machines that are there already and can be reached by ssh."""

    head: str | None = Field(default=None, pattern=WORD)
    """Address of the head node."""
    workers: tuple[str, ...] = ()
    """Addresses of the other nodes."""
    ssh_user: str = Field(default="ubuntu", pattern=WORD)
    """User to log in as; the same on every node."""
    ssh_key: str | None = None
    """Private key to log in with, a path; else ssh's own ways."""

    @field_validator("workers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a node twice")
        return value


class Kuberay(FrozenConfig):
    """What only Kubernetes needs."""

    namespace: str = Field(default="default", pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)$")
    """Namespace everything is made in."""
    volume_claim: str | None = Field(default=None, pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)$")
    """An existing PersistentVolumeClaim, ReadWriteMany, that is mounted as `home` on every node."""
    gpu_resource: str = Field(default="nvidia.com/gpu", pattern=WORD)
    """Name under which the cluster counts its GPUs."""
    node_selector: Mapping[str, str] = {}
    """Labels of the machines that workers may run on, such as `{cloud.google.com/gke-spot: "true"}`."""


class Slurm(FrozenConfig):
    """What only Slurm needs."""

    partition: str | None = Field(default=None, pattern=WORD)
    """Partition to ask for; else the site's default."""
    account: str | None = Field(default=None, pattern=WORD)
    """Account to charge."""
    time: str = Field(default="24:00:00", pattern=r"^((\d+-)?\d+(:\d{2}){0,2})$")
    """Longest run, in Slurm's notation; the sweep is stored and stops four minutes before."""
    gpu_type: str | None = Field(default=None, pattern=WORD)
    """Kind of GPU as the site's `--gres` calls it."""


class Description(FrozenConfig):
    """A cluster, as far as launcher files need to know it."""

    kind: Literal["aws", "gcp", "onprem", "kuberay", "slurm"]
    """What the nodes are."""
    name: str = Field(default="flowsweep", pattern=r"^([a-z]([-a-z0-9]{0,38}[a-z0-9])?)$")
    """Name of the cluster and of all that belongs to it."""
    nodes: Nodes = Nodes()
    """How many; on machines of your own (onprem) those you name."""
    cpus: int = Field(default=8, ge=1, le=1024)
    """Cores of a node."""
    memory_gib: int = Field(default=32, ge=2, le=65_536)
    """Memory of a node."""
    gpus: int = Field(default=0, ge=0, le=64)
    """GPUs of a node."""
    machine: str | None = Field(default=None, pattern=WORD)
    """Type of the working machines (`g5.2xlarge`, `n1-standard-8`); its cores and GPUs are what you say above."""
    head_machine: str | None = Field(default=None, pattern=WORD)
    """Type of the head's machine, which runs the sweep's driver and no trials."""
    spot: bool = False
    """Take machines that may be taken away; trials go on from their checkpoints elsewhere."""
    image: str | None = Field(default=None, pattern=WORD)
    """Container image that the Dockerfile is built into, such as `registry.example.org/flowsweep:1`."""
    activate: str | None = None
    """Shell line that makes the environment's Python the one found (onprem without an image, slurm)."""
    setup: tuple[str, ...] = ()
    """Shell lines run on each machine before anything else, such as the one that mounts the shared folder."""
    home: str = Field(default="/shared/flowsweep", pattern=r"^(/[A-Za-z0-9._/+-]+)$")
    """FLOWSWEEP_HOME: a folder that every node sees under this path."""
    storage: str | None = None
    """Object store for stages and the tracker's artifacts: `s3://bucket/prefix` or `gs://bucket/prefix`."""
    tracker: bool = True
    """Render a tracking server too."""
    tracker_uri: str | None = None
    """Address under which the cluster reaches the tracking server; on Kubernetes it is known."""
    aws: Aws = Aws()
    """What only Amazon's machines need."""
    gcp: Gcp = Gcp()
    """What only Google's machines need."""
    onprem: Onprem = Onprem()
    """What only your own machines need."""
    kuberay: Kuberay = Kuberay()
    """What only Kubernetes needs."""
    slurm: Slurm = Slurm()
    """What only Slurm needs."""

    @field_validator("storage")
    @classmethod
    def _store(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(
            r"(s3|gs)://[a-z0-9][a-z0-9._-]+(/[A-Za-z0-9._=/-]*)?", value
        ):
            raise ValueError("must be s3://bucket/prefix or gs://bucket/prefix")
        return value if value is None else value.rstrip("/")

    @field_validator("tracker_uri")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith(("http://", "https://")) or "@" in value):
            raise ValueError("must be http://HOST:PORT or https://HOST, without a login")
        return value if value is None else checked_uri(value)

    @field_validator("activate", "setup")
    @classmethod
    def _lines(cls, value: Any) -> Any:
        if any("\n" in line for line in ((value,) if isinstance(value, str) else value or ())):
            raise ValueError("must be single lines")
        return value


def read_description(file: Path | None, kind: str | None, changes: Mapping[str, str]) -> Description:
    """The description in a file, with changes, complete for its kind.

    Args:
        file: a YAML file; everything comes from ``changes`` when None.
        kind: what the nodes are, instead of the file's.
        changes: dotted key to a value in YAML notation.

    Raises:
        UserError, UserErrors: a key or value is wrong, or something its kind needs is missing.
    """
    values = {} if file is None else read_yaml(file)
    with placed(file, changes) if file else nullcontext():
        given = parse(Description, overridden(values | ({} if kind is None else {"kind": kind}), changes))
    if missing := list(_missing(given)):
        raise UserErrors(missing)
    return given


def _missing(given: Description) -> Iterator[UserError]:
    """What this kind of cluster cannot do without."""
    yield from {"aws": _aws, "gcp": _gcp, "onprem": _onprem, "kuberay": _kuberay, "slurm": _slurm}[
        given.kind
    ](given)


def _required(key: str, example: str) -> UserError:
    return UserError("is required for this kind of cluster", key=key, fix=f"Example: --set {key}={example}")


def _aws(given: Description) -> Iterator[UserError]:
    yield from _rented(given, "g5.2xlarge")
    if given.aws.image_id is None:
        yield UserError(
            f"is required: {_IMAGES}", key="aws.image_id",
            fix="`aws ssm get-parameter --name /aws/service/deeplearning/ami/x86_64/"
            "base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id` names Amazon's newest.",
        )  # fmt: skip
    if given.aws.instance_profile is None:
        yield from _access(given, "s3", "aws.instance_profile", "an instance profile")


def _gcp(given: Description) -> Iterator[UserError]:
    yield from _rented(given, "n1-standard-8")
    if given.gcp.project is None:
        yield _required("gcp.project", "my-project")
    if given.gcp.disk_image is None:
        yield UserError(
            f"is required: {_IMAGES}", key="gcp.disk_image",
            fix="`gcloud compute images list --project deeplearning-platform-release --no-standard-images` lists "
            "Google's; write it as projects/PROJECT/global/images/NAME.",
        )  # fmt: skip
    if given.gcp.service_account is None:
        yield from _access(given, "gs", "gcp.service_account", "a service account")


def _rented(given: Description, machine: str) -> Iterator[UserError]:
    if given.image is None:
        yield _required("image", _IMAGE)
    if given.machine is None:
        yield _required("machine", machine)


def _access(given: Description, scheme: str, key: str, holder: str) -> Iterator[UserError]:
    """What the provider's own storage asks of a node that says nothing about who it is."""
    if (given.storage or "").startswith(f"{scheme}://"):
        yield UserError(
            "is required: without it no node may use the storage", key=key, value=given.storage,
            fix=f"Name {holder} that may read and write there.",
        )  # fmt: skip


def _onprem(given: Description) -> Iterator[UserError]:
    if given.onprem.head is None:
        yield _required("onprem.head", "10.0.0.1")
    if not given.onprem.workers:
        yield _required("onprem.workers", "'[10.0.0.2, 10.0.0.3]'")
    if given.spot:
        yield UserError(
            "is not something your own machines have", key="spot", value=True, fix="Leave it out."
        )
    if given.image is None and given.activate is None:
        yield UserError(
            "either is required: where the nodes find Python, Ray and flowsweep's other requirements",
            key="image or activate", fix="Example: --set activate='source /opt/flowsweep/bin/activate'",
        )  # fmt: skip


def _kuberay(given: Description) -> Iterator[UserError]:
    if given.image is None:
        yield _required("image", _IMAGE)
    if given.kuberay.volume_claim is None:
        yield UserError(
            "is required: the sweep's record and checkpoints must lie where every node sees them",
            key="kuberay.volume_claim", fix="Make a PersistentVolumeClaim with ReadWriteMany and name it.",
        )  # fmt: skip
    if given.spot and not given.kuberay.node_selector:
        yield UserError(
            "needs to be said in your provider's own words", key="spot", value=True,
            fix='Example: --set kuberay.node_selector=\'{cloud.google.com/gke-spot: "true"}\'',
        )  # fmt: skip


def _slurm(given: Description) -> Iterator[UserError]:
    if given.image is not None:
        yield UserError(
            "is not used with slurm", key="image", value=given.image, fix="Use `activate` instead."
        )
    if given.activate is None:
        yield _required("activate", "'source ~/flowsweep/bin/activate'")
