"""Real object servers for tests, started once and ended with their process: S3 (moto) and Google Cloud Storage."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def s3_server(bucket: str = "flowsweep") -> Iterator[str]:
    """Start an S3-compatible server on loopback with one bucket; the endpoint's URL."""
    with _served(lambda port: ["moto.server", "-H", "127.0.0.1", "-p", str(port)]) as port:
        url = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT")).close()
        yield url


@contextmanager
def gcs_server(bucket: str = "flowsweep") -> Iterator[str]:
    """Start Google's protocol on loopback with one bucket, kept in memory; its host and port."""
    start = ["gcp_storage_emulator", "start", "--in-memory", "--default-bucket", bucket]
    with _served(lambda port: [*start, "--host", "127.0.0.1", "--port", str(port)]) as port:
        yield f"127.0.0.1:{port}"


@contextmanager
def _served(module: Callable[[int], Sequence[str]]) -> Iterator[int]:
    """Run a module that serves on a free port until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *module(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    try:
        _wait(process, port)
        yield port
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen, port: int, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the object server did not start: are the packages of the dev extra installed?")
