"""Every example goes into every consumer; what the services write keeps its contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from mailwake import ids
from mailwake.contracts import (
    ALERT,
    ALERT_READS,
    CONSENT,
    EVENT,
    HIT,
    SEND,
    Alert,
    Event,
    Hit,
    user_key,
)
from mailwake.following import Follower
from mailwake.keyring import new_keyring
from mailwake.register import Register
from mailwake.settings import read_settings
from mailwake.tokens import Token
from mailwake.topics import registry
from mailwake.track import TRACK, Track
from mailwake.webhook import DELIVERY, WEBHOOK, Attempt, delivery_of, webhook_key
from mailwake.webhooks import Webhooks
from mailwake_api.alerts import shown
from mailwake_api.bell import Bell
from mailwake_api.connection import Connection
from mailwake_api.deliveries import Deliveries
from mailwake_api.feed import Feed
from mailwake_edge.app import Edge
from mailwake_edge.client import Clients
from mailwake_edge.withdrawn import Withdrawn
from mailwake_enricher import rows
from mailwake_enricher.decide import Rules
from mailwake_enricher.process import Output, Processor, Record
from mailwake_notifier.decide import Drop
from mailwake_notifier.notice import alert_of
from mailwake_webhooks.message import body_of
from mailwake_webhooks.schedule import after
from mailwake_webhooks.successes import Successes
from tests.contract.examples import CODECS, GOOD, INVALID, REASONS, Example, accepts, of

PARTITIONS = registry()["hits"].partitions
RULES = Rules(repeat_window_ms=60_000, join_wait_ms=86_400_000, keep_ms=180 * 86_400_000)
partition_of = ids.partitioner(PARTITIONS)


def told_at_once(event: Event) -> Alert | Drop:
    """What the notifier makes of an event that was told when it happened."""
    return alert_of(event, event.at, 0)


TO_THE_ENRICHER = [each for each in GOOD + INVALID if each.topic in ("sends", "hits")]


class Enricher:
    """A processor with its tracks in memory."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self._processor = Processor(RULES, PARTITIONS, self._load)

    def _load(self, partition: int, message_ids: Iterable[str]) -> dict[str, Track]:
        return {each: self.tracks.get(each, Track()) for each in message_ids}

    def take(self, example: Example) -> tuple[list[Output], set[tuple[str, str]]]:
        """What comes of an example, and for which topics and reasons values are rejected;
        what it writes into `tracks` must keep the contract."""
        values, _ = CODECS[str(registry()[example.topic].schema)].read(example.data)
        key = (values[0].message_id if values else "key").encode()
        result = self._processor.process(
            Record(example.topic, partition_of(key), 7, key, example.data)
        )
        for row_key, row in result.rows:
            assert row is not None
            assert accepts("track", msgspec.json.decode(row))
            self.tracks[row_key.decode()] = TRACK.decode(row)
        return result.outputs, {*result.rejects}


def check(output: Output) -> None:
    """What the enricher writes keeps the contract of its topic."""
    topic = registry()[output.topic]
    if topic.schema is None:
        reason = dict(output.headers)["mailwake-reason"].decode()
        assert reason in REASONS
        return
    written = msgspec.json.decode(output.value)
    for value in written if topic.batched and isinstance(written, list) else [written]:
        assert accepts(topic.schema, value)


@pytest.mark.parametrize("example", TO_THE_ENRICHER, ids=str)
def test_the_enricher_takes_the_good_and_rejects_the_bad(example: Example) -> None:
    outputs, rejects = Enricher().take(example)
    assert rejects == ({(example.topic, example.reason)} if example.reason else set())
    for output in outputs:
        check(output)


def test_from_the_examples_of_sends_and_hits_come_events_and_alerts() -> None:
    enricher = Enricher()
    outputs = [output for each in of("sends") + of("hits") for output in enricher.take(each)[0]]
    for output in outputs:
        check(output)
    events = [
        event
        for output in outputs
        if output.topic == "events"
        for event in EVENT.read(output.value)[0]
    ]
    sent = {send.message_id for each in of("sends") for send in SEND.read(each.data)[0]}
    hit = {hit.message_id for each in of("hits") for hit in HIT.read(each.data)[0]}
    assert {event.message_id for event in events} == sent & hit
    assert {event.kind for event in events} == {"open", "click"}
    assert any(not isinstance(told_at_once(event), Drop) for event in events)


