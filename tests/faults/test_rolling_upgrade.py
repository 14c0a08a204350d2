"""Every process is replaced by one of another version, under load: nobody notices, and nothing is
lost or doubled; the bell, a webhook and digests tell all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mailwake import __version__
from mailwake.clickhouse import ClickHouse
from mailwake.contracts import POLICY, Policy
from mailwake.ids import now_ms
from mailwake.keyring import read_keyring
from mailwake_api.bearer import Caller
from mailwake_api.commands import new_token
from mailwake_api.keys import read_keys
from mailwake_relay.users import new_login, write_users
from tests.api import new_keys
from tests.fleet import READERS_FIRST, Fleet, Member
from tests.following import put
from tests.installation import own_installation
from tests.next_version import VERSION, WRITTEN, make_next_version
from tests.smtp_host import SmtpHost
from tests.subscribers import Digested, Listener, Posted
from tests.traffic import LOGIN, TENANT, USER, Traffic, check, wait_until_read, written_by
from tests.webhooks.hooking import trial


@pytest.fixture
def host() -> Iterator[SmtpHost]:
    with SmtpHost() as running:
        yield running


SHORT = dict.fromkeys(READERS_FIRST, 1) | {"webhooks": 2}
"""How many of a service's two are replaced in short: one, so that both versions work side by side
to the end; but all alerts of a user come to one process of `webhooks`."""


def first_for(kind: str, fleet: Fleet, bell: Listener) -> list[Member]:
    """The processes of a service, the one that the bell is heard at first."""

    def elsewhere(member: Member) -> bool:
        return member.behind is None or member.behind.address != bell.address

    return sorted(fleet.of(kind), key=elsewhere)


@pytest.mark.alone  # no call may fail, and a service waits for Kafka for some seconds at most
@pytest.mark.timeout(900)  # sixteen processes, and ten of them once more: minutes of processor time
@pytest.mark.fault(37)
async def test_an_upgrade_under_load_and_back(
    kafka: str,
    clickhouse: str,
    tmp_path: Path,
    host: SmtpHost,
    long: bool,
    tally: Callable[..., None],
) -> None:
    users = tmp_path / "users.json"
    write_users(users, {LOGIN[0]: new_login(TENANT, USER, LOGIN[1].encode())})
    installed = await own_installation(
        kafka,
        clickhouse,
        partitions=4,
        repeat_window_s=0,
        settle_s=0.0,
        settle_doubtful_s=0.0,
        relay_users=users,
        relay_next=f"smtp://127.0.0.1:{host.port}",
        tracking_url="https://t.example.com",
        **new_keys(tmp_path),
    )
    settings = trial(installed)  # webhooks go to this machine
    policy = Policy(TENANT, at=now_ms(), basis="legitimate_interests")
    await put(settings, "policies", [(TENANT.encode(), POLICY.encode(policy))])
    token = new_token(
        settings, read_keys(settings.api_keys)[-1], Caller(TENANT, USER, "user"), 3600
    )
    keyring = read_keyring(settings.keyring)
    fleet = Fleet(settings, tmp_path, make_next_version(tmp_path / "next"))
    traffic = Traffic(fleet.balancers, host, keyring, token)
    bell = Listener(fleet.balancers["api"], token)
    posted, digested = Posted(), Digested(settings, host)
    replaced = 0
    try:
        async with posted.subscribed(settings, keyring, TENANT, USER), fleet.looked_after():
            await digested.wish()
            await fleet.start()
            async with bell.listening():
                async with traffic.running():
                    await traffic.go_on()
                    await digested.each_gets_one()
                    await fleet.prepare()
                    for kind in READERS_FIRST:
                        for member in first_for(kind, fleet, bell)[: 2 if long else SHORT[kind]]:
                            await fleet.replace(member, next_version=True)
                            await traffic.go_on()  # both versions, side by side
                            replaced += 1
                            if replaced == 1:
                                assert kind == "digest"
                                await digested.wish()  # of both versions
                    for kind in reversed(READERS_FIRST) if long else ():
                        for member in fleet.of(kind):
                            await fleet.replace(member, next_version=False)
                            await traffic.go_on()
                            replaced += 1
                assert not traffic.failures
                await asyncio.to_thread(wait_until_read, settings)
                await bell.hears_all(settings)
                await posted.gets_all(settings)
                await digested.each_gets_one()
    finally:
        digested.stop()
        fleet.kill()
    await asyncio.to_thread(check, settings, traffic, partial(tally, injected=replaced))
    assert bell.streams > 1, "the process that the bell was heard at was not replaced"
    assert posted.releases == {f"Mailwake/{each}" for each in (__version__, VERSION)}
    for topic in ("sends", "displays", "hits", "events", "alerts", "digests"):
        new, old = await asyncio.to_thread(written_by, settings, topic, WRITTEN)
        assert new, f"the next version wrote no {topic}"
        assert old, f"this version wrote no {topic}"
    client = ClickHouse(settings.clickhouse_url)
    try:
        releases = client.query(
            f"SELECT DISTINCT release FROM events FINAL WHERE tenant = '{TENANT}' ORDER BY release"
        )
    finally:
        client.close()
    assert releases == [("",), (VERSION,)]
    for member in fleet.members:
        assert "Traceback" not in member.log.read_text(), member.log.read_text()[-3000:]
