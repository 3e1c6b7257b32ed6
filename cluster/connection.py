"""Ray's client for jobs, with limits on how long it waits and its errors in our words."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..platform.errors import Refused, Unreachable
from ..trainables.redaction import redacted
from .endpoint import CONNECT_TIMEOUT_S, TOKEN_FIX, Endpoint, ray_version

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ANSWER_S, TRANSFER_S = 8.0, 60.0
"""How long the dashboard may stay silent: to a question, and while something is sent or a log is fetched."""


@contextmanager
def connected(at: Endpoint) -> Iterator[JobSubmissionClient]:
    """Ray's client for jobs, talking to ``at`` whatever the environment says.

    Raises:
        Unreachable: the cluster does not answer, or no longer.
        Refused: it does not let us in, or not any more.
    """
    ray_version(at)
    import requests
    from ray.exceptions import AuthenticationError

    client = _client(at)
    try:
        yield client
    except requests.exceptions.RequestException as error:
        raise Unreachable(
            f"the cluster stopped answering: {redacted(str(error))}", key="--address", value=at.url,
            fix="Look with `flowsweep status` whether what you asked for has happened.",
        ) from None  # fmt: skip
    except AuthenticationError:
        raise Refused(
            "does not accept the token any more", key="--address", value=at.url, fix=TOKEN_FIX
        ) from None
    except RuntimeError as error:
        said = next(iter(str(error).strip().splitlines()), "")
        raise Unreachable(
            f"the cluster could not do it: {redacted(said)[:300]}", key="--address", value=at.url
        ) from None


async def printed(client: JobSubmissionClient, job: str) -> AsyncIterator[str]:
    """What a job prints, in pieces as they come, until it is over.

    Raises:
        OSError, RuntimeError: the connection was lost, or something on the way lets no such connection through.
    """
    import aiohttp

    try:
        async for piece in client.tail_job_logs(job):
            yield piece
    except aiohttp.ClientError as error:
        raise ConnectionError(redacted(str(error))) from None


def _client(at: Endpoint) -> JobSubmissionClient:
    from ray.job_submission import JobSubmissionClient

    for chatty in (
        "dashboard.modules.dashboard_sdk",
        "dashboard.modules.job.sdk",
        "_private.runtime_env.packaging",
    ):
        logging.getLogger(f"ray.{chatty}").setLevel(logging.WARNING)

    class Client(JobSubmissionClient):
        """Ray's own waits without end."""

        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            answer_s = ANSWER_S if method == "GET" and not endpoint.endswith("/logs") else TRANSFER_S
            options = {"timeout": (CONNECT_TIMEOUT_S, answer_s), "allow_redirects": False, **options}
            return super()._do_request(method, endpoint, **options)

    # Ray lets RAY_API_SERVER_ADDRESS and RAY_ADDRESS win over the address it is given.
    variable, before = "RAY_API_SERVER_ADDRESS", os.environ.get("RAY_API_SERVER_ADDRESS")
    os.environ[variable] = at.url
    try:
        return Client(at.url, headers=dict(at.headers), verify=at.verify)
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
