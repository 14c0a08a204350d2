"""What a token says of how to undo it: as short as can be, and exact."""

from __future__ import annotations

import contextlib
import quopri
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake import undo
from mailwake.undo import Around, Marks, pack, unpack

TARGET = b"https://shop.example.org/products/17?utm_source=mail&utm_campaign=october&id=17"
BROKEN = quopri.encodestring(b"x" * 40 + TARGET)[40:]


@pytest.mark.parametrize(
    ("source", "options", "length"),
    [
        (TARGET, {}, 0),
        (TARGET.replace(b"&", b"&amp;"), {}, 1),
        (TARGET, {"text": True}, 1),
        (TARGET.replace(b"=", b"=3D"), {"quoted": True}, 1),
        (TARGET.replace(b"&", b"&amp;").replace(b"=", b"=3D"), {"quoted": True}, 1),
        (BROKEN, {"quoted": True}, 2),
        (BROKEN.replace(b"\n", b"\r\n"), {"quoted": True}, 2),
        (b"=\n" + BROKEN + b"=\n", {"quoted": True}, 4),
        (b"", {"quoted": True}, None),
        (TARGET.replace(b"=", b"=3d"), {"quoted": True}, 30),
        (TARGET.replace(b"&", b"&#38;"), {}, 30),
        (b" " + TARGET + b"\n", {}, 10),
    ],
)
def test_the_usual_takes_few_bytes(
    source: bytes, options: dict[str, Any], length: int | None
) -> None:
    packed = pack(source, TARGET, **options)
    assert length is None or len(packed) <= length
    found = unpack(packed, TARGET)
    assert (found.source, found.around, found.marks) == (source, None, None)
    assert (found.quoted, found.text) == (options.get("quoted", False), options.get("text", False))


sources = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from([b"=\n", b"=\r\n", b"=3D", b"a", b"&amp;", b"&", b"= \n"])).map(
        b"".join
    ),
)
arounds = st.none() | st.builds(
    Around, st.integers(0, 400), st.integers(0, 400), st.integers(0, 2**32 - 1)
)
marks = st.none() | st.builds(
    lambda checksum, steps: Marks(
        checksum,
        tuple((sum(way for way, _ in steps[: n + 1]), steps[n][1]) for n in range(len(steps))),
    ),
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(0, 10**7), st.binary(max_size=30)), max_size=5),
)


@given(
    sources,
    st.text(max_size=30).map(lambda text: text.encode(errors="replace")),
    st.booleans(),
    st.booleans(),
    arounds,
    marks,
)
def test_whatever_is_packed_comes_back(
    source: bytes,
    target: bytes,
    quoted: bool,
    text: bool,
    around: Around | None,
    taken: Marks | None,
) -> None:
    packed = pack(source, target, quoted=quoted, text=text, around=around, marks=taken)
    assert unpack(packed, target) == undo.Undo(source, quoted, text, around, taken)


@given(st.binary(max_size=40))
def test_other_bytes_are_refused_or_read(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        unpack(packed, TARGET)
