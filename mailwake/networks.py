"""Addresses of the Internet, and the networks they are cut to: no more of an address is kept.

IPv4 is cut to /24, IPv6 to /48. An address is cut as soon as it is read; nothing keeps it, logs it
or caches it.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"
_6TO4 = b"\x20\x02"

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


def write_address(address: Address) -> str:
    """The address as text, which is to be kept no longer than its bytes."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def network_of(address: Address) -> str:
    """The network that an address is cut to, such as `203.0.113.0/24` or `2001:db8:1::/48`."""
    if len(address) == 4:
        return f"{address[0]}.{address[1]}.{address[2]}.0/24"
    return inet_ntop(AF_INET6, address[:6] + bytes(10)) + "/48"


def cut(text: str) -> str:
    """The network of an address that is given as text; empty when it is none."""
    address = read_address(text)
    return "" if address is None else network_of(address)
