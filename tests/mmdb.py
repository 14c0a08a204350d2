"""Writes IP-to-ASN files in MaxMind's format, for tests.

Source of the format: MaxMind DB File Format Specification, version 2.0. A file is a binary search
tree over the bits of an address, then the records, then what the file says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any

_TEXT, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11

BUILT = 1_767_225_600
"""When files say they were built (Unix time), unless told otherwise."""


def write_mmdb(
    path: Path,
    records: Mapping[str, Mapping[str, Any]],
    *,
    version: int = 6,
    kind: str = "GeoLite2-ASN",
    built: int = BUILT,
) -> Path:
    """Writes a file: network in CIDR form -> record. A network within another stands after it.

    In a file of version 6 an IPv4 network stands below ::/96; in one of version 4 there are no
    others.
    """
    path.write_bytes(mmdb(records, version=version, kind=kind, built=built))
    return path


def mmdb(
    records: Mapping[str, Mapping[str, Any]],
    *,
    version: int = 6,
    kind: str = "GeoLite2-ASN",
    built: int = BUILT,
) -> bytes:
    """The bytes of such a file."""
    # A node is its two branches: the number of a node (> 0, for none leads back to the root), None
    # for nothing, or ~offset of a record.
    nodes: list[list[int | None]] = [[None, None]]
    data = bytearray()
    offsets: dict[bytes, int] = {}
    for network, record in records.items():
        encoded = _encoded(record)
        offset = offsets.setdefault(encoded, len(data))
        if offset == len(data):
            data += encoded
        _put(nodes, _bits(network, version), ~offset)
    count = len(nodes)
    tree = bytearray()
    for node in nodes:
        for branch in node:
            # 16 zero bytes stand between tree and data, and are counted.
            value = count if branch is None else branch if branch >= 0 else count + 16 + ~branch
            tree += value.to_bytes(4, "big")
    about = {
        "binary_format_major_version": _number(_UINT16, 2),
        "binary_format_minor_version": _number(_UINT16, 0),
        "build_epoch": _number(_UINT64, built),
        "database_type": kind,
        "description": {"en": "made for a test"},
        "ip_version": _number(_UINT16, version),
        "languages": ["en"],
        "node_count": _number(_UINT32, count),
        "record_size": _number(_UINT16, 32),
    }
    return bytes(tree + bytes(16) + data) + b"\xab\xcd\xefMaxMind.com" + _encoded(about)


def _bits(network: str, version: int) -> str:
    parsed = ip_network(network)
    four = isinstance(parsed, IPv4Network)
    bits = format(int(parsed.network_address), f"0{parsed.max_prefixlen}b")[: parsed.prefixlen]
    return "0" * 96 + bits if four and version == 6 else bits


def _put(nodes: list[list[int | None]], bits: str, leaf: int) -> None:
    at = 0
    for bit in map(int, bits[:-1]):
        below = nodes[at][bit]
        if below is None or below < 0:  # a larger network stands here: it goes on in both halves
            nodes.append([below, below])
            nodes[at][bit] = below = len(nodes) - 1
        at = below
    nodes[at][int(bits[-1])] = leaf


def _encoded(value: Any) -> bytes:
    """A value of the data section; bytes are one already."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping):
        return _control(_MAP, len(value)) + b"".join(
            _encoded(name) + _encoded(each) for name, each in value.items()
        )
    if isinstance(value, str):
        encoded = value.encode()
        return _control(_TEXT, len(encoded)) + encoded
    if isinstance(value, int):
        return _number(_UINT32, value)
    return _control(_ARRAY, len(value)) + b"".join(map(_encoded, value))


def _number(kind: int, value: int) -> bytes:
    packed = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return _control(kind, len(packed)) + packed


def _control(kind: int, size: int) -> bytes:
    """What stands before a value: its type and its size. Types above 7 have a byte of their own."""
    assert size < 285
    large = bytes([size - 29]) if size >= 29 else b""
    size = min(size, 29)
    if kind > 7:
        return bytes([size, kind - 7]) + large
    return bytes([kind << 5 | size]) + large
