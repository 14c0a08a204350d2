"""Whose network an address is in, by files as operators have them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import maxminddb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from mailwake.errors import ConfigError
from mailwake.networks import write_address
from mailwake_edge import asn
from mailwake_edge.asn import AsnFile, number_in
from tests.mmdb import BUILT, mmdb, write_mmdb

Records = dict[str, dict[str, Any]]

GEOLITE: Records = {
    "66.249.80.0/20": {
        "autonomous_system_number": 15169,
        "autonomous_system_organization": "GOOGLE",
    },
    "17.0.0.0/8": {"autonomous_system_number": 714},
    "203.0.113.0/24": {"autonomous_system_number": 64500},
    "203.0.113.128/25": {"autonomous_system_number": 4_200_000_000},
    "2620:149::/32": {"autonomous_system_number": 714},
}
IPINFO: Records = {
    "66.249.80.0/20": {"asn": "AS15169", "name": "Google LLC", "domain": "google.com"},
    "2620:149::/32": {"asn": "AS714", "name": "Apple Inc."},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_mmdb(tmp_path / "asn.mmdb", GEOLITE)


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ("66.249.80.1", 15169),
        ("66.249.95.255", 15169),
        ("66.249.96.0", 0),
        ("17.58.1.2", 714),
        ("203.0.113.127", 64500),  # a /24 that two share
        ("203.0.113.128", 4_200_000_000),
        ("2620:149:af0::10", 714),
        ("2620:150::", 0),
        ("::1", 0),
        ("", 0),
        ("mail.example", 0),
        ("203.0.113", 0),
    ],
)
def test_an_address_has_its_number(path: Path, address: str, number: int) -> None:
    assert AsnFile(path).number(address) == number


def test_ipinfo_names_it_as_text(tmp_path: Path) -> None:
    file = AsnFile(write_mmdb(tmp_path / "ipinfo.mmdb", IPINFO, kind="ipinfo lite"))
    assert (file.number("66.249.81.1"), file.number("2620:149::1")) == (15169, 714)


def test_a_file_of_ipv4_alone(tmp_path: Path) -> None:
    four = {network: record for network, record in GEOLITE.items() if ":" not in network}
    file = AsnFile(write_mmdb(tmp_path / "four.mmdb", four, version=4))
    assert (file.number("17.1.2.3"), file.number("2620:149::1")) == (714, 0)


@pytest.mark.parametrize(
    ("record", "number"),
    [
        ({"autonomous_system_number": 1}, 1),
        ({"asn": "AS1"}, 1),
        ({"asn": "as4294967295"}, 4294967295),
        ({"asn": 15169}, 15169),
        ({"asn": "15169"}, 15169),
        ({"asn": "AS4294967296"}, 0),
        ({"asn": "AS"}, 0),
        ({"asn": "AS-1"}, 0),
        ({"asn": "AS١٢"}, 0),
        ({"asn": ""}, 0),
        ({"autonomous_system_number": -1}, 0),
        ({"autonomous_system_number": 1.5}, 0),
        ({"country": "DE"}, 0),
        ([], 0),
        ("AS1", 0),
        (None, 0),
    ],
)
def test_what_a_record_tells(record: Any, number: int) -> None:
    assert number_in(record) == number


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> AsnFile:
    return AsnFile(write_mmdb(tmp_path_factory.mktemp("asn") / "asn.mmdb", GEOLITE))


@given(address=st.ip_addresses() | st.integers(0, 255).map("203.0.113.{}".format).map(ip_address))
def test_any_address_has_the_number_of_its_smallest_network(shared: AsnFile, address: Any) -> None:
    numbers = [
        record["autonomous_system_number"]
        for network, record in GEOLITE.items()
        if address in ip_network(network)
    ]
    assert shared.number(write_address(address.packed)) == (numbers[-1] if numbers else 0)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged, or not in MaxMind's format"),
        (b"network,asn\n203.0.113.0/24,64500\n", "damaged, or not in MaxMind's format"),
        (mmdb(GEOLITE)[:-60], "damaged, or not in MaxMind's format"),
        (mmdb({"203.0.113.0/24": {"country": "DE"}}), "no numbers of autonomous systems"),
        (mmdb({}), "no numbers of autonomous systems"),
        (None, "No such file or directory"),
    ],
)
def test_what_cannot_be_used_is_an_error_at_the_start(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    file = tmp_path / "asn.mmdb"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"asn\.mmdb: .*{why}.*MAILWAKE_ASN_FILE"):
        AsnFile(file)
    with pytest.raises(ConfigError, match="Is a directory"):
        AsnFile(tmp_path)


def test_damage_within_gives_no_number(path: Path) -> None:
    """A record that points to nowhere is found when it is asked for, and not before."""
    whole = path.read_bytes()
    google = whole.index(b"autonomous_system_organization")
    path.write_bytes(whole[:google] + b"\xff" * 30 + whole[google + 30 :])
    file = AsnFile.__new__(AsnFile)
    file._reader = maxminddb.open_database(path)
    assert file.number("66.249.80.1") == 0
    assert file.number("203.0.113.127") == 64500


NEW: Records = {"203.0.113.0/24": {"autonomous_system_number": 64501}}


@pytest.fixture(params=["renamed", "overwritten"])
def renew(path: Path, request: pytest.FixtureRequest) -> Callable[[bytes], None]:
    """Puts other bytes in the file's place, or over it."""

    def put(content: bytes) -> None:
        before = path.stat()
        if request.param == "renamed":
            other = path.with_suffix(".new")
            other.write_bytes(content)
            other.replace(path)
        else:
            path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    return put


