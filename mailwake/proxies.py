"""Who asks, behind the proxies that are trusted: what of X-Forwarded-For may be believed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from mailwake.networks import Address, read_address

_MOST_HOPS = 32


class Proxies:
    """Finds the client of a request."""

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network]) -> None:
        self._trusted: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for network in trusted:
            self._trusted[network.max_prefixlen // 8].append(
                (int(network.network_address), int(network.netmask))
            )

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Address | None:
        """The client's address; None when the peer has none (a Unix socket).

        `peer` is who the connection comes from. X-Forwarded-For among the headers, whose names are
        in lower case, is believed only from a trusted peer: from the right over what trusted
        proxies wrote to the first address that is none of theirs. Where that walk meets something
        that is no address, or more hops than a way through proxies has, the peer stands for the
        client.
        """
        address = read_address(peer)
        if address is None or not self._is_trusted(address):
            return address
        forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
        return self._behind(forwarded) or address

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
