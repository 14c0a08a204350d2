"""Which addresses a webhook may be sent to: those of the public Internet, and no others.

Whoever can have us post to an address of their choice could otherwise reach what only we can:
services on our own machines and networks, and the metadata services of clouds (server-side request
forgery). Two things are checked: a URL, when it is given and each time it is used; and every
address that its name stands for, at each connection, which then goes to an address that was checked
(docs/decisions/0018-webhooks.md).

Sources: the IANA special-purpose registries of IPv4 and IPv6 addresses (RFC 6890), RFC 6052 and
8215 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 6761 and 8375 (names), the
ports that browsers block (https://fetch.spec.whatwg.org/#port-blocking).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_URL = 2048

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/[!$-;=?-Z_a-z~%]*)?(?:\?[!$-;=?-Z_a-z~%]*)?"
)
"""The one form that is taken: no user, no backslash, no fragment, nothing beyond ASCII, so that it
can be read in one way alone."""
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_OURS = frozenset(
    [
        "localhost",
        "local",
        "localdomain",
        "internal",
        "intranet",
        "private",
        "corp",
        "home",
        "lan",
        "arpa",
        "onion",
        "invalid",
    ]
)
"""What names end in that the public DNS does not know, or that lead to oneself."""

_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "168.63.129.16/32",  # Azure's own, on every machine in it
        ],
    )
)
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    map(
        ipaddress.IPv6Network,
        ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"],
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
_BLOCKED_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080}
    | {*range(6665, 6670)}
)
_USUAL = {"https": 443, "http": 80}


class RefusedError(ValueError):
    """A target that nothing is sent to. The text says why, to its owner, and names no address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be used.

    Attributes:
        url: in its one form: lower case where case means nothing.
        host: a name, or an address without brackets.
    """

    url: str
    host: str
    port: int


def check_url(url: str, *, http: bool = False, networks: Sequence[Network] = ()) -> Target:
    """The target of a URL; asks no DNS. Raises RefusedError.

    `http` allows http beside https; `networks` are allowed beside the public Internet, and with any
    of them names are not judged, only what they stand for: both are for trials on one machine.
    """
    authority = re.match(r"[A-Za-z]+://[^/?#]*", url)
    lowered = authority[0].lower() + url[authority.end() :] if authority else url
    found = _URL.fullmatch(lowered)
    if found is None or len(url) > MOST_URL:
        raise RefusedError(
            "the URL must be https://, a name, and if need be a port, a path and a query, in ASCII "
            f"without spaces, user names and fragment, {MOST_URL} characters at most"
        )
    scheme, host = found["scheme"], found["host"].strip("[]")
    if scheme == "http" and not http:
        raise RefusedError("the URL must begin with https://")
    port = int(found["port"] or _USUAL[scheme])
    if (port < 1024 and port != _USUAL[scheme]) or port in _BLOCKED_PORTS or port > 65535:
        raise RefusedError(
            f"the port must be {_USUAL[scheme]}, or 1024 and above and of no other use"
        )
    literal = found["host"].startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2])
    if literal:
        check_address(_literal(host), networks)
    elif not networks:
        _check_name(host)
    return Target(lowered, host, port)


def check_address(address: Address, networks: Sequence[Network] = ()) -> None:
    """Whether an address is on the public Internet, or in one of the allowed networks. Raises
    RefusedError. Addresses that hold another one are judged by that, or refused."""
    if any(address in network for network in networks):
        return
    if not _public(address):
        raise RefusedError("the target is not on the public Internet")


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address in _NAT64:
        return _public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.scope_id is not None or address not in _PUBLIC_6:
        return False
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return False
    return not any(address in network for network in _NOT_PUBLIC_6)


def _literal(host: str) -> Address:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise RefusedError(
            "an address must be written in its usual form, such as 192.0.2.1"
        ) from None


def _check_name(host: str) -> None:
    labels = host.split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        raise RefusedError("the host is no name of the DNS")
    if len(labels) < 2 or labels[-1] in _OURS:
        raise RefusedError("the host must be a name of the public DNS, such as hooks.example.com")
