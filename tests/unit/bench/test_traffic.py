"""The simulated traffic: it keeps to what is published, its labels are right, a seed fixes it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from statistics import median

import pytest

from bench.quality.arrival import Arrival
from bench.quality.machines import apple_fetches, gateway
from bench.quality.mail import Fetch, Mail, first_clicks, first_open, is_burst, visits
from bench.quality.parameters import Parameters, read_parameters
from bench.quality.people import person
from bench.quality.story import Story
from bench.quality.traffic import mails
from mailwake.contracts import HIT, SEND, Hit
from mailwake.ids import partitioner, split_hit_id

SEED = 7
PARTITIONS = 4


@pytest.fixture(scope="module")
def parameters() -> Parameters:
    return read_parameters(SEED)


@pytest.fixture(scope="module")
def sent(parameters: Parameters) -> list[Mail]:
    return list(mails(parameters, SEED, 2500))


def fetches(sent: list[Mail]) -> Iterator[tuple[Mail, Fetch]]:
    return ((mail, fetch) for mail in sent for fetch in mail.fetches)


def story(parameters: Parameters, number: int, links: int = 5) -> Story:
    return Story(parameters, random.Random(f"test/{number}"), 0, range(links))


# What is published


def test_bursts_begin_as_they_were_measured(parameters: Parameters) -> None:
    begins = []
    for number in range(4000):
        told = story(parameters, number)
        gateway(told, 1)
        begins.append(min(fetch.at for fetch in told.fetches) / 1000)
    assert median(begins) == pytest.approx(43, abs=2)
    assert share(begins, 0, 10) == pytest.approx(0.005, abs=0.004)
    assert share(begins, 20, 60) == pytest.approx(0.66, abs=0.03)
    assert share(begins, 60, 300) == pytest.approx(0.28, abs=0.03)


def test_a_burst_lasts_seconds(parameters: Parameters) -> None:
    for number in range(500):
        told = story(parameters, number, links=8)
        gateway(told, 1)
        times = [fetch.at for fetch in told.fetches]
        assert max(times) - min(times) <= 15_200


def test_people_open_as_was_measured(sent: list[Mail]) -> None:
    waits = [
        (mail.readings[0] - mail.sent_at) / 1000
        for mail in sent
        if mail.readings and mail.send.recipient_count == 1
    ]
    assert len(waits) > 800
    for seconds, expected in ((3600, 0.33), (21_600, 0.53), (86_400, 0.78), (604_800, 0.95)):
        assert share(waits, 0, seconds) == pytest.approx(expected, abs=0.05)


def test_programs_go_by_their_weights(parameters: Parameters) -> None:
    told = story(parameters, 1)
    found = Counter(person(told, 1).program.name for _ in range(6000))
    whole = sum(each.weight for each in parameters.programs)
    for each in parameters.programs:
        assert found[each.name] / 6000 == pytest.approx(each.weight / whole, abs=0.03)


def test_scanners_make_a_published_part_of_the_clicks() -> None:
    """10 to 30% of a campaign's clicks says one source, 30 to 60% another."""
    shares = []
    for seed in range(1, 9):
        sent = mails(read_parameters(seed), seed, 800)
        clicks = [fetch.who for _, fetch in fetches(list(sent)) if fetch.link is not None]
        shares.append(clicks.count("scanner") / len(clicks))
    assert 0.3 < sum(shares) / len(shares) < 0.6
    assert min(shares) < 0.35


def test_clocks_of_senders_are_wrong_by_ten_minutes_at_most(sent: list[Mail]) -> None:
    skews = [abs(mail.send.sent_at - mail.sent_at) / 1000 for mail in sent]
    assert max(skews) <= 600
    assert 0 < sum(skew > 0 for skew in skews) < len(skews) / 2


def share(values: list[float], low: float, high: float) -> float:
    return sum(low < value <= high for value in values) / len(values)


# Labels


def test_every_kind_of_maker_is_there(sent: list[Mail]) -> None:
    sources = {(fetch.who, fetch.source) for _, fetch in fetches(sent)}
    assert sources >= {
        ("person", "apple_protected"),
        ("person", "desktop"),
        ("person", "mobile"),
        ("person", "web"),
        ("person", "gmail"),
        ("proxy", "gmail"),
        ("proxy", "yahoo"),
        ("proxy", "outlook_web"),
        ("prefetch", "apple_protected"),
        ("prefetch", "google_prefetch"),
        ("prefetch", "link_prefetch"),
        ("scanner", "gateway"),
        ("scanner", "safe_links"),
        ("scanner", "script"),
        ("scanner", "preview"),
        ("self", "self"),
    }


def test_a_request_belongs_to_its_mail(sent: list[Mail]) -> None:
    for mail, fetch in fetches(sent):
        assert fetch.at >= mail.sent_at
        assert fetch.link is None or fetch.link < len(mail.send.links)
        assert 0 <= fetch.recipient <= mail.send.recipient_count


def test_networks_are_those_of_the_maker(sent: list[Mail], parameters: Parameters) -> None:
    people = {parameters.networks[name].asn for name in ("homes", "homes6", "offices")}
    for mail, fetch in fetches(sent):
        theirs = fetch.network[1] in people
        if fetch.who in ("person", "self") or fetch.source == "link_prefetch":
            assert theirs or fetch.network == mail.network
        else:
            assert not theirs


def test_an_actor_has_one_label_in_clicks_and_one_in_opens(sent: list[Mail]) -> None:
    labels = Counter(
        (mail.send.message_id, fetch.actor, fetch.link is None, fetch.who)
        for mail, fetch in fetches(sent)
        if fetch.who != "prefetch"
    )
    assert len({key[:3] for key in labels}) == len(labels)


