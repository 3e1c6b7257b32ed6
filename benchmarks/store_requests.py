"""How many requests a stage store in an object store makes, counted by a real S3-compatible server (moto) of this process.

python benchmarks/store_requests.py [--wait-s 20]
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
from flowsweep.platform.store.base import StageClaim
from flowsweep.platform.store.object_store import ObjectStore
from flowsweep.trainables.artifacts import Finished, Provenance
from flowsweep.trainables.base import Snapshot, identity_key
from moto.server import ThreadedMotoServer

KEY = identity_key({"stage": "pretrain", "seed": 0})
OTHER = identity_key({"stage": "pretrain", "seed": 1})


class Counter(logging.Handler):
    """Counts the lines of the server's log: one per request."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One request more."""
        self.count += 1

    def during(self, work: Callable[[], object]) -> int:
        """Requests made while ``work`` runs."""
        before = self.count
        work()
        return self.count - before


def main() -> None:
    """Publish; reuse with and without a copy, hold a claim and wait for one; one line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--wait-s", type=float, default=20.0, help="how long a claim is held and waited for")
    options = parser.parse_args()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    try:
        measure(server, options.wait_s)
    finally:
        server.stop()


def measure(server: ThreadedMotoServer, wait_s: float) -> None:
    """Count against a running server."""
    seen, log = Counter(), logging.getLogger("werkzeug")
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [seen], False
    url = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
    place = f"s3://bucket/stages?endpoint_override={url}"
    with tempfile.TemporaryDirectory() as folder:
        here, elsewhere = (ObjectStore(place, Path(folder) / name) for name in ("here", "elsewhere"))
        print("claim and publication:", seen.during(lambda: publish(here)))
        print("reuse, a copy is here:", seen.during(lambda: reuse(here)))
        print("reuse, none is here:", seen.during(lambda: reuse(elsewhere)))
        claim = here.acquire(OTHER, "holder")
        assert isinstance(claim, StageClaim)
        with claim:
            held = seen.during(lambda: time.sleep(wait_s))
            both = seen.during(lambda: elsewhere.acquire(OTHER, "waiting", wait_s))
        print(f"a claim held for {wait_s:g} s: {held}; one that waits for it meanwhile: {both - held}")


def publish(store: ObjectStore) -> None:
    """Claim an output and publish it."""
    claim = store.acquire(KEY, "holder")
    assert isinstance(claim, StageClaim)
    with claim:
        claim.publish(Snapshot({"weights": torch.zeros(8)}, {}), Provenance())


def reuse(store: ObjectStore) -> None:
    """Ask for an output and take it, as a trial does."""
    assert isinstance(store.acquire(KEY, "another"), Finished)
    store.load(KEY)


if __name__ == "__main__":
    main()
