"""Which cluster a command speaks to: one described in the profiles, or an address."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from ..platform.errors import UserError
from .endpoint import Endpoint, endpoint
from .profiles import Profile, chosen, default, read_token


@dataclass(frozen=True)
class Target:
    """A cluster, and what sweeps get there.

    Attributes:
        name: its profile's; None when only an address was given.
        option: what to add to a command line to mean the same cluster.
    """

    at: Endpoint
    profile: Profile
    name: str | None = None
    option: str = field(default="", compare=False)


def target(cluster: str | None = None, address: str | None = None, allow_insecure: bool = False) -> Target:
    """The cluster meant: ``--cluster`` or ``--address``; else ``$FLOWSWEEP_CLUSTER``, ``$FLOWSWEEP_ADDRESS``, the
    default profile, and last Ray's own variables.

    Raises:
        UserError: none is meant, or both are, or the one that is does not exist.
        Refused: it may not be spoken to like that.
    """
    if cluster and address:
        raise UserError(
            "name a cluster or give an address, not both", key="--cluster",
            fix="The profile's token is for the profile's address alone.",
        )  # fmt: skip
    found = None if address else chosen(cluster)
    if found is None and not address and not os.environ.get("FLOWSWEEP_ADDRESS"):
        found = default()
    if found is None:
        at = endpoint(address, allow_insecure=allow_insecure)
        said = (f" --address {address}" if address else "") + (" --allow-insecure" if allow_insecure else "")
        return Target(at, Profile(address=at.url), option=said)
    name, profile = found
    return Target(at_profile(profile, allow_insecure), profile, name, f" --cluster {name}" if cluster else "")


def at_profile(profile: Profile, allow_insecure: bool = False) -> Endpoint:
    """How the cluster of a profile is spoken to."""
    return endpoint(
        profile.address,
        allow_insecure=allow_insecure or profile.allow_insecure,
        token=read_token(profile.token_file) if profile.token_file else None,
        ca_file=profile.ca_file,
    )