def test_proxies_and_apple_load_the_pixel_alone(sent: list[Mail]) -> None:
    for _, fetch in fetches(sent):
        if fetch.who == "proxy" or fetch.source in ("google_prefetch",):
            assert fetch.link is None
        if fetch.source == "apple_protected":
            assert (fetch.who == "prefetch") == (fetch.link is None)


def test_safe_links_and_previewers_load_links_alone(sent: list[Mail]) -> None:
    for _, fetch in fetches(sent):
        if fetch.source in ("safe_links", "click_check", "preview", "script"):
            assert fetch.link is not None


def test_apple_fetches_at_the_first_reading_at_the_latest(parameters: Parameters) -> None:
    reader = person(story(parameters, 0), 1).opening
    for number in range(200):
        told = story(parameters, number)
        apple_fetches(told, reader, delivered=1000, first=60_000)
        assert 1000 <= min(fetch.at for fetch in told.fetches) <= 60_000


def test_the_sender_looks_from_the_senders_own_place(sent: list[Mail]) -> None:
    own = [
        fetch.network == mail.network and fetch.agent == mail.agent
        for mail, fetch in fetches(sent)
        if fetch.who == "self" and fetch.link is None
    ]
    assert 0.8 < sum(own) / len(own) <= 1


def test_what_is_true_of_a_mail(sent: list[Mail]) -> None:
    for mail in sent:
        for link, first in first_clicks(mail).items():
            assert first.link == link
            assert first.who == "person"
        opened = first_open(mail)
        if opened is not None:
            assert opened.link is None
            # A pixel is loaded at a reading, a moment later.
            assert any(0 <= opened.at - reading <= 2000 for reading in mail.readings)
        for visit in visits(mail):
            assert {fetch.who for fetch in visit} == {"scanner"}
            assert len({fetch.actor for fetch in visit}) == 1


@pytest.mark.parametrize(
    ("times", "links", "networks", "burst"),
    [
        ((0, 4, 10), (0, 1, 2), (1, 1, 1), True),
        ((0, 4, 10.1), (0, 1, 2), (1, 1, 1), False),
        ((0, 4, 10), (0, 1, None), (1, 1, 1), False),
        ((0, 4, 10), (0, 1, 1), (1, 1, 1), False),
        ((0, 15, 30, 45, 60), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1), True),
        ((0, 15, 30, 45, 61), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1), False),
        ((0, 60, 120), (0, 0, None), (1, 2, 3), True),
        ((0, 60, 121), (0, 0, None), (1, 2, 3), False),
        ((0, 60, 120), (0, 0, None), (1, 2, 2), False),
        ((0, 500, 501, 502), (0, 1, 2, 3), (1, 1, 1, 1), True),
    ],
)
def test_what_a_burst_is(
    parameters: Parameters,
    times: tuple[float, ...],
    links: tuple[int | None, ...],
    networks: tuple[int, ...],
    burst: bool,
) -> None:
    visit = [
        Fetch(round(at * 1000), link, "scanner", "gateway", 1, 1, (f"10.0.{network}.0/24", 1), "")
        for at, link, network in zip(times, links, networks, strict=True)
    ]
    assert is_burst(visit, parameters.burst) is burst


# A seed


def test_a_seed_gives_the_same_mails(parameters: Parameters, sent: list[Mail]) -> None:
    assert list(mails(parameters, SEED, 50)) == sent[:50]
    assert list(mails(parameters, SEED + 1, 50)) != sent[:50]


def test_a_seed_gives_the_same_records(parameters: Parameters, sent: list[Mail]) -> None:
    one, other = (
        list(Arrival(parameters.transport, PARTITIONS, SEED).records(sent[:100])) for _ in range(2)
    )
    assert one == other


# On the way


def test_records_are_as_the_edge_and_kafka_make_them(
    parameters: Parameters, sent: list[Mail]
) -> None:
    arrival = Arrival(parameters.transport, PARTITIONS, SEED)
    records = list(arrival.records(sent))
    partition_of = partitioner(PARTITIONS)
    assert [at for at, _ in records] == sorted(at for at, _ in records)
    hits: list[Hit] = []
    sends = 0
    for arrived, record in records:
        codec = SEND if record.topic == "sends" else HIT
        values, bad = codec.read(record.value)
        assert not bad
        assert {partition_of(value.message_id.encode()) for value in values} == {record.partition}
        for value in values:
            if isinstance(value, Hit):
                assert value.at <= arrived
                hits.append(value)
            else:
                sends += 1
    assert sends == len(sent)
    assert {hit.hit_id for hit in hits} == arrival.labels.keys()
    assert len(arrival.labels) == sum(len(mail.fetches) for mail in sent)
    doubled = len(hits) - len(arrival.labels)
    assert 0 < doubled < len(hits) * 0.02
    for hit in hits:
        fetch = arrival.labels[hit.hit_id]
        assert (hit.at, hit.link, hit.agent) == (fetch.at, fetch.link, fetch.agent)
        assert (hit.network, hit.method) == (fetch.network[0], fetch.method)


def test_a_stream_keeps_its_order_in_a_partition(parameters: Parameters, sent: list[Mail]) -> None:
    arrival = Arrival(parameters.transport, PARTITIONS, SEED)
    seen: dict[tuple[int, str], int] = {}
    doubled = set()
    for _, record in arrival.records(sent):
        if record.topic == "sends":
            continue
        for hit in HIT.read(record.value)[0]:
            stream, number = split_hit_id(hit.hit_id)
            last = seen.get((record.partition, stream), 0)
            if number <= last:
                doubled.add(hit.hit_id)
            else:
                seen[record.partition, stream] = number
    assert len(seen) == PARTITIONS * parameters.transport.edges
    # Only what comes a second time comes after a later one.
    assert len(doubled) < len(arrival.labels) * 0.02
