"""A cluster of several Ray nodes on this machine, to try things on: every node a group of processes of its own.

What runs is on record in ``FLOWSWEEP_HOME/rig``: one rig per home. Every process carries the rig's mark, so that only what
was started for it is ever ended.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from filelock import Timeout as Locked
from pydantic import ValidationError

from ..platform.errors import Refused, UserError
from ..trainables.artifacts import write_text
from . import rig_processes as processes
from .rig_command import environment, ray_start
from .rig_network import Kind, Namespaces, why_no_namespaces
from .rig_record import Node, Rig, Shape
from .tracker_state import write_secret

START_S = 180.0
"""How long a node may take to join; many seconds on a busy machine."""
STATE, TOKEN, LOCK = "rig.json", "token", "lock"
HEAD_PORTS = (6379, 8265, 10001)


class Rigging:
    """Starts a rig and changes it.

    Args:
        folder: where it is on record; nothing need be there yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self) -> Rig:
        """The rig on record.

        Raises:
            UserError: there is none.
        """
        try:
            return Rig.model_validate_json((self.folder / STATE).read_bytes())
        except FileNotFoundError:
            raise UserError(
                "there is no rig", key=str(self.folder), fix="Start one: `flowsweep cluster rig --nodes 3`."
            ) from None
        except ValidationError:
            raise UserError(
                "is no record of a rig", key=str(self.folder / STATE),
                fix=f"End what has {processes.MARK} in its environment, and delete the file.",
            ) from None  # fmt: skip

    @property
    def token_file(self) -> Path:
        """What nodes and drivers show each other."""
        return self.folder / TOKEN

    @property
    def token(self) -> str:
        """Its content; empty when there is none."""
        return self.token_file.read_text().strip() if self.token_file.exists() else ""

    def up(self, shape: Shape, nodes: int, kind: Kind | None) -> Rig:
        """Start a rig and wait until all its nodes have joined.

        Args:
            shape: of every node.
            nodes: how many, the head among them.
            kind: how they are connected; by namespaces where they can be had when None.

        Raises:
            Refused: one runs already, or namespaces were asked for and cannot be had.
            Unreachable: a node does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._changing():
            if (self.folder / STATE).exists():
                raise Refused(
                    "a rig is up already", key=str(self.folder), fix=f"Use it, or end it: `{DOWN}`."
                )
            rig = _new_rig(kind)
            try:
                self._write(rig)
                write_secret(self.token_file, secrets.token_hex(32))
                rig.network.up()
                for _ in range(nodes):
                    rig = self._with_node(rig, shape)
                self._await(rig)
            except BaseException:
                self._remove(rig)
                raise
            return rig

    def add(self, shape: Shape) -> Node:
        """One node more."""
        with self._changing():
            before = self.read()
            number = before.next_number
            try:
                rig = self._with_node(before, shape)
                self._await(rig)
            except BaseException:
                processes.kill(before.mark, f"node-{number}")
                before.network.disconnect(number)
                self._write(before)
                raise
            return rig.nodes[-1]

    def kill(self, name: str) -> int:
        """SIGKILL a node and all that runs on it; it stays off. Returns how many processes that were."""
        with self._changing():
            rig = self.read()
            return processes.kill(rig.mark, rig.node(name).name)

    def revive(self, name: str) -> Node:
        """Start a node again that is off; after the head every other node too, as they are of no use without theirs."""
        with self._changing():
            rig = self.read()
            wanted = rig.node(name)
            if wanted.alive:
                fix = f"Kill it first: `flowsweep cluster rig kill {name}`."
                raise Refused("runs", key="NODE", value=name, fix=fix)
            return self._renewed(rig, wanted)

    def renew(self, name: str) -> Node:
        """End what is left of a node and start it again."""
        with self._changing():
            rig = self.read()
            return self._renewed(rig, rig.node(name))

    def cut(self, name: str) -> None:
        """Take a node off the network until :meth:`mend`; without namespaces all its processes are stopped instead.

        Raises:
            Refused: it is the head, on which drivers run.
        """
        with self._changing():
            rig = self.read()
            node = rig.node(name)
            if node.number == 1:
                raise Refused(
                    "is the head", key="NODE", value=name, fix="`kill-head` and `restart-head` are for it."
                )
            if isinstance(rig.network, Namespaces):
                rig.network.cut(node.number)
            else:
                processes.suspend(rig.mark, node.name)

    def mend(self, name: str) -> None:
        """Put a node back."""
        rig = self.read()
        node = rig.node(name)
        rig.network.mend(node.number)
        processes.resume(rig.mark, node.name)

    def down(self) -> int:
        """End the rig and all that runs on it; how many processes that were."""
        with self._changing():
            return self._remove(self.read())

    def environment(self, rig: Rig) -> dict[str, str]:
        """What a process needs to be let in."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_ADDRESS": rig.address,
            "FLOWSWEEP_ADDRESS": rig.dashboard,
        }

    def _with_node(self, rig: Rig, shape: Shape) -> Rig:
        rig.network.connect(rig.next_number)
        return self._started(rig, rig.next_number, shape)

    def _started(self, rig: Rig, number: int, shape: Shape) -> Rig:
        name = f"node-{number}"
        command = [*rig.network.inside(number, f"rig-{name}"), *ray_start(rig, number, shape)]
        variables = environment(rig, number, self.token_file)
        pid, started = processes.start(command, variables, self.folder / f"{name}.log")
        node = Node(number=number, shape=shape, pid=pid, started=started)
        others = [one for one in rig.nodes if one.number != number]
        changed = rig.model_copy(update={"nodes": tuple(sorted([*others, node], key=lambda one: one.number))})
        self._write(changed)
        if number == 1:
            self._await(changed)  # the others look for it once only
        return changed

    def _renewed(self, rig: Rig, wanted: Node) -> Node:
        renewed = rig.nodes if wanted.number == 1 else (wanted,)
        for node in renewed:  # all before any: Ray starts no head that other nodes still name as theirs
            processes.kill(rig.mark, node.name)
            rig.network.mend(node.number)  # whoever cut it off may have been ended before putting it back
        for node in renewed:
            rig = self._started(rig, node.number, node.shape)
        self._await(rig)
        return rig.node(wanted.name)

    def _await(self, rig: Rig) -> None:
        from .rig_view import await_nodes

        await_nodes(rig, self.token, START_S, self.folder)

    def _remove(self, rig: Rig) -> int:
        ended = processes.kill(rig.mark)
        rig.network.down([node.number for node in rig.nodes] or [1])
        shutil.rmtree(rig.scratch, ignore_errors=True)
        for file in [self.folder / STATE, self.token_file, *self.folder.glob("node-*.log")]:
            file.unlink(missing_ok=True)
        return ended

    def _write(self, rig: Rig) -> None:
        write_text(self.folder / STATE, rig.model_dump_json(indent=1))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One command at a time."""
        if not self.folder.exists():
            self.read()  # says that there is none
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                yield
        except Locked:
            raise Refused(
                "another command is changing the rig", key=str(self.folder), fix="Wait for it."
            ) from None


DOWN = "flowsweep cluster rig down"


def _new_rig(kind: Kind | None) -> Rig:
    why_not = why_no_namespaces() if kind != "loopback" else None
    if kind == "namespaces" and why_not:
        raise Refused(
            f"network namespaces cannot be had here: {why_not}",
            key="--namespaces",
            fix="Leave it out; nodes then share the loopback, and `cut` stops a node's processes instead.",
        )
    kind = kind or ("loopback" if why_not else "namespaces")
    return Rig(
        mark=secrets.token_hex(8),
        kind=kind,
        # In a namespace of its own a node has every port; else its ports are shared with the whole machine.
        ports=HEAD_PORTS if kind == "namespaces" else _free_ports(),
        subnet=Namespaces.claim_subnet() if kind == "namespaces" else 64,
        scratch=tempfile.mkdtemp(prefix="fsrig-"),
    )


def _free_ports() -> tuple[int, int, int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("", 0))
        first, second, third = (one.getsockname()[1] for one in sockets)
        return first, second, third