@pytest.mark.parametrize("example", of("events"), ids=str)
def test_the_notifier_takes_it(example: Example) -> None:
    for event in EVENT.read(example.data)[0]:
        told = told_at_once(event)
        if isinstance(told, Drop):
            continue
        assert accepts("alert", msgspec.json.decode(CODECS["alert"].encode(told)))
        assert told.alert_id == ids.alert_id(event.event_id, event.tenant, event.user)
        assert user_key(told.tenant, told.user).count(b"/") == 1


@pytest.mark.parametrize("example", of("alerts"), ids=str)
def test_the_examples_of_alerts_are_what_the_notifier_makes(example: Example) -> None:
    alert = CODECS["alert"].decode(example.data)
    made = [
        told
        for each in of("events")
        for event in EVENT.read(each.data)[0]
        if not isinstance(told := told_at_once(event), Drop)
    ]
    if example.name not in ("revised", "several-opens", "withdrawn"):  # of more than one event
        assert alert in made
    assert alert.alert_id in {each.alert_id for each in made}


LOADED: dict[str, Callable[[Any], rows.Columns]] = {
    "sends": rows.send_columns,
    "displays": rows.display_columns,
    "hits": rows.hit_columns,
    "events": rows.event_columns,
    "tracks": rows.track_columns,
    "consent_proofs": rows.proof_columns,
}


@pytest.mark.parametrize("example", [each for each in GOOD if each.topic in LOADED], ids=str)
def test_the_loader_takes_it(example: Example) -> None:
    values, bad = CODECS[str(registry()[example.topic].schema)].read(
        b"[%s]" % example.data if example.topic == "tracks" else example.data
    )
    assert bad == []
    if example.topic == "tracks":
        values = [("0" * 32, track) for track in values if track.send is not None]
    columns = LOADED[example.topic](values)
    assert {len(cells) for cells in columns.values()} == {len(values)}
    name = "consent_id" if example.topic == "consent_proofs" else "message_id"
    assert columns[name] == [
        value[0] if isinstance(value, tuple) else getattr(value, name) for value in values
    ]


@pytest.mark.parametrize(
    "example", [each for each in GOOD + INVALID if each.topic == "consents"], ids=str
)
def test_the_edge_takes_it(example: Example) -> None:
    """As the follower hands it over: what keeps no contract never comes to it."""
    withdrawn = Withdrawn(read_settings({}))
    follower = withdrawn.follower
    follower._take(b"acme/x/opens", example.data)
    denied = example.reason is None and CONSENT.decode(example.data).state == "denied"
    assert sum(map(len, withdrawn.of.values())) == denied
    for key in (b"", b"\xff", b"acme", b"acme/x/opens", b"acme/%b/mail" % (b"a" * 32)):
        follower._take(key, None)  # none of ours
    assert sum(map(len, withdrawn.of.values())) == denied


@pytest.mark.parametrize(
    "example", [each for each in GOOD + INVALID if each.topic.startswith("alert")], ids=str
)
def test_the_bell_takes_it(example: Example) -> None:
    """As the followers hand it over; what is shown of an alert is what its record says."""
    settings = read_settings({})
    register = Register(settings)
    bell = Bell(settings, register, Connection(settings, register))
    follower: Follower[Any] = bell._alerts if example.topic == "alerts" else bell._marks
    follower._take(b"acme/u-1042", example.data)
    for key in (b"", b"\xff", b"acme/u-1"):
        follower._take(key, None)
    if example.topic == "alert_reads":
        read = bell.read("acme", "u-1042")
        assert example.reason or read == {*ALERT_READS.decode(example.data).alert_ids}
        return
    assert bell.shown("acme", "u-1042") == []  # the examples are older than a week
    feed = Feed(10, 10, 7 * 86_400_000)
    if example.reason is None:
        alert = ALERT.decode(example.data)
        assert feed.take(b"key", alert, 0, 0, alert.at)
        (item,) = feed.of(b"key", alert.at)
        told = msgspec.to_builtins(shown(item, frozenset({alert.alert_id})))
        assert told.pop("read") is True
        assert accepts("alert", told)
        assert msgspec.convert(told, Alert) == alert


