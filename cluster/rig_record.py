"""What is on record of a rig: its nodes, and where they are reached."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..platform.errors import UserError, nearest
from ..trainables.config import FrozenConfig
from . import rig_processes as processes
from .rig_network import Kind, Loopback, Namespaces, network


class Shape(FrozenConfig):
    """What a node says it has. None of it need be there: Ray counts what it is told."""

    cpus: int = Field(default=1, ge=0)
    gpus: int = Field(default=0, ge=0)
    custom: Mapping[str, float] = {}
    """Resources by names of your own."""
    labels: Mapping[str, str] = {}


class Node(FrozenConfig):
    """One node: a number, and the process that keeps it up."""

    number: int
    shape: Shape
    pid: int
    started: float
    """When that process was started, in seconds; another one of the same number is not it."""

    @property
    def name(self) -> str:
        """What commands call it."""
        return f"node-{self.number}"

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        found = processes.started_at(self.pid)
        return found is not None and abs(found - self.started) < 1


class Rig(FrozenConfig):
    """A rig as it is on record. Its first node is the head."""

    mark: str
    kind: Kind
    subnet: int
    scratch: str
    """Ray's temporary folder; short, since it holds sockets."""
    ports: tuple[int, int, int]
    """Of the head: Ray, its dashboard, its client server."""
    nodes: tuple[Node, ...] = ()

    @property
    def network(self) -> Namespaces | Loopback:
        """How its nodes reach each other."""
        return network(self.kind, self.subnet)

    @property
    def address(self) -> str:
        """For drivers on the head."""
        return f"{self.network.address(1)}:{self.ports[0]}"

    @property
    def dashboard(self) -> str:
        """For `flowsweep submit`."""
        return f"http://{self.network.address(1)}:{self.ports[1]}"

    @property
    def next_number(self) -> int:
        """Of the node that joins next."""
        return max((node.number for node in self.nodes), default=0) + 1

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            UserError: there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        names = [node.name for node in self.nodes]
        raise UserError("the rig has no such node", key="NODE", value=name, fix=nearest(name, names))
