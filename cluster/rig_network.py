"""How the nodes of a rig reach each other: a network of their own that can be cut, or addresses of the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Literal, Protocol

from ..platform.errors import Refused, UserError

Kind = Literal["namespaces", "loopback"]
SUBNETS = range(64, 128)
"""Third byte of 198.18.x.0/24, addresses set aside for tests of networks (RFC 2544): never anybody's on the internet."""


class Network(Protocol):
    """Addresses for nodes, and the command that starts a process as one of them."""

    kind: Kind

    def address(self, node: int) -> str:
        """The IP address of the node of that number, from 1."""
        ...

    def up(self) -> None:
        """Make what all nodes share."""
        ...

    def connect(self, node: int) -> None:
        """Make a node's own part."""
        ...

    def inside(self, node: int, hostname: str) -> list[str]:
        """What to put before a command so that it runs as that node."""
        ...

    def join(self, node: int) -> list[str]:
        """What to put before a command of a person so that it reaches the others as that node does."""
        ...

    def mend(self, node: int) -> None:
        """Put a node back that may have been cut off."""
        ...

    def disconnect(self, node: int) -> None:
        """Remove it; nothing runs there any more."""
        ...

    def down(self, nodes: Sequence[int]) -> None:
        """Remove all that was made."""
        ...


class Loopback:
    """Every node has an address of its own in 127.0.0.0/8. Nothing is made, and nothing can be cut."""

    kind: Kind = "loopback"

    def __init__(self, subnet: int):
        self.subnet = subnet

    def address(self, node: int) -> str:
        return f"127.0.{self.subnet}.{node}"

    def up(self) -> None:
        pass

    def connect(self, node: int) -> None:
        pass

    def mend(self, node: int) -> None:
        pass

    def disconnect(self, node: int) -> None:
        pass

    def join(self, node: int) -> list[str]:
        return []

    def inside(self, node: int, hostname: str) -> list[str]:
        return []

    def down(self, nodes: Sequence[int]) -> None:
        pass


class Namespaces:
    """Every node in a Linux network namespace, joined by a bridge that leads nowhere but to this machine.

    Args:
        subnet: third byte of its addresses; also what its devices are named after.
    """

    kind: Kind = "namespaces"

    def __init__(self, subnet: int):
        self.subnet, self.bridge = subnet, f"fsrig{subnet}"

    @staticmethod
    def claim_subnet() -> int:
        """One that no other rig of this machine uses; its bridge is made, which of several that try only one can.

        Raises:
            Refused: there is none.
            UserError: no bridge can be made here.
        """
        for subnet in SUBNETS:
            bridge = Namespaces(subnet).bridge
            try:
                _ip("link", "add", bridge, "type", "bridge")
                return subnet
            except UserError:
                if not os.path.exists(f"/sys/class/net/{bridge}"):
                    raise
        raise Refused(
            "every subnet for rigs is taken", key="rig", fix="End one: `flowsweep cluster rig down`."
        )

    def address(self, node: int) -> str:
        return f"198.18.{self.subnet}.{node}"

    def up(self) -> None:
        _ip("address", "add", f"{self.address(254)}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def connect(self, node: int) -> None:
        space, port = self._space(node), self._port(node)
        _ip("netns", "add", space)
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", port, "master", self.bridge, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")

    def inside(self, node: int, hostname: str) -> list[str]:
        named = f'hostname {hostname} && exec "$@"'
        return ["unshare", "--uts", "sh", "-c", named, "sh", *self.join(node)]

    def join(self, node: int) -> list[str]:
        return ["ip", "netns", "exec", self._space(node)]

    def cut(self, node: int) -> None:
        """Take a node off the network: nothing gets through, and nobody is told."""
        _ip("link", "set", self._port(node), "down")

    def mend(self, node: int) -> None:
        _ip("link", "set", self._port(node), "up")

    def is_cut(self, node: int) -> bool:
        """Whether it is off the network."""
        said = subprocess.run(["ip", "-o", "link", "show", self._port(node)], capture_output=True, text=True)
        return "state DOWN" in said.stdout

    def disconnect(self, node: int) -> None:
        # By name, since a namespace that a process still keeps would keep its end of the link.
        subprocess.run(["ip", "link", "delete", self._port(node)], capture_output=True)
        subprocess.run(["ip", "netns", "delete", self._space(node)], capture_output=True)

    def down(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self.disconnect(node)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True)

    def _space(self, node: int) -> str:
        return f"{self.bridge}-{node}"

    def _port(self, node: int) -> str:
        return f"{self.bridge}v{node}"


def network(kind: Kind, subnet: int) -> Namespaces | Loopback:
    """The network a rig was started with."""
    return Namespaces(subnet) if kind == "namespaces" else Loopback(subnet)


def why_no_namespaces() -> str | None:
    """Why network namespaces cannot be had here; None when they can."""
    for tool in ("ip", "unshare", "hostname"):
        if shutil.which(tool) is None:
            return f"`{tool}` is not installed"
    if os.geteuid() != 0:
        return "they take root"
    probe = f"fsrig-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    subprocess.run(["ip", "netns", "delete", probe], capture_output=True)
    return None if made.returncode == 0 else f"making one failed: {made.stderr.strip()}"


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"the rig's network could not be made: {done.stderr.strip()}",
            key="ip",
            value=" ".join(arguments),
            fix="Start it with --no-namespaces.",
        )
