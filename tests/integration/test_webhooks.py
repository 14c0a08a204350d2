"""The sender of webhooks as its own process on a real Kafka: every alert comes, as promised,
whatever the receiver does and whatever process is killed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as Verifier

from mailwake.contracts import CONSENT, consent_key, new_consent
from mailwake.ids import now_ms
from mailwake.keyring import Keyring
from mailwake.settings import Settings
from mailwake.webhook import DisabledFor, Webhook, delivery_of, secret_text
from mailwake_local.certificate import make_certificate
from mailwake_webhooks.pace import MOST_OF_A_WEBHOOK
from tests.following import put, until
from tests.installation import own_topics
from tests.running import running
from tests.topics import lag, rewind
from tests.webhooks import receiver as answers
from tests.webhooks.hooking import (
    SECRET,
    alerts,
    log_of,
    ring,
    service,
    trial,
    webhook,
    webhook_now,
    write_webhooks,
)
from tests.webhooks.receiver import Receiver, Request, first, says


@pytest.fixture
async def settings(kafka: str, tmp_path: Path, keyring: Keyring) -> Settings:
    return trial(await own_topics(kafka, partitions=2, keyring=tmp_path / "keys.json"))


TRANSIENT = {
    "days": first(*[says(500)] * 5),
    "busy": first(says(429, "Retry-After: 2")),
    "away": first(says(503, "Retry-After: 1"), says(302, "Location: http://127.0.0.1:1/")),
    "hang": first(answers.hangs),
    "reset": first(answers.resets, answers.closes),
    "slow": first(answers.slow_head),
    "odd": first(answers.no_http, answers.huge_head, says(404)),
    "slow_body": answers.slow_body,
    "huge_body": answers.huge_body,
    "well": says(200, body="thank you"),
}


@pytest.mark.fault(19)
async def test_every_way_to_fail_ends_with_every_alert_delivered(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    async with Receiver(**TRANSIENT).listening() as receiver:
        hooks = {
            name: webhook(keyring, "acme", name.replace("_", "-"), receiver.url(name))
            for name in TRANSIENT
        }
        await write_webhooks(settings, *hooks.values())
        told = {name: alerts("acme", name.replace("_", "-"), 3) for name in hooks}
        sender = service(settings, tmp_path)
        with running(sender):
            await ring(settings, [each for some in told.values() for each in some])

            wanted = {
                name: {delivery_of(each, hook, 0).delivery_id for each in told[name]}
                for name, hook in hooks.items()
            }
            await until_delivered(settings, set().union(*wanted.values()))
            assert sender.metric('mailwake_webhook_attempts_total{outcome="delivered"}') == 30
            assert sender.metric('mailwake_webhook_attempts_total{outcome="redirect"}') == 3
        for name in hooks:
            assert receiver.ids(name) == wanted[name], name
        check_requests(receiver.got)
        attempts = Counter(each.id for each in receiver.of("days"))
        assert set(attempts.values()) == {6}
        for delivery_id in receiver.ids("busy"):
            one, two = (each.at for each in receiver.of("busy") if each.id == delivery_id)
            assert two - one >= 2
        assert set(Counter(each.id for each in receiver.of("slow_body")).values()) == {1}
        assert set(Counter(each.id for each in receiver.of("well")).values()) == {1}
        for delivery in await log_of(settings):
            if delivery.webhook_id == hooks["days"].webhook_id:
                outcomes = [each.outcome for each in delivery.attempts]
                assert outcomes == ["status"] * 5 + ["delivered"]
                assert (delivery.tries, delivery.due_at) == (6, 0)


def check_requests(got: list[Request]) -> None:
    """All attempts of a message are the same message, and a receiver can verify each."""
    bodies: dict[str, bytes] = {}
    for each in got:
        assert bodies.setdefault(each.id, each.body) == each.body
        Verifier(secret_text(SECRET)).verify(each.body.decode(), each.headers)
        assert each.headers["content-type"] == "application/json"


@pytest.mark.fault(19)
@pytest.mark.parametrize(("answer", "reason"), [(says(410), "gone"), (says(500), "failing")])
async def test_who_is_gone_or_fails_for_days_is_disabled(
    settings: Settings,
    keyring: Keyring,
    tmp_path: Path,
    answer: answers.Answering,
    reason: DisabledFor,
) -> None:
    async with Receiver(it=answer).listening() as receiver:
        hook = webhook(keyring, "acme", None, receiver.url("it"))
        await write_webhooks(settings, hook)
        sender = service(settings, tmp_path)
        with running(sender):
            disabled = f'mailwake_webhook_disabled_total{{reason="{reason}"}}'
            assert f"{disabled} 0.0" in sender.metrics()  # so that Prometheus sees the first
            await ring(settings, alerts("acme", "ben", 1))

            known = await until_disabled(settings, hook)
            assert (known.disabled, known.url, known.secrets) == (reason, hook.url, hook.secrets)
            assert now_ms() - known.disabled_at < 20_000
            assert len(receiver.got) == (1 if reason == "gone" else 6)
            await ring(settings, alerts("acme", "ben", 5))
            await until_read(settings)
            assert sender.metric(disabled) == 1
        assert len(receiver.got) == (1 if reason == "gone" else 6)
        (delivery,) = await log_of(settings)
        assert (delivery.state, delivery.due_at) == ("failed", 0)


async def test_a_webhook_that_takes_other_messages_is_not_disabled(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    """One message that a receiver cannot take does not cost it the others."""

    async def picky(request: Request, writer: asyncio.StreamWriter) -> None:
        bad = json.loads(request.body)["data"]["kind"] == "click"
        await says(500 if bad else 200)(request, writer)

    async with Receiver(it=picky).listening() as receiver:
        hook = webhook(keyring, "acme", "ben", receiver.url("it"))
        await write_webhooks(settings, hook)
        with running(service(settings, tmp_path)):
            await ring(
                settings, alerts("acme", "ben", 1, kind="click", link=0, target="https://x/")
            )
            await until("a first attempt", lambda: len(receiver.got) >= 1)
            await ring(settings, alerts("acme", "ben", 1))
            await until("all attempts", lambda: len(receiver.got) == 7)
            await until_read(settings)
        assert (await webhook_now(settings, hook)).disabled is None
        assert sorted(each.state for each in await log_of(settings)) == ["delivered", "failed"]


async def test_tls_that_does_not_hold_is_never_posted_to(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*make_certificate(tmp_path))
    async with Receiver().listening(context) as receiver:
        await write_webhooks(settings, webhook(keyring, "acme", "ben", receiver.url("it", "https")))
        with running(service(settings, tmp_path)):
            await ring(settings, alerts("acme", "ben", 1))
            await until_read(settings)
        assert receiver.got == []
        (delivery,) = await log_of(settings)
        assert [each.outcome for each in delivery.attempts] == ["tls"] * 6


@pytest.mark.fault(28)
async def test_by_default_nothing_on_this_machine_is_connected_to(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    """Also where a webhook came past the API."""
    usual = dataclasses.replace(settings, webhook_http="no", webhook_networks=())
    async with Receiver().listening() as canary:
        urls = [
            canary.url("it"),
            canary.url("it", "https"),
            f"https://localhost:{canary.port}/",
            f"https://[::ffff:127.0.0.1]:{canary.port}/",
        ]
        await write_webhooks(usual, *(webhook(keyring, "acme", "ben", url) for url in urls))
        with running(service(usual, tmp_path)):
            await ring(usual, alerts("acme", "ben", 2))
            await until_read(usual)
        assert canary.connections == 0
        found = await log_of(usual)
        outcomes = {each.outcome for one in found for each in one.attempts}
        # The first that is given up may disable its webhook before the second is tried.
        assert {"refused"} <= outcomes <= {"refused", "disabled"}
        assert len(found) == 2 * len(urls)


@pytest.mark.fault(20)
async def test_endpoints_that_hang_delay_no_other_tenants_alerts(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    slow = trial(settings, webhook_timeout_s=15.0, webhook_schedule=(60.0, 300.0))
    arrived: dict[str, float] = {}

    async def notes(request: Request, writer: asyncio.StreamWriter) -> None:
        arrived.setdefault(json.loads(request.body)["data"]["alert_id"], time.monotonic())
        await says(204)(request, writer)

    async with Receiver(hang=answers.hangs, well=notes).listening() as receiver:
        hanging = [webhook(keyring, "acme", None, receiver.url("hang")) for _ in range(3)]
        await write_webhooks(
            slow, *hanging, webhook(keyring, "globex", "ada", receiver.url("well"))
        )
        rung: dict[str, float] = {}
        with running(service(slow, tmp_path)):
            for _ in range(20):
                some = alerts("globex", "ada", 3)
                await ring(slow, alerts("acme", "ben", 20) + some)
                rung |= {each.alert_id: time.monotonic() for each in some}
                await asyncio.sleep(0.2)
            await until("all of the others", lambda: arrived.keys() >= rung.keys())
            hung = [each.at for each in receiver.of("hang")]
            assert sum(at - hung[0] < 14 for at in hung) == 3 * MOST_OF_A_WEBHOOK  # no more at once
        delays = sorted(arrived[each] - rung[each] for each in rung)
        # Two seconds at most is what is promised; on a machine busy with other tests a process may
        # stand that long. That nobody waits for those who hang shows either way.
        assert delays[len(delays) // 2] < 2, delays[-5:]
        assert delays[-1] < slow.webhook_timeout_s / 2, delays[-5:]


@pytest.mark.fault(19)
async def test_kill_9_amid_deliveries_loses_none(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    async def takes_its_time(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await says(204)(request, writer)

    fails_first = first(says(500), then=takes_its_time)
    async with Receiver(a=takes_its_time, b=fails_first).listening() as receiver:
        hooks = [
            webhook(keyring, "acme", "ben", receiver.url("a")),
            webhook(keyring, "acme", None, receiver.url("b")),
        ]
        await write_webhooks(settings, *hooks)
        some = alerts("acme", "ben", 200)
        wanted = {delivery_of(each, hook, 0).delivery_id for each in some for hook in hooks}
        sender = service(settings, tmp_path)
        with running(sender):
            await ring(settings, some)
            for least in (20, 150, 300):
                await until("some", lambda least=least: len(receiver.got) >= least, 60)  # type: ignore[misc]
                sender.kill()
                sender.start()
            await until_delivered(settings, wanted)
        check_requests(receiver.got)
        assert {each.id for each in receiver.got} == wanted


@pytest.mark.fault(19)
async def test_when_processes_come_and_go_none_is_lost(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    async def takes_its_time(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await says(204)(request, writer)

    async with Receiver(it=first(says(500), then=takes_its_time)).listening() as receiver:
        hook = webhook(keyring, "acme", None, receiver.url("it"))
        await write_webhooks(settings, hook)
        some = [each for user in ("ada", "ben", "eve") for each in alerts("acme", user, 60)]
        wanted = {delivery_of(each, hook, 0).delivery_id for each in some}
        one, two = (service(settings, tmp_path, name) for name in ("one", "two"))
        with one:
            await ring(settings, some)
            await until("some", lambda: len(receiver.got) >= 30, 60)
            with two:
                assert await asyncio.to_thread(one.stop) == 0
                await until_delivered(settings, wanted)
                await until_read(settings)
        check_requests(receiver.got)
        assert {each.id for each in receiver.got} == wanted


async def test_at_the_end_what_is_under_way_is_handed_on(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    patient = trial(settings, webhook_timeout_s=60.0)
    async with Receiver(it=first(answers.hangs)).listening() as receiver:
        hook = webhook(keyring, "acme", "ben", receiver.url("it"))
        await write_webhooks(patient, hook)
        some = alerts("acme", "ben", 3)
        sender = service(patient, tmp_path)
        with running(sender):
            await ring(patient, some)
            await until("all hang", lambda: len(receiver.got) == 3)
            began = time.monotonic()
            assert await asyncio.to_thread(sender.stop) == 0
            assert time.monotonic() - began < 15
            assert await lag(patient, "webhooks", "alerts") == 0
            assert await lag(patient, "webhooks", "webhooks.retry.now") == 3
            sender.start()
            await until_delivered(
                patient, {delivery_of(each, hook, 0).delivery_id for each in some}
            )
        assert Counter(each.id for each in receiver.got).most_common(1)[0][1] == 2


async def test_a_replay_from_the_start_gives_the_same_messages(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    async with Receiver().listening() as receiver:
        await write_webhooks(settings, webhook(keyring, "acme", "ben", receiver.url("it")))
        sender = service(settings, tmp_path)
        with running(sender):
            await ring(settings, alerts("acme", "ben", 20))
            await until("all", lambda: len(receiver.got) == 20)
            await until_read(settings)
            assert await asyncio.to_thread(sender.stop) == 0
        before = {each.id: each.body for each in receiver.got}
        await rewind(settings, "webhooks", "alerts")
        with running(service(settings, tmp_path)):
            await until("all again", lambda: len(receiver.got) == 40)
        assert {each.id: each.body for each in receiver.got} == before


async def test_whose_alerts_and_of_what_a_webhook_gets(
    settings: Settings, keyring: Keyring, tmp_path: Path
) -> None:
    click = {"kind": "click", "link": 0, "target": "https://example.com/"}
    async with Receiver().listening() as receiver:

        def hook(name: str, user: str | None, tenant: str = "acme", **more: object) -> Webhook:
            return webhook(keyring, tenant, user, receiver.url(name), **more)

        await write_webhooks(
            settings,
            hook("ben", "ben"),
            hook("ada", "ada"),
            hook("all", None),
            hook("clicks", "ben", kinds=["click"]),
            hook("later", "ben", created_at=now_ms() + 3_600_000),
            hook("off", "ben", disabled="by_user", disabled_at=1),
            hook("theirs", None, tenant="globex"),
            hook("bens-other", "ben"),
        )
        denied = new_consent("acme", "9" * 32, "opens", "denied", now_ms(), "test")
        await put(settings, "consents", [(consent_key(denied), CONSENT.encode(denied))])
        one, two, three, four = (
            *alerts("acme", "ben", 1),
            *alerts("acme", "ben", 1, **click),
            *alerts("acme", "ada", 1, withdrawn=True, revision=2),
            *alerts("acme", "ada", 1, recipient_id="9" * 32),
        )
        with running(service(settings, tmp_path)):
            await ring(settings, [one, two, three, four])
            await put(settings, "alerts", [(b"x", b"no JSON"), (b"x", None)])
            await until_read(settings)
        got = {
            name: {json.loads(each.body)["data"]["alert_id"] for each in receiver.of(name)}
            for name in ("ben", "ada", "all", "clicks", "later", "off", "theirs", "bens-other")
        }
        assert got == {
            "ben": {one.alert_id, two.alert_id},
            "bens-other": {one.alert_id, two.alert_id},
            "ada": {three.alert_id},
            "all": {one.alert_id, two.alert_id, three.alert_id},
            "clicks": {two.alert_id},
            "later": set(),
            "off": set(),
            "theirs": set(),
        }
        (withdrawn,) = receiver.of("ada")
        assert json.loads(withdrawn.body)["type"] == "alert.withdrawn"
        withheld = [each for each in await log_of(settings) if each.state == "failed"]
        assert {each.attempts[-1].outcome for each in withheld} == {"withheld"}
        assert len(withheld) == 2


async def until_read(settings: Settings) -> None:
    """Until all is committed, what waits for another attempt too."""
    lanes = [f"webhooks.retry.{lane}" for lane in ("now", "5s", "1m")]

    async def read() -> bool:
        return await lag(settings, "webhooks", "alerts", *lanes) == 0

    await eventually(read)


async def until_delivered(settings: Settings, wanted: set[str]) -> None:
    """Until these deliveries, and no others, are delivered."""

    async def delivered() -> bool:
        done = {each.delivery_id for each in await log_of(settings) if each.state == "delivered"}
        return done == wanted

    await eventually(delivered)


async def until_disabled(settings: Settings, hook: Webhook) -> Webhook:
    """Until a webhook is disabled; gives what is known of it then."""

    async def disabled() -> bool:
        return (await webhook_now(settings, hook)).disabled is not None

    await eventually(disabled)
    return await webhook_now(settings, hook)


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 180) -> None:
    """Until something holds that Kafka is asked for; fails when it does not in time."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 (other processes make it so)
            await asyncio.sleep(0.3)
