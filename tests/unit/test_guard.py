"""Which targets webhooks may have."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.guard import RefusedError, check_address, check_url
from tests.webhooks.targets import NOT_PUBLIC, REFUSED, TAKEN, written

NETWORKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def test_there_are_many() -> None:
    assert len(REFUSED) + len(NOT_PUBLIC) >= 100


@pytest.mark.fault(28)
@pytest.mark.parametrize("why", REFUSED)
def test_a_target_that_is_refused_as_it_is_written(why: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_url(written(REFUSED[why]))
    assert "127" not in str(refused.value)


@pytest.mark.parametrize("url", TAKEN)
def test_a_target_that_is_taken_stays_the_same_target(url: str) -> None:
    target = check_url(url)
    assert target.url.lower() == url.lower()
    assert check_url(target.url) == target
    assert target.port in (443, 8443)


def test_case_counts_behind_the_host_alone() -> None:
    assert check_url("HTTPS://HOOKS.Example.com/Case").url == "https://hooks.example.com/Case"


def test_a_trial_on_one_machine_is_the_operators_to_allow() -> None:
    for url in ("http://127.0.0.1:8080/x", "http://localhost:8080/x", "http://[::1]:8080/x"):
        with pytest.raises(RefusedError):
            check_url(url, http=True)
        assert check_url(url, http=True, networks=NETWORKS).port == 8080
    for url in ("http://10.0.0.1/", "http://0x7f.1/", "http://2130706433/"):
        with pytest.raises(RefusedError):
            check_url(url, http=True, networks=NETWORKS)


@pytest.mark.fault(28)
@given(st.ip_addresses(v=4))
def test_what_python_calls_private_is_refused_however_it_is_wrapped(
    address: ipaddress.IPv4Address,
) -> None:
    public = not (refused(address) or address.is_multicast)
    assert not public or address.is_global
    number = int(address)
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | number)
    six = ipaddress.IPv6Address(0x2002 << 112 | number << 80)
    assert refused(mapped)
    assert refused(six)
    assert refused(ipaddress.IPv6Address(0x64FF9B << 96 | number)) == refused(address)


@pytest.mark.fault(28)
@given(st.ip_addresses(v=6))
def test_of_version_6_what_is_taken_is_global_unicast(address: ipaddress.IPv6Address) -> None:
    if not refused(address):
        assert address.is_global
        assert not address.is_multicast
        assert address in ipaddress.ip_network("2000::/3")


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "8.8.8.8", "2606:2800:21f::1", "64:ff9b::8.8.8.8"]
)
def test_the_public_internet_is_reached(text: str) -> None:
    assert not refused(ipaddress.ip_address(text))


def refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        check_address(address)
    except RefusedError:
        return True
    return False