@pytest.mark.parametrize(
    "example", [each for each in GOOD + INVALID if each.topic == "webhooks"], ids=str
)
def test_who_knows_all_webhooks_takes_it(example: Example) -> None:
    webhooks = Webhooks(read_settings({}))
    key = webhook_key("acme", "6f1d2c3b4a5968778695a4b3c2d1e0f9")
    webhooks._follower._take(key, example.data)
    found = webhooks.get("acme", "6f1d2c3b4a5968778695a4b3c2d1e0f9")
    assert (found is None) == (example.reason is not None)
    if found is not None:
        assert webhooks.of("acme", found.user) == webhooks.of_tenant("acme") == [found]
    for other in (b"", b"\xff", b"acme/x", key):
        webhooks._follower._take(other, None)
    webhooks._follower._take(b"acme/another", example.data)  # under a key that is not its own
    assert webhooks.of_tenant("acme") == []


@pytest.mark.parametrize(
    "example", [each for each in GOOD + INVALID if each.topic == "webhook_deliveries"], ids=str
)
def test_the_log_of_webhooks_takes_it(example: Example) -> None:
    settings = read_settings({})
    for follower in (Deliveries(settings)._follower, Successes(settings)._follower):
        follower._take(b"key", example.data)
        follower._take(b"key", None)
    if example.reason is None:
        delivery = DELIVERY.decode(example.data)
        body = msgspec.json.decode(body_of(delivery))
        assert body["type"] == delivery.type
        if delivery.alert is not None:
            assert accepts("alert", body["data"])


@pytest.mark.parametrize("example", of("alerts"), ids=str)
def test_what_becomes_of_an_alert_on_its_way_to_a_webhook_keeps_its_contract(
    example: Example,
) -> None:
    alert = ALERT.decode(example.data)
    hook = WEBHOOK.decode(of("webhooks")[0].data)
    told, schedule = delivery_of(alert, hook, alert.at), read_settings({}).webhook_schedule
    while told.state == "pending":
        assert accepts("delivery", msgspec.json.decode(DELIVERY.encode(told)))
        told = after(told, Attempt(told.due_at, "status", 500, 12), schedule)
    assert accepts("delivery", msgspec.json.decode(DELIVERY.encode(told)))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("mode", ["anonymous", "identified"])
@pytest.mark.parametrize("kind", ["open", "click"])
async def test_the_edge_makes_hits_that_keep_their_contract(
    kind: str, mode: str, method: str
) -> None:
    """Whatever a client sends: headers of any length and of any bytes."""
    keyring = new_keyring()
    fields = {"target": "https://example.com/", "link": 0} if kind == "click" else {}
    message_id = ids.new_message_id()
    token = Token(kind, "acme", message_id, 1, mode, **fields)  # type: ignore[arg-type]
    hits: list[Hit] = []
    withdrawn = Withdrawn(read_settings({}))
    withdrawn.follower.caught_up.set()

    def put(made: list[Hit], answer: Callable[[], None]) -> None:
        hits.extend(made)
        answer()

    edge = Edge(keyring.open, put, Clients(()), withdrawn, nothing_else)
    path = f"/{kind[0]}/{keyring.seal(token)}"
    for value in (b"", b"x" * 10_000, bytes(range(128, 256)), "\N{SNOWMAN}".encode()):
        await ask(edge, method, path, value)
    assert len(hits) == 4
    for hit in hits:
        assert accepts("hit", msgspec.json.decode(HIT.encode(hit)))
        assert (hit.kind, hit.mode, hit.method, hit.message_id) == (kind, mode, method, message_id)
        if mode == "anonymous":
            assert (hit.network, hit.agent, hit.referer) == ("", "", "")
        else:
            assert hit.network == "203.0.113.0/24"


async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("only pixels and links are asked for")


async def ask(edge: Edge, method: str, path: str, value: bytes) -> None:
    """One request as the server hands it over, with the same value in every header that counts."""
    names = (b"user-agent", b"referer", b"sec-purpose", b"x-moz", b"x-forwarded-for")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "client": ("203.0.113.77", 4711),
        "headers": [(name, value) for name in names],
    }
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await edge(scope, receive, send)
    await asyncio.sleep(0)  # hits are made in the next turn of the loop
    assert told[0]["status"] == (200 if path.startswith("/o/") else 302)
