"""Every process is replaced by one of another version, under load: nobody notices, and nothing is
lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import POLICY, Policy
from mailwake.ids import now_ms
from mailwake.keyring import read_keyring
from mailwake_api.bearer import Caller
from mailwake_api.commands import new_token
from mailwake_api.keys import read_keys
from mailwake_relay.users import new_login, write_users
from tests.api import new_keys
from tests.fleet import READERS_FIRST, Fleet
from tests.following import put
from tests.installation import own_installation
from tests.next_version import VERSION, WRITTEN, make_next_version
from tests.smtp_host import SmtpHost
from tests.traffic import LOGIN, TENANT, USER, Traffic, check, wait_until_read, written_by


@pytest.fixture
def host() -> Iterator[SmtpHost]:
    with SmtpHost() as running:
        yield running


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
    settings = await own_installation(
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
    policy = Policy(TENANT, at=now_ms(), basis="legitimate_interests")
    await put(settings, "policies", [(TENANT.encode(), POLICY.encode(policy))])
    token = new_token(
        settings, read_keys(settings.api_keys)[-1], Caller(TENANT, USER, "user"), 3600
    )
    fleet = Fleet(settings, tmp_path, make_next_version(tmp_path / "next"))
    traffic = Traffic(fleet.balancers, host, read_keyring(settings.keyring), token)
    replaced = 0
    try:
        async with fleet.looked_after():
            await fleet.start()
            async with traffic.running():
                await traffic.go_on()
                await fleet.prepare()
                for kind in READERS_FIRST:
                    # In short one of the two, so that both versions work side by side to the end.
                    for member in fleet.of(kind)[: 2 if long else 1]:
                        await fleet.replace(member, next_version=True)
                        await traffic.go_on()  # both versions, side by side
                        replaced += 1
                for kind in reversed(READERS_FIRST) if long else ():
                    for member in fleet.of(kind):
                        await fleet.replace(member, next_version=False)
                        await traffic.go_on()
                        replaced += 1
        assert not traffic.failures
        await asyncio.to_thread(wait_until_read, settings)
    finally:
        fleet.kill()
    await asyncio.to_thread(check, settings, traffic, partial(tally, injected=replaced))
    for topic in ("sends", "displays", "hits", "events", "alerts"):
        new, old = await asyncio.to_thread(written_by, settings, topic, WRITTEN)
        assert new, f"the next version wrote no {topic}"
        assert old, f"this version wrote no {topic}"
    client = ClickHouse(settings.clickhouse_url)
    try:
        releases = client.query("SELECT DISTINCT release FROM events FINAL ORDER BY release")
    finally:
        client.close()
    assert releases == [("",), (VERSION,)]
    for member in fleet.members:
        assert "Traceback" not in member.log.read_text(), member.log.read_text()[-3000:]
