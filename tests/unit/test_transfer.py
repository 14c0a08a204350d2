"""Transfer encodings: an edit changes what it is on, and lines stay as short as they must be."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.transfer import MAX_LINE, Body, Edit, Plain, body_of

printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200).map(
    str.encode
)
lines = st.lists(st.text("ab =éü\t<>\"'.~", max_size=120), min_size=1, max_size=6)


@st.composite
def edited(draw: st.DrawFn, newline: str) -> tuple[bytes, list[Edit]]:
    decoded = newline.join(draw(lines)).encode()
    at = draw(st.lists(st.integers(0, len(decoded)), max_size=6).map(sorted))
    spans = zip(at[::2], at[1::2], strict=False)
    return decoded, [(start, end, draw(printable)) for start, end in spans]


def spliced(decoded: bytes, edits: list[Edit]) -> bytes:
    for start, end, new in reversed(edits):
        decoded = decoded[:start] + new + decoded[end:]
    return decoded


def body(encoded: bytes, encoding: str) -> Body:
    found = body_of(encoded, encoding)
    assert found is not None
    return found


def made(read: Body, edits: list[Edit]) -> bytes:
    """The body with edits of the decoded text made on its source."""
    moved: list[Edit] = []
    done = 0
    for start, end, new in edits:
        first, last = read.region(start, end)
        moved.append((max(first, done), last, new))
        done = last
    return read.written(read.spliced(moved))


@given(edited("\n"), st.booleans())
def test_quoted_printable_reads_as_the_edited_text(
    case: tuple[bytes, list[Edit]], crlf: bool
) -> None:
    decoded, edits = case
    encoded = quopri.encodestring(decoded)
    if crlf:
        encoded = encoded.replace(b"\n", b"\r\n")
        starts = [decoded[:start].count(b"\n") for start, _, _ in edits]
        ends = [decoded[:end].count(b"\n") for _, end, _ in edits]
        edits = [
            (start + more, end + most, new)
            for (start, end, new), more, most in zip(edits, starts, ends, strict=True)
        ]
        decoded = decoded.replace(b"\n", b"\r\n")
    read = body(encoded, "quoted-printable")
    assert read.decoded == decoded
    changed = made(read, edits)
    assert body(changed, "quoted-printable").decoded == spliced(decoded, edits)
    assert quopri.decodestring(changed) == spliced(decoded, edits)
    assert all(len(line) <= 76 for line in changed.replace(b"\r\n", b"\n").split(b"\n"))
    if crlf:
        assert changed.count(b"\n") == changed.count(b"\r\n")


@given(edited("\n"))
def test_quoted_printable_lines_that_no_edit_is_on_stay(case: tuple[bytes, list[Edit]]) -> None:
    decoded, edits = case
    encoded = quopri.encodestring(decoded)
    changed = made(body(encoded, "quoted-printable"), edits)
    if not edits:
        assert changed == encoded
        return
    before, after = edits[0][0], len(decoded) - edits[-1][1]
    whole_before = decoded[:before].count(b"\n")
    assert changed.split(b"\n")[:whole_before] == encoded.split(b"\n")[:whole_before] or (
        b"=\n" in encoded
    )
    tail = quopri.encodestring(decoded[len(decoded) - after :]).partition(b"\n")[2]
    assert changed.endswith(tail)


def test_an_address_broken_over_lines_is_replaced_whole() -> None:
    encoded = (
        b'<p class=3D"x">An address that is long: <a href=3D"https://example.org/a/lon=\r\n'
        b'g/way?x=3D1">here</a> and on it goes, quite a bit further than one line ca=\r\n'
        b"n hold.\r\nNext =E2=82=AC line stays.\r\n"
    )
    read = body(encoded, "quoted-printable")
    start = read.decoded.index(b"https://")
    end = read.decoded.index(b'">here')
    changed = made(read, [(start, end, b"https://t.example.com/c/" + b"A" * 80)])
    assert changed == (
        b'<p class=3D"x">An address that is long: <a href=3D"https://t.example.com/c/=\r\n'
        + b"A" * 75
        + b"=\r\nAAAAA"
        + b'">here</a> and on it goes, quite a bit further than one line ca=\r\n'
        b"n hold.\r\nNext =E2=82=AC line stays.\r\n"
    )


@given(edited("\r\n"), st.sampled_from([60, 76]), st.sampled_from([b"\n", b"\r\n"]))
def test_base64_keeps_its_lines(
    case: tuple[bytes, list[Edit]], length: int, newline: bytes
) -> None:
    decoded, edits = case
    text = base64.b64encode(decoded)
    encoded = newline.join(text[i : i + length] for i in range(0, len(text), length)) + newline
    read = body(encoded, "base64")
    assert read.decoded == decoded
    changed = made(read, edits)
    assert base64.b64decode(changed) == spliced(decoded, edits)
    assert changed.endswith(newline)
    if len(text) > length:
        assert max(len(line) for line in changed.split(newline)) <= length
        if not edits:
            assert changed == encoded


@pytest.mark.parametrize("encoded", [b"PGE+=PGE+", b"PGE", b"P", b"<a>", b"PGE+\x00"])
def test_base64_that_decoders_read_differently_is_not_read(encoded: bytes) -> None:
    assert body_of(encoded, "base64") is None


def test_an_unknown_encoding_is_not_read() -> None:
    assert body_of(b"", "x-uuencode") is None


def test_a_plain_line_never_grows_over_998_bytes() -> None:
    first = b"x" * 500
    plain = Plain(first + b"\r\n" + first + b"\r\n")
    assert plain.fits(100, 110, 400)
    assert plain.fits(200, 200, MAX_LINE - 890)
    assert not plain.fits(300, 300, 1)
    assert plain.fits(400, 401, 0)
    assert plain.fits(450, 450, 1)
    assert plain.fits(502, 502, MAX_LINE - 500), "each line has its own room"
    assert not plain.fits(600, 600, 1)


def test_a_plain_line_that_was_too_long_before_may_grow() -> None:
    plain = Plain(b"x" * 2000)
    assert plain.fits(100, 110, 400)
