"""Who asked: the network of the client, and never more of its address.

IPv4 is cut to /24, IPv6 to /48. An address is cut as soon as it is read; nothing keeps it, logs it
or caches it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"
_6TO4 = b"\x20\x02"
_MOST_HOPS = 32

Address = bytes
"""An address as its 4 or 16 bytes."""


def read_address(text: str) -> Address | None:
    """The bytes of an address, None when the text is none.

    Of an IPv6 address that is an IPv4 one within (mapped: RFC 4291, 2.5.5.2; 6to4: RFC 3056, where
    it stands in the first 48 bits), the IPv4 one, so that it too is cut to /24.
    """
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        address = inet_pton(AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):  # ValueError: a NUL or a letter beyond ASCII
        return None
    if address.startswith(_MAPPED):
        return address[12:]
    if address.startswith(_6TO4):
        return address[2:6]
    return address


def network_of(address: Address) -> str:
    """The network that an address is cut to, such as `203.0.113.0/24` or `2001:db8:1::/48`."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.0/24"
    return inet_ntop(AF_INET6, address[:6] + bytes(10)) + "/48"


class Clients:
    """Finds the client of a request behind the proxies that are trusted."""

    def __init__(self, trusted: Iterable[IPv4Network | IPv6Network]) -> None:
        self._trusted: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for network in trusted:
            self._trusted[network.max_prefixlen // 8].append(
                (int(network.network_address), int(network.netmask))
            )
        self._direct = not any(self._trusted.values())

    def network(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The client's network; empty when the peer has no address (a Unix socket).

        `peer` is who the connection comes from. X-Forwarded-For among the headers is believed only
        from a trusted peer: from the right over what trusted proxies wrote to the first address
        that is none of theirs. Where that walk meets something that is no address, or more hops
        than a way through proxies has, the peer stands for the client.
        """
        if self._direct and ":" not in peer:
            # The kernel wrote it, so it need not be read: this is most requests.
            network = peer.rpartition(".")[0]
            return f"{network}.0/24" if network else ""
        address = read_address(peer)
        if address is None:
            return ""
        if not self._direct and self._is_trusted(address):
            forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
            address = self._behind(forwarded) or address
        return network_of(address)

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
