"""Who asked: the network of the client and whose network that is, and never more of its address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network

from mailwake.networks import network_of, write_address
from mailwake.proxies import Proxies

_NOWHERE = ("", 0)


def unknown(address: str) -> int:
    """The number of the autonomous system of an address where there is no file that tells it."""
    return 0


class Clients:
    """Finds the client of a request behind the proxies that are trusted."""

    def __init__(
        self,
        trusted: Sequence[IPv4Network | IPv6Network],
        asn: Callable[[str], int] = unknown,
    ) -> None:
        """`asn` gives the number of the autonomous system that an address is in; 0 for none."""
        self._proxies = Proxies(trusted)
        self._direct = not trusted
        self._asn = asn

    def place(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int]:
        """The client's network and the number of its autonomous system, which is 0 when unknown.

        Empty and 0 when the peer has no address (a Unix socket). Who the client is says
        `mailwake.proxies`.
        """
        if self._direct and ":" not in peer:
            # The kernel wrote it, so it need not be read: this is most requests.
            network = peer.rpartition(".")[0]
            return (f"{network}.0/24", self._asn(peer)) if network else _NOWHERE
        address = self._proxies.client(peer, headers)
        if address is None:
            return _NOWHERE
        return network_of(address), self._asn(write_address(address))
