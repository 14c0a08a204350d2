"""In what order and in what records unmatched hits are replayed."""

from __future__ import annotations

from msgspec.structs import replace

from mailwake.contracts import HIT
from mailwake.publish import BATCH, BATCH_BYTES, batches
from mailwake.track import Track
from mailwake_enricher.decide import WAITING_HITS
from mailwake_enricher.replay import Queue, Unmatched
from tests.unit.enricher.values import NOW, hit, run, send

OTHER = "ff" * 16


def test_hits_go_in_the_order_of_the_topic_save_those_of_a_mail_of_which_too_many_waited() -> None:
    early, later, other = hit(), hit(), hit(message_id=OTHER)
    queue = Queue()
    first = queue.take([Unmatched(later, "waiting_full"), Unmatched(other, "no_send")])
    assert first == [other]
    assert queue.take([Unmatched(early, "no_send")]) == []
    assert queue.rest() == [early, later]
    assert queue.rest() == []
    assert queue.take([Unmatched(early, "no_send")]) == [early]


def test_records_are_bounded_in_hits_and_bytes() -> None:
    hits = [hit() for _ in range(BATCH + 1)]
    made = list(batches(hits, HIT, 1))
    assert [len(HIT.read(value)[0]) for _, _, value in made] == [BATCH, 1]
    assert made[0][1] == hits[0].message_id.encode()
    assert [each for _, _, value in made for each in HIT.read(value)[0]] == hits
    long = [hit(agent="ä" * 512, referer="ü" * 256, network="n" * 64)] * 199
    large = [hit(kind="click", link=1, target="ü" * 8000, agent="") for _ in range(100)]
    for _, _, value in batches(long + large, HIT, 1):
        assert len(value) <= BATCH_BYTES + 2
    assert list(batches([], HIT, 1)) == []


def test_what_is_replayed_and_finds_no_room_to_wait_is_not_lost_when_it_comes_again() -> None:
    hits = [replace(hit(at=NOW + 120_000 * at), replayed=True) for at in range(WAITING_HITS + 3)]
    track = Track()
    given_up = run(track, *hits).unmatched
    assert [each for each, _ in given_up] == hits[WAITING_HITS:]
    run(track, send())
    assert track.opens == WAITING_HITS
    run(track, *hits)
    assert track.opens == len(hits)
    run(track, *hits)
    assert track.opens == len(hits)
