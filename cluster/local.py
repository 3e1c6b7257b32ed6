"""Asking a server of our own on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from requests import Response


def ask(url: str, timeout_s: float, **options: Any) -> Response:
    """What it answers. No proxy is asked on the way, which could not reach it and would see the login.

    Raises:
        requests.RequestException: it does not answer in time.
    """
    import requests

    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=timeout_s, **options)
