"""Whether a driver may join a cluster directly (``run --address HOST:PORT``): Ray's own protocol, not the dashboard's."""

from __future__ import annotations

import os

from ..platform.errors import Refused
from .endpoint import TOKEN_FIX, is_this_machine

ALLOWED = "FLOWSWEEP_ALLOW_INSECURE"
"""Set to 1: join clusters of other machines that ask nobody for a token."""


def check_joining(address: str | None) -> None:
    """Refuse to join other machines' cluster without a token: it would run anybody's code, with what we give it.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto`` (what RAY_ADDRESS says, else a node of this machine).

    Raises:
        Refused: neither a token is in use nor was the risk taken in words.
    """
    if address is None:
        return
    meant = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host = meant.removeprefix("ray://").rpartition(":")[0].strip("[]")
    if not host or is_this_machine(host) or host in _own_addresses():
        return
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "token" or os.environ.get(ALLOWED) in ("1", "true"):
        return
    raise Refused(
        "joins a cluster of other machines without a token: whoever can reach it can run code there, also as you",
        key="--address", value=meant,
        fix=f"Set RAY_AUTH_MODE=token here and on every node. {TOKEN_FIX} On a network you trust, set {ALLOWED}=1.",
    )  # fmt: skip


def _own_addresses() -> set[str]:
    import psutil

    return {one.address.partition("%")[0] for found in psutil.net_if_addrs().values() for one in found}
