"""Identities: their forms, their order, and Kafka's partitioner."""

import hmac
import socket
import unicodedata
import uuid

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st
from pytest_socket import SocketBlockedError

from mailwake import ids

addresses = st.tuples(
    st.text("abcXYZäÖ.+'", min_size=1, max_size=12),
    st.sampled_from(["example.org", "EXAMPLE.org", "bücher.example", "xn--bcher-kva.example"]),
).map("@".join)


def test_unit_tests_have_no_network() -> None:
    with pytest.warns(UserWarning, match="tried to use"), pytest.raises(SocketBlockedError):
        socket.socket(socket.AF_INET)


@given(st.binary(max_size=70))
def test_murmur2_is_aiokafkas(data: bytes) -> None:
    assert ids.murmur2(data) == aiokafka_murmur2(data) & 0xFFFFFFFF


@given(st.binary(min_size=16, max_size=16).map(bytes.hex), st.integers(1, 300))
def test_partitions_are_aiokafkas(message_id: str, partitions: int) -> None:
    everyone = list(range(partitions))
    theirs = DefaultPartitioner()(message_id.encode(), everyone, everyone)
    assert ids.partitioner(partitions)(message_id.encode()) == theirs


@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_murmur2_is_kafkas(key: bytes, expected: int) -> None:
    """Figures of Kafka's own test (UtilsTest.testMurmur2), signed as Java has them."""
    signed = ids.murmur2(key) - (1 << 32 if ids.murmur2(key) >> 31 else 0)
    assert signed == expected


@given(st.integers(0, (1 << 48) - 1))
def test_message_id_is_a_uuid_7_that_carries_its_time(at_ms: int) -> None:
    parsed = uuid.UUID(ids.new_message_id(at_ms))
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == at_ms


@given(st.lists(st.integers(0, (1 << 48) - 1), unique=True, max_size=20))
def test_message_ids_sort_by_time(times: list[int]) -> None:
    made = {ids.new_message_id(at): at for at in times}
    assert [made[each] for each in sorted(made)] == sorted(times)


def test_message_ids_differ_and_are_of_now() -> None:
    made = {ids.new_message_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(abs((int(each, 16) >> 80) - ids.now_ms()) < 60_000 for each in made)


def test_hit_ids_count_within_their_stream() -> None:
    stream = ids.HitStream()
    made = [stream.next() for _ in range(3)]
    assert [ids.split_hit_id(each) for each in made] == [(stream.name, n) for n in (1, 2, 3)]
    assert all(len(each) == 32 for each in made)


def test_streams_of_one_millisecond_differ() -> None:
    names = {ids.HitStream(1_767_225_600_000).name for _ in range(20)}
    assert len(names) > 1
    assert {int(name, 16) >> 20 for name in names} == {1_767_225_600_000}


def test_derived_ids_are_what_they_have_always_been() -> None:
    """A replay of last year's hits must give last year's ids."""
    event = ids.event_id("0" * 31 + "1", "open")
    assert event == "bb065e5d2f3c95068283345d76fa1b44"
    assert ids.alert_id(event, "acme", "u-1042") == "e8c4d2c26704c1f9679e7cd47ddba82f"


def test_derived_ids_tell_apart_what_differs() -> None:
    hit = "0" * 32
    assert ids.event_id(hit, "open") != ids.event_id(hit, "click")
    assert ids.alert_id(hit, "ab", "c") != ids.alert_id(hit, "a", "bc")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("Anna@Example.ORG", "anna@example.org"),
        ("  anna@example.org\n", "anna@example.org"),
        ("anna@Bücher.example", "anna@xn--bcher-kva.example"),
        ("anna@xn--bcher-kva.example", "anna@xn--bcher-kva.example"),
        ("Ann@home@example.org", "ann@home@example.org"),
        ("no address", "no address"),
        ("anna@" + "ä" * 70 + ".example", "anna@" + "ä" * 70 + ".example"),
        ("", ""),
    ],
)
def test_addresses_are_normalised(written: str, normal: str) -> None:
    assert ids.normalise_address(written) == normal


@given(addresses)
def test_an_address_written_otherwise_is_the_same_recipient(address: str) -> None:
    key = b"k" * 32
    same = [address.upper(), f" {address} ", unicodedata.normalize("NFD", address)]
    assert {ids.recipient_id(key, each) for each in same} == {ids.recipient_id(key, address)}


@given(addresses)
def test_normalising_twice_changes_nothing(address: str) -> None:
    once = ids.normalise_address(address)
    assert ids.normalise_address(once) == once


def test_recipient_id_is_an_hmac_and_hangs_on_the_key() -> None:
    digest = hmac.digest(b"key", b"anna@example.org", "sha256")
    assert ids.recipient_id(b"key", "Anna@example.org") == digest[:16].hex()
    assert ids.recipient_id(b"other", "anna@example.org") != digest[:16].hex()


def test_a_reader_is_the_beginning_of_a_recipient_id() -> None:
    assert ids.reader_of("0123456789abcdef" * 2) == bytes.fromhex("0123456789")


@given(st.text(), st.text())
def test_a_given_id_always_has_the_same_message_id(one: str, other: str) -> None:
    first = ids.message_id_of("acme", one)
    assert first == ids.message_id_of("acme", one)
    assert uuid.UUID(first).version == 8
    assert uuid.UUID(first).variant == uuid.RFC_4122
    assert (first == ids.message_id_of("acme", other)) == (one == other)
    assert first != ids.message_id_of("other", one)
