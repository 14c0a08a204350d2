"""Who asked: the network of the client and whose network that is, and never more of its address."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from mailwake.networks import Address, network_of, read_address, write_address

_MOST_HOPS = 32
_NOWHERE = ("", 0)


def unknown(address: str) -> int:
    """The number of the autonomous system of an address where there is no file that tells it."""
    return 0


class Clients:
    """Finds the client of a request behind the proxies that are trusted."""

    def __init__(
        self,
        trusted: Iterable[IPv4Network | IPv6Network],
        asn: Callable[[str], int] = unknown,
    ) -> None:
        """`asn` gives the number of the autonomous system that an address is in; 0 for none."""
        self._trusted: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for network in trusted:
            self._trusted[network.max_prefixlen // 8].append(
                (int(network.network_address), int(network.netmask))
            )
        self._direct = not any(self._trusted.values())
        self._asn = asn

    def place(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int]:
        """The client's network and the number of its autonomous system, which is 0 when unknown.

        Empty and 0 when the peer has no address (a Unix socket).

        `peer` is who the connection comes from. X-Forwarded-For among the headers is believed only
        from a trusted peer: from the right over what trusted proxies wrote to the first address
        that is none of theirs. Where that walk meets something that is no address, or more hops
        than a way through proxies has, the peer stands for the client.
        """
        if self._direct and ":" not in peer:
            # The kernel wrote it, so it need not be read: this is most requests.
            network = peer.rpartition(".")[0]
            return (f"{network}.0/24", self._asn(peer)) if network else _NOWHERE
        address = read_address(peer)
        if address is None:
            return _NOWHERE
        if not self._direct and self._is_trusted(address):
            forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
            address = self._behind(forwarded) or address
        return network_of(address), self._asn(write_address(address))

    def _behind(self, forwarded: list[bytes]) -> Address | None:
        hops = b",".join(forwarded).decode("latin-1").rsplit(",", _MOST_HOPS)
        address = None
        for hop in reversed(hops):
            address = read_address(_without_port(hop.strip()))
            if address is None or not self._is_trusted(address):
                return address
        return address

    def _is_trusted(self, address: Address) -> bool:
        number = int.from_bytes(address, "big")
        return any(number & mask == network for network, mask in self._trusted[len(address)])


def _without_port(hop: str) -> str:
    """A hop as some proxies write it, `192.0.2.1:443` or `[2001:db8::1]:443`, without the port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
