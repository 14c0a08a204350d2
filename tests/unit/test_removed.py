"""What may be kept of mails that somebody was erased from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mailwake.contracts import HIT, NOBODY, SEND, Party, Removal
from mailwake.removed import WHOLE, Removed
from mailwake.settings import read_settings
from mailwake_enricher.loader_batch import Batch
from mailwake_enricher.loader_sources import SOURCES
from tests.unit.loader.values import display, event, hit, message_id, record, send, track

BY_NAME = {source.name: source for source in SOURCES}


def removal(*recipients: int, number: int = 1, tenant: str = "acme", by: str = "e") -> Removal:
    return Removal(message_id(number), tenant, by * 32, 1, list(recipients))


def removed(*removals: Removal) -> Removed:
    made = Removed(read_settings({}))
    for each in removals:
        made.take(each.message_id.encode(), each)
    return made


@given(st.lists(st.lists(st.integers(1, 5), max_size=2), min_size=1, max_size=4))
def test_what_several_take_out_adds_up_in_any_order(taken: list[list[int]]) -> None:
    key = "acme", message_id(1)
    one = removed(*(removal(*each) for each in taken))
    other = removed(*(removal(*each) for each in [*reversed(taken), *taken]))
    expected = WHOLE if [] in taken else {at for each in taken for at in each}
    assert one.of == other.of == {key: expected}
    assert one.is_whole(*key) == ([] in taken)


def test_of_a_whole_mail_nothing_is_left() -> None:
    of = removed(removal())
    assert of.rest_of_send(send(1)) is None
    assert of.rest_of_display(display(1)) is None
    assert of.rest_of_act(replace(hit(), message_id=message_id(1))) is None
    assert of.rest_of_act(replace(event(), message_id=message_id(1))) is None
    assert of.by_erasure == {"e" * 32: {message_id(1)}}


def test_of_a_shared_mail_nobody_is_named_and_the_rest_stays() -> None:
    of = removed(removal(2))
    several = send(1, recipient_count=3, recipients=["a" * 32, "b" * 32, "c" * 32])
    rest = of.rest_of_send(several)
    assert rest is not None
    assert rest.recipients == ["a" * 32, NOBODY, "c" * 32]
    assert SEND.decode(SEND.encode(rest)) == rest  # it keeps its contract
    shown = of.rest_of_display(display(1))
    assert shown is not None
    assert shown.recipients == [Party("bob@example.com", "Bob"), Party("")]
    for recipient, kept in ((0, True), (1, True), (2, False)):
        act = replace(hit(), message_id=message_id(1), recipient=recipient)
        assert (of.rest_of_act(act) == act) == kept


def test_other_mails_and_another_tenants_are_as_they_were() -> None:
    of = removed(removal(), removal(number=2, tenant="beta"))
    for number in (2, 3):
        assert of.rest_of_send(send(number)) == send(number)
        assert of.rest_of_display(display(number)) == display(number)
        act = replace(hit(), message_id=message_id(number))
        assert of.rest_of_act(act) is act


@pytest.mark.parametrize("topic", ["sends", "hits", "events", "displays", "tracks"])
def test_the_loader_stores_no_row_of_it(topic: str) -> None:
    """As its records are read: into unchecked twins of the contracts."""
    source = BY_NAME[topic]
    batch: Batch[object] = Batch(source)
    for number in (1, 2):
        value: object = {
            "sends": send(number),
            "hits": replace(hit(number), message_id=message_id(number)),
            "events": replace(event(number), message_id=message_id(number)),
            "displays": display(number),
            "tracks": (message_id(number), track()),
        }[topic]
        each = record(topic, source.encode(value), message_id(number).encode(), number)
        batch.add(each, source.read(each))
    columns, values, origins = batch.columns(removed(removal()))
    assert columns["message_id"] == [message_id(2)]
    assert [origin.offset for origin in origins] == [2]
    assert len(values) == 1
    assert batch.columns()[0]["message_id"] == [message_id(1), message_id(2)]


def test_what_is_bad_is_rejected_beside_what_was_removed() -> None:
    source = BY_NAME["hits"]
    bad = HIT.encode(hit(2)).replace(b'"acme"', b'"ACME"')
    whole = b"[%s,%s]" % (HIT.encode(replace(hit(1), message_id=message_id(1))), bad)
    batch: Batch[object] = Batch(source)
    batch.add(record("hits", whole), source.read(record("hits", whole)))
    columns, _, _ = batch.columns(removed(removal()))
    assert columns["hit_id"] == []
    assert [reject.data for reject in batch.rejects] == [bad]
