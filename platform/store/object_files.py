"""Object stores as a user names them (``s3://bucket/prefix``), opened through pyarrow.

Credentials come from the environment of each process, as the provider's own tools read them, and never from the
address: it is recorded, shown and sent along.
"""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import Unreachable, UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

OPTIONS: Mapping[str, frozenset[str]] = {
    "s3": frozenset({"region", "endpoint_override", "scheme"}),
    "gs": frozenset({"endpoint_override", "scheme"}),
}
"""What an address may say after its ``?``, by scheme."""
BUCKET_RULE = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
CONNECT_S, REQUEST_S, ATTEMPTS = 3.0, 30.0, 3
CHECK_S = 9.0
"""How long a check may take before the store counts as unreachable."""


@dataclass(frozen=True)
class Address:
    """``scheme://bucket/prefix?options``, checked."""

    scheme: str
    bucket: str
    prefix: str
    options: tuple[tuple[str, str], ...]

    @property
    def path(self) -> str:
        """Bucket and prefix as pyarrow names them."""
        return f"{self.bucket}/{self.prefix}".rstrip("/")


def is_object_address(place: str) -> bool:
    """Whether a place is an address and not a path."""
    return "://" in place


def checked_address(place: str, key: str) -> Address:
    """An address of an object store this platform can use.

    Args:
        key: the setting it was given in, for messages.

    Raises:
        UserError: unknown scheme or option, no bucket, a way out of the prefix, or credentials within.
    """
    parts = urlsplit(place)
    scheme = "gs" if parts.scheme == "gcs" else parts.scheme
    example = "Write a folder, s3://bucket/prefix or gs://bucket/prefix."
    if "@" in parts.netloc:
        # The value is left out of the message: it may be a secret.
        raise UserError(
            "must not hold credentials, since it is recorded and shown",
            key=key,
            fix="Write the address without them and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or GOOGLE_APPLICATION_CREDENTIALS, where the trials run.",
        )
    if scheme not in OPTIONS:
        raise UserError("is no kind of store known here", key=key, value=place, fix=example)
    prefix = unquote(parts.path).strip("/")
    if not BUCKET_RULE.fullmatch(parts.netloc) or any(s in ("", ".", "..") for s in prefix.split("/")[1:]):
        raise UserError("names no bucket and prefix", key=key, value=place, fix=example)
    options = tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    if strange := sorted({name for name, _ in options} - OPTIONS[scheme]):
        raise UserError(
            f"the option {strange[0]!r} is not known", key=key, fix=f"Known: {', '.join(sorted(OPTIONS[scheme]))}."
        )  # fmt: skip
    return Address(scheme, parts.netloc, prefix, options)


def files_at(place: str) -> FileSystem:
    """What lies under an address (or a ``file://`` folder), by paths relative to it."""
    return _files_at(place, endpoint_of_environment() if place.startswith("s3:") else None)


def endpoint_of_environment() -> str | None:
    """Where an S3-compatible service other than Amazon's listens, by the variables the AWS tools read."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@cache
def _files_at(place: str, endpoint: str | None) -> FileSystem:
    from pyarrow import fs

    if place.startswith("file://"):
        return fs.SubTreeFileSystem(unquote(urlsplit(place).path), fs.LocalFileSystem())
    address = checked_address(place, "stages")
    options: dict[str, Any] = dict(address.options)
    if address.scheme == "s3":
        options.setdefault("endpoint_override", endpoint)
        files = fs.S3FileSystem(
            **options,
            connect_timeout=CONNECT_S,
            request_timeout=REQUEST_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            allow_delayed_open=True,  # a small object is then one request
        )
    else:
        files = fs.GcsFileSystem(**options, retry_time_limit=timedelta(seconds=REQUEST_S))
    return fs.SubTreeFileSystem(address.path, files)


def put(files: FileSystem, path: str, content: bytes) -> None:
    """Write a small object; whoever sees it sees it whole and with the time it keeps.

    On an object store every write is like that. A folder shows a file once it is opened, and its time moves on as it
    is written, so there it is written aside and moved: claims are ordered by that time.
    """
    if not _is_folder(files):
        with files.open_output_stream(path) as stream:
            stream.write(content)
        return
    aside = f"aside/{uuid.uuid4().hex}"
    for folder in ("aside", path.rpartition("/")[0]):
        files.create_dir(folder, recursive=True)
    with files.open_output_stream(aside) as stream:
        stream.write(content)
    files.move(aside, path)


def _is_folder(files: FileSystem) -> bool:
    base = getattr(files, "base_fs", files)
    return base.type_name == "local"


def get(files: FileSystem, path: str) -> bytes:
    """Read a small object.

    Raises:
        FileNotFoundError: there is none.
    """
    with files.open_input_stream(path) as stream:
        return stream.read()


def drop_folder(files: FileSystem, path: str) -> None:
    """Delete all that lies under a path; nothing where nothing does, which each kind of store tells in its own words."""
    from pyarrow.fs import FileSelector

    try:
        files.delete_dir(path)
    except OSError:
        if files.get_file_info(FileSelector(path, allow_not_found=True)):
            raise


def check_writable(place: str, key: str, timeout_s: float = CHECK_S) -> None:
    """Write, read and delete a small object, before anything is launched.

    Raises:
        UserError: the address is unfit.
        Unreachable: the store does not answer in time, or does not let us write.
    """
    if not place.startswith("file://"):
        checked_address(place, key)
    problems: list[str] = []

    def probe() -> None:
        try:
            files, path = files_at(place), f"aside/probe-{uuid.uuid4().hex}"
            put(files, path, b"flowsweep")
            if get(files, path) != b"flowsweep":
                raise OSError("what was written came back different")
            files.delete_file(path)
        except Exception as error:
            problems.append(in_words(error))

    # A thread, since neither pyarrow nor what it looks up first (credentials, a region) has one limit for all.
    worker = threading.Thread(target=probe, name="check-stages", daemon=True)
    worker.start()
    worker.join(timeout_s)
    if worker.is_alive():
        problems.append(f"no answer within {timeout_s:.0f} s")
    if problems:
        raise Unreachable(
            f"the stage store cannot be used: {problems[0]}",
            key=key,
            value=place,
            fix="Mend the address, the network or the credentials in the environment; or name a folder.",
        )


def in_words(error: BaseException) -> str:
    """What went wrong, in one line; pyarrow and the SDKs beneath it say it in many."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for mark, words in _WORDS.items():
        if mark in text:
            return words
    with suppress(IndexError):
        text = text.split("; Details: ")[0]
    return text[:200].rstrip(".")


_WORDS = {
    "NO_SUCH_BUCKET": "there is no such bucket",
    "ACCESS_DENIED": "access is denied to these credentials",
    "INVALID_ACCESS_KEY_ID": "the access key is not known there",
    "SIGNATURE_DOES_NOT_MATCH": "the secret key is wrong",
    "EXPIRED_TOKEN": "the credentials have expired",
    "Status(NOT_FOUND": "there is no such bucket",
    "Status(PERMISSION_DENIED": "access is denied to these credentials",
    "Status(UNAUTHENTICATED": "these credentials are not accepted",
    "Could not create a OAuth2 access token": "no usable credentials were found",
    "Could not connect to server": "nothing answers at that address",
    "Could not resolve host": "the host's name cannot be resolved",
}