def test_a_change_is_taken_up(path: Path, renew: Callable[[bytes], None]) -> None:
    file = AsnFile(path)
    file.refresh()
    assert file.number("203.0.113.128") == 4_200_000_000
    assert REGISTRY.get_sample_value("mailwake_edge_asn_built_seconds") == BUILT
    renew(mmdb(NEW, built=BUILT + 604_800))
    assert file.number("203.0.113.128") == 4_200_000_000  # as long as it is not looked at
    file.refresh()
    assert (file.number("203.0.113.128"), file.number("17.1.2.3")) == (64501, 0)
    assert REGISTRY.get_sample_value("mailwake_edge_asn_built_seconds") == BUILT + 604_800


@pytest.mark.parametrize("broken", [b"", mmdb(GEOLITE)[:100], mmdb({})])
def test_a_broken_change_is_logged_once_and_the_old_stays(
    path: Path, renew: Callable[[bytes], None], broken: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when it was written over the file itself, which would end a process that maps it."""
    file = AsnFile(path)
    renew(broken)
    for _ in range(3):
        file.refresh()
        assert file.number("17.1.2.3") == 714
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "What was read before stays in use" in caplog.text
    renew(mmdb(NEW))
    file.refresh()
    assert file.number("203.0.113.128") == 64501


def test_a_file_that_is_gone_is_logged_once_and_may_come_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = AsnFile(path)
    for _ in range(2):
        path.rename(path.with_suffix(".gone"))
        file.refresh()
        file.refresh()
        assert file.number("17.1.2.3") == 714
        path.with_suffix(".gone").rename(path)
        file.refresh()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


async def test_it_is_followed_beside_the_requests(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading takes place in another thread, and lookups give the old or the new meanwhile."""
    monkeypatch.setattr(asn, "CHECK_S", 0.01)
    file = AsnFile(path)
    threads: set[int] = set()
    read = file._read

    def watched() -> Any:
        threads.add(threading.get_ident())
        return read()

    monkeypatch.setattr(file, "_read", watched)
    following = asyncio.create_task(file.follow())
    seen = {file.number("203.0.113.128")}
    write_mmdb(path, NEW)
    async with asyncio.timeout(10):
        while file.number("203.0.113.128") != 64501:
            seen.add(file.number("203.0.113.128"))
            await asyncio.sleep(0)
    following.cancel()
    assert seen <= {4_200_000_000, 64501}
    assert threads
    assert threading.get_ident() not in threads
