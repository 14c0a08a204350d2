"""The count of unread alerts is the same whether it was counted on or is counted at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailwake.contracts import (
    ALERT,
    PERSON,
    Alert,
    AlertReads,
    Consent,
    ConsentState,
    Purpose,
    consent_key,
)
from mailwake.register import Register
from mailwake.settings import read_settings
from mailwake_api.feed import Feed
from mailwake_api.reads import Reads
from mailwake_api.unread import UnreadCounts
from tests.unit.api.values import NOW, alert

KEEP_MS = 1000
KEY = b"acme/ben"
PURPOSE_OF: dict[str, Purpose] = {"open": "opens", "click": "clicks"}

told = st.builds(
    lambda number, revision, at, more: alert(number, revision, NOW + at, **more),
    st.integers(0, 9),
    st.integers(1, 4),
    st.integers(-900, 900),
    st.sampled_from(
        [
            {},
            {"withdrawn": True},
            {"verdict": "scanner"},
            {"recipient_id": "4" * 32},
            {"recipient_id": None},
            {"kind": "click", "recipient_id": "4" * 32},
        ]
    ),
)
read = st.lists(st.integers(0, 9).map(lambda number: f"{number:032x}"), max_size=2)
said = st.tuples(
    st.sampled_from(["3" * 32, "4" * 32]),
    st.sampled_from(["opens", "clicks"]),
    st.sampled_from(["granted", "denied"]),
)
passed = st.integers(0, 500)


@given(
    acts=st.lists(
        st.tuples(
            st.integers(0, 9).flatmap(lambda one: [read, said, said, passed, *[told] * 6][one]),
            st.booleans(),
        ),
        min_size=20,
        max_size=60,
    )
)
def test_it_is_what_counting_anew_gives(
    acts: list[tuple[Alert | list[str] | tuple[str, Purpose, ConsentState] | int, bool]],
) -> None:
    feed, reads, register = Feed(5, 8, KEEP_MS), Reads(), Register(read_settings({}))
    counts = UnreadCounts(feed, reads, register)
    counts.begin(KEY)
    now = NOW
    for offset, (act, asked) in enumerate(acts):
        if isinstance(act, Alert):
            feed.take(b"acme/ada" if act.revision == 1 else KEY, act, 0, offset, now)
        elif isinstance(act, list):
            reads.take(KEY, AlertReads("acme", "ben", now, act) if act else None)
        elif isinstance(act, tuple):
            consent = Consent(f"{offset:032x}", "acme", *act, NOW + offset, "page")
            register._take_consent(consent_key(consent), consent)
        else:
            now += act
        if asked:
            assert counts.of("acme", "ben", now) == len(unread(feed, reads, register, now))
    counts.end(KEY)
    assert counts.of("acme", "ben", now) == len(unread(feed, reads, register, now))


def unread(feed: Feed, reads: Reads, register: Register, now: int) -> list[str]:
    """Worked out on its own, from all that the user has."""
    alerts = [ALERT.decode(item.data) for item in feed.of(KEY, now)]
    return [
        each.alert_id
        for each in alerts
        if each.verdict in PERSON
        and not each.withdrawn
        and each.alert_id not in reads.of(KEY)
        and not (
            each.recipient_id and register.denies("acme", each.recipient_id, PURPOSE_OF[each.kind])
        )
    ]
