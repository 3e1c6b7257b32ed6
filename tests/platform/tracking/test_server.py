"""Serving the records for browsing: refusals before MLflow is started."""

import socket

import pytest
from flowsweep.platform.errors import Unreachable
from flowsweep.platform.tracking.server import check_port


def test_a_taken_port_is_named_with_the_way_out():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port}.*another with `--port`"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(Unreachable, match="nothing can listen there"):
        check_port("198.51.100.1", 5000)
