"""Whose network a hit holds: behind which proxies, and how much of the address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.networks import cut, network_of, read_address, write_address
from mailwake.setting_values import networks
from mailwake_edge.client import Clients

PROXIES = Clients(networks("10.0.0.0/8,192.0.2.7/32,fd00::/8"))
NOBODY = Clients(())


def network(clients: Clients, peer: str, headers: list[tuple[bytes, bytes]]) -> str:
    found, asn = clients.place(peer, headers)
    assert asn == 0
    return found


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


@pytest.mark.fault(35)
@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("0.1.2.3", "0.1.2.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::1", "::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("::FFFF:CB00:714D", "203.0.113.0/24"),
        ("2002:cb00:714d::1", "203.0.113.0/24"),  # 6to4: the IPv4 address stands in the /48
        ("", ""),
        ("testclient", ""),
        ("1.2.3.4:80", ""),
    ],
)
def test_an_address_is_cut(peer: str, expected: str) -> None:
    for clients in (NOBODY, PROXIES):
        assert network(clients, peer, []) == expected
    assert cut(peer) == expected


@given(st.ip_addresses(v=4))
def test_ipv4_is_cut_as_the_library_cuts_it(address: IPv4Address) -> None:
    packed = read_address(str(address))
    assert packed is not None
    expected = str(ip_network(f"{address}/24", strict=False))
    assert network_of(packed) == network(NOBODY, str(address), []) == expected
    assert network(NOBODY, f"::ffff:{address}", []) == expected
    assert write_address(packed) == str(address)


@given(st.ip_addresses(v=6))
def test_ipv6_is_cut_as_the_library_cuts_it(address: IPv6Address) -> None:
    inner = address.ipv4_mapped or address.sixtofour
    expected = f"{inner}/24" if inner else f"{address}/48"
    assert network(NOBODY, str(address), []) == str(ip_network(expected, strict=False))
    packed = read_address(str(address))
    assert packed is not None
    assert write_address(packed) == str(inner or address)


@given(st.text())
def test_no_text_is_more_than_a_network_or_nothing(text: str) -> None:
    """Whatever stands in the header: what comes out is a network with its host part cleared."""
    for clients in (NOBODY, PROXIES):
        found = network(clients, "10.0.0.1", [(b"x-forwarded-for", text.encode())])
        assert ip_network(found).prefixlen in (24, 48)


PEER = "10.0.0.0/24"


@pytest.mark.fault(31)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], PEER),
        (["203.0.113.77"], "203.0.113.0/24"),
        (["198.51.100.1, 203.0.113.77"], "203.0.113.0/24"),  # what is left of it, anyone can write
        (["198.51.100.1, 203.0.113.77, 10.1.2.3"], "203.0.113.0/24"),
        (["198.51.100.1", "203.0.113.77", "10.1.2.3,192.0.2.7"], "203.0.113.0/24"),
        (["10.9.9.9, 10.1.2.3"], "10.9.9.0/24"),  # all trusted: the first of them
        (["2001:db8:1:2::3"], "2001:db8:1::/48"),
        (["2001:db8:1:2::3, fd00::1, ::ffff:10.0.0.2"], "2001:db8:1::/48"),
        (["::ffff:203.0.113.77"], "203.0.113.0/24"),
        (["203.0.113.77:4711"], "203.0.113.0/24"),
        (["[2001:db8:1:2::3]:443, [fd00::1]"], "2001:db8:1::/48"),
        (["  203.0.113.77\t"], "203.0.113.0/24"),
        (["unknown"], PEER),
        ([""], PEER),
        (["203.0.113.77,"], PEER),
        (["203.0.113.77, unknown, 10.1.2.3"], PEER),
        (["203.0.113.077"], PEER),
        (["203.0.113"], PEER),
        (["203.0.113.77/24"], PEER),
        (["1e9.0.0.1"], PEER),
        (["203.0.113.77\x00"], PEER),
        (["\xff\xfe"], PEER),
        (["203.0.113.77" + ", 10.0.0.2" * 31], "203.0.113.0/24"),
        (["203.0.113.77" + ", 10.0.0.2" * 10_000], PEER),
    ],
)
def test_a_trusted_proxy_names_the_client(values: list[str], expected: str) -> None:
    assert network(PROXIES, "10.0.0.1", forwarded(*values)) == expected
    assert network(PROXIES, "::ffff:10.0.0.1", forwarded(*values)) == expected


@pytest.mark.fault(31)
def test_nobody_else_does() -> None:
    header = forwarded("198.51.100.1")
    assert network(PROXIES, "203.0.113.77", header) == "203.0.113.0/24"
    assert network(PROXIES, "192.0.2.8", header) == "192.0.2.0/24"
    assert network(PROXIES, "192.0.2.7", header) == "198.51.100.0/24"
    assert network(NOBODY, "10.0.0.1", header) == PEER
    assert network(NOBODY, "::1", header) == "::/48"


def test_other_headers_that_say_so_are_not_believed() -> None:
    header = [(b"forwarded", b"for=198.51.100.1"), (b"x-real-ip", b"198.51.100.1")]
    assert network(PROXIES, "10.0.0.1", header) == PEER


@pytest.mark.parametrize(
    ("peer", "values", "asked"),
    [
        ("203.0.113.77", [], "203.0.113.77"),
        ("::ffff:203.0.113.77", [], "203.0.113.77"),
        ("2001:db8:1:2::3", [], "2001:db8:1:2::3"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.77"], "203.0.113.77"),
        ("10.0.0.1", ["[::ffff:203.0.113.77]:443"], "203.0.113.77"),
        ("203.0.113.77", ["198.51.100.1"], "203.0.113.77"),
    ],
)
@pytest.mark.parametrize("trusted", ["10.0.0.0/8", ""])
def test_the_system_is_that_of_the_full_address(
    peer: str, values: list[str], asked: str, trusted: str
) -> None:
    """Of the very client whose network is kept; a /24 may belong to several."""
    seen: list[str] = []

    def asn(address: str) -> int:
        seen.append(address)
        return 64_500

    place = Clients(networks(trusted), asn).place(peer, forwarded(*values))
    expected = asked if trusted or not values else peer
    assert place == (cut(expected), 64_500)
    assert seen == [expected]


def test_who_has_no_address_has_no_system() -> None:
    def asn(address: str) -> int:
        raise AssertionError(address)

    assert Clients((), asn).place("", []) == ("", 0)
    assert Clients(networks("10.0.0.0/8"), asn).place("socket", []) == ("", 0)
