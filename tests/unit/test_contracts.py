"""The codecs: good values beside bad ones, whatever the bytes are."""

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailwake.codec import InvalidError
from mailwake.contracts import ALERT, EVENT, HIT, SEND, Hit, Send, user_key
from mailwake.track import TRACK, Track

ID = "0123456789abcdef0123456789abcdef"
OPEN = Hit(
    hit_id=ID, kind="open", at=1, tenant="acme", message_id=ID, recipient=0, mode="anonymous"
)
SENT = Send(
    message_id=ID,
    tenant="acme",
    user="u-1",
    sent_at=1,
    recipient_count=1,
    mode="anonymous",
    opens=True,
    clicks=False,
)


def reasons(data: bytes) -> list[str]:
    return [error.reason for _, error in HIT.read(data)[1]]


def changed(value: Hit | Send, **fields: object) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(value) | fields)


def test_one_value_there_and_back() -> None:
    assert HIT.read(HIT.encode(OPEN)) == ([OPEN], [])


def test_many_values_there_and_back() -> None:
    later = msgspec.structs.replace(OPEN, at=2)
    assert HIT.read(HIT.encode_many([OPEN, later])) == ([OPEN, later], [])


def test_defaults_are_left_out() -> None:
    assert b"agent" not in HIT.encode(OPEN)


def test_white_space_before_an_array_is_json() -> None:
    assert HIT.read(b"\r\n\t " + HIT.encode_many([OPEN])) == ([OPEN], [])


def test_an_array_of_nothing_holds_nothing() -> None:
    assert HIT.read(b"[]") == ([], [])


def test_bad_parts_do_not_cost_their_neighbours() -> None:
    bad = changed(OPEN, kind="forward")
    data = b"[" + b", ".join([bad, HIT.encode(OPEN), b'"hit"', HIT.encode(OPEN), b"null"]) + b"]"
    good, parts = HIT.read(data)
    assert good == [OPEN, OPEN]
    assert [part for part, _ in parts] == [bad, b'"hit"', b"null"]
    assert {error.reason for _, error in parts} == {"contract"}
    assert "`$.kind`" in str(parts[0][1])


def test_a_cut_array_is_no_json_and_comes_back_whole() -> None:
    data = HIT.encode_many([OPEN, OPEN])[:-1]
    assert [(part, error.reason) for part, error in HIT.read(data)[1]] == [(data, "not_json")]


@pytest.mark.parametrize(
    "data",
    [b"", b" ", b"{", b"[", b"opened", b"\xff", b'{"agent": "\xff"}', b"\xef\xbb\xbf{}", b"[1,]"],
)
def test_what_is_no_json_says_so(data: bytes) -> None:
    assert reasons(data) == ["not_json"]


@pytest.mark.parametrize("data", [b"null", b"1", b'"x"', b"{}", b"[[]]", b"[1]", b"true"])
def test_what_is_another_value_says_so(data: bytes) -> None:
    assert reasons(data) == ["contract"]


@pytest.mark.parametrize("opening", [b"[", b'{"x":', b'[{"x":', b'[{"x":[', b'{"x":[{"y":'])
def test_deep_nesting_is_refused_and_not_a_crash(opening: bytes) -> None:
    deep = opening * 100_000
    assert set(reasons(deep)) <= {"not_json", "contract"}
    assert reasons(deep)


def test_deep_nesting_near_the_limit_costs_only_its_part() -> None:
    deep = b'{"x":' + b"[" * (sys.getrecursionlimit() * 20) + b"]" * 5 + b"}"
    assert HIT.read(b"[" + HIT.encode(OPEN) + b"," + deep + b"]")[1]


def test_huge_input_is_read() -> None:
    data = HIT.encode_many([OPEN] * 20_000)
    good, bad = HIT.read(data)
    assert (len(good), bad) == (20_000, [])


def test_a_huge_unknown_field_is_passed_over() -> None:
    assert HIT.read(changed(OPEN, blob="x" * 5_000_000)) == ([OPEN], [])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_raising(data: bytes) -> None:
    for codec in (SEND, HIT, EVENT, ALERT, TRACK):
        good, bad = codec.read(data)
        assert good or bad or data.strip() == b"[]" or data.strip()[:1] == b"["


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_any_damage_is_read_without_raising(at: int, damage: bytes) -> None:
    data = HIT.encode_many([OPEN, OPEN])
    at %= len(data)
    good, bad = HIT.read(data[:at] + damage + data[at + len(damage) :])
    assert all(isinstance(each, Hit) for each in good)
    assert all(error.reason in ("not_json", "contract") for _, error in bad)


def test_ids_end_where_they_end() -> None:
    for field in ("hit_id", "message_id", "tenant"):
        with pytest.raises(InvalidError):
            HIT.decode(changed(OPEN, **{field: getattr(OPEN, field) + "\n"}))


@pytest.mark.parametrize(
    "user", ["a@b.c", "", "a b", "a\n", "a/b", "x" * 65, "\x7f\x85", "\ufeffa"]
)
def test_what_a_user_must_not_be(user: str) -> None:
    with pytest.raises(InvalidError):
        SEND.decode(changed(SENT, user=user))


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "click"},
        {"kind": "click", "link": 0},
        {"kind": "click", "target": "https://example.com"},
        {"link": 0},
        {"target": "https://example.com"},
    ],
)
def test_link_and_target_belong_to_clicks(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidError, match="belong to a click"):
        HIT.decode(changed(OPEN, **fields))


@pytest.mark.parametrize(
    ("mode", "count", "recipients"),
    [("anonymous", 1, [ID]), ("identified", 1, []), ("identified", 2, [ID])],
)
def test_recipients_are_as_many_as_counted(mode: str, count: int, recipients: list[str]) -> None:
    with pytest.raises(InvalidError, match="recipients"):
        SEND.decode(changed(SENT, mode=mode, recipient_count=count, recipients=recipients))


def test_an_error_names_the_place_and_not_the_value() -> None:
    with pytest.raises(InvalidError) as caught:
        SEND.decode(changed(SENT, user="anna@example.org"))
    assert "$.user" in str(caught.value)
    assert "anna" not in str(caught.value)


def test_a_new_track_is_nothing_yet() -> None:
    assert TRACK.decode(b"[]") == Track()
    assert TRACK.decode(TRACK.encode(Track())) == Track()


def test_tracks_share_no_memory() -> None:
    first = Track()
    first.seen["a"] = [1]
    assert Track().seen == {}


def test_alerts_are_keyed_by_tenant_and_user() -> None:
    assert user_key("acme", "u-1042") == b"acme/u-1042"
