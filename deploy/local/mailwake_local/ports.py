"""Ports of 127.0.0.1, the only address that local parts listen on."""

import random
import socket

from mailwake.errors import UnavailableError

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment, another at each call.

    It lies below those that systems give to outgoing connections (from 32768, or 49152), so that
    none of them takes it before its new owner binds it. It is not held.
    """
    for port in random.sample(range(20_000, 32_000), 100):
        if can_bind(port):
            return port
    raise UnavailableError(f"no free port between 20000 and 32000 on {HOST}; name one")


def can_bind(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As Kafka does: connections of an earlier run that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
