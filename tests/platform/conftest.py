"""A tiny system from outside the package, and sweeps of it: everything the platform does, in seconds."""

from __future__ import annotations

import importlib.util
import json
import sys
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flowsweep.platform.journal.events import SweepEnded, SweepStarted, TrialEnded, TrialProposed
from flowsweep.platform.sweep.spec import SweepSpec
from flowsweep.trainables.config import parse

TOY = Path(__file__).parent.parent / "support" / "toy"


@pytest.fixture(scope="session")
def toy_system():
    """Install the toy system for this process and for the processes it starts (Ray workers, the command line)."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(TOY))
    patch.setenv("PYTHONPATH", str(TOY), prepend=":")
    from flowsweep.search_spaces import parameters
    from flowsweep.trainables import base

    base._registered.cache_clear()
    parameters._registered.cache_clear()
    yield "toy"
    sys.modules.pop("toy_system", None)
    patch.undo()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path: Path):
    """Run the command line in this process, on ``home`` in the test's folder; exit code, standard output, standard error."""
    from flowsweep.platform import cli

    monkeypatch.setenv("FLOWSWEEP_HOME", str(tmp_path / "home"))
    for name in ("FLOWSWEEP_STAGES", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["flowsweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="session")
def object_server():
    """The module that starts object servers."""
    spec = importlib.util.spec_from_file_location("object_server", TOY.parent / "object_server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def s3_server(object_server):
    """The endpoint of a real S3-compatible server with a bucket named `flowsweep`."""
    with object_server.s3_server() as url:
        yield url


@pytest.fixture(scope="session")
def gcs_server(object_server):
    """Host and port of a server that speaks Google Cloud Storage's protocol, with a bucket named `flowsweep`."""
    with object_server.gcs_server() as host:
        yield host


@pytest.fixture
def gcs_place(gcs_server, tmp_path, monkeypatch):
    """An address there, in the environment of somebody with a service account."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "testing",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "testing@testing.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://127.0.0.1:1/never-asked",  # such an account signs its requests itself
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    return f"gs://flowsweep/{uuid.uuid4().hex}?endpoint_override={gcs_server}&scheme=http"


@pytest.fixture
def s3_endpoint(s3_server, monkeypatch):
    """The environment of somebody who may use that server; the endpoint's URL."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3_server


TOY_SWEEP = {
    "name": "toy",
    "system": "toy",
    "dataset": "toy/points",
    "objective": {"metric": "tune/return"},
    "search": {"trials": 6},
    "stop": {"rule": "asha", "min_steps": 10, "reduction": 2},
    "seeds": {"tune": [0, 1], "test": [10, 11]},
    "evaluation": {"episodes": 5, "every_steps": 10},
    "confirm": {"top": 2, "episodes": 8, "baselines": ["base"]},
}


@pytest.fixture(scope="session")
def toy_sweep_values() -> dict:
    """A toy sweep as a user would write it."""
    return TOY_SWEEP


@pytest.fixture
def toy_sweep(toy_system):
    """Build a toy sweep's spec with changes at the top level (``search={"trials": 2}``)."""

    def build(**changes) -> SweepSpec:
        return parse(SweepSpec, {**TOY_SWEEP, **changes})

    return build


@pytest.fixture
def walked(toy_sweep, tmp_path: Path):
    """Walk trials of the toy system in this process, each fact going to the journal of a sweep as a driver's would.

    ``walked(sweep, trial, width=1.0, ended="finished", status="finished")`` returns the home; ``width``
    decides which stage outputs the trial needs, ``ended`` and ``status`` how trial and sweep end (None: they do not),
    ``through`` its last stage, ``until`` the evaluation after which it is broken off.
    """
    from flowsweep.platform.journal.journal import Journal
    from flowsweep.platform.paths import Home
    from flowsweep.platform.store.stages import StageStore
    from flowsweep.platform.sweep.resolve import resolve
    from flowsweep.trainables.base import load_system
    from flowsweep.trainables.request import TrialRequest
    from flowsweep.trainables.source_ref import SourceRef
    from flowsweep.trainables.walk import Walk

    home = Home(tmp_path / "home")

    def walk(
        sweep: str, trial: str, *, width=1.0, ended="finished", status="finished", best_by=None,
        through="tune", until=None,
    ) -> Home:  # fmt: skip
        spec, paths = toy_sweep(name=sweep, stages={"base": {"width": width}}), home.sweep(sweep)
        configs = resolve(spec).trial_configs({})
        request = TrialRequest(
            trial=trial, system="toy", source=SourceRef(kind="dataset", name="toy/points"),
            configs=configs, seeds=(0,), through=through,
            episodes=2, evaluate_every_steps=10, best_by=best_by,
        )  # fmt: skip
        with Journal(paths.journal) as journal:
            dataset = {
                "name": "toy/points",
                "fingerprint": load_system("toy").open_source("toy/points").fingerprint,
            }
            journal.append(
                SweepStarted(
                    name=sweep, spec=spec.model_dump(mode="json"), source={"kind": "dataset", **dataset}
                )
            )
            journal.append(
                TrialProposed(phase="search", params={}, configs=configs, seeds=[0], through=through), trial
            )
            value = None
            walk = Walk(request, StageStore(home.stages), paths.trials / trial)
            for event in walk:
                told = event
                if event.kind == "artifact":
                    told = event.model_copy(update={"path": f"trials/{trial}/{event.path}"})
                journal.append(told, trial)
                if event.kind == "evaluated":
                    value = event.metrics["return"][0]
                    walk.checkpoint()
                    if event.step == until:
                        break
            if ended:
                journal.append(TrialEnded(status=ended, reason="", value=value), trial)
            if status:
                journal.append(SweepEnded(status=status, reason=""))
        return home

    return walk
