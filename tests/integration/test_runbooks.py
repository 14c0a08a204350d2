"""The runbooks of docs/operations: their commands, from the pages, run on the real system.

Each page's blocks of shell run as one script, in their order. The `kubectl` lines are read by
kubectl in tests/deploy.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import DISPLAY, EVENT, HIT, POLICY, Display, Party, Policy
from mailwake.keyring import read_keyring
from mailwake.migrate import read_migrations
from mailwake.schemas import schemas_root
from mailwake.setting_values import TenantUrl
from mailwake.settings import Settings, to_environ
from mailwake.topics_copy import kept
from mailwake_enricher.rules import read_rules
from mailwake_local.ports import free_port
from tests.api import Api, new_keys
from tests.following import put
from tests.installation import own_installation
from tests.judging import Mails, check, loaded
from tests.runbooks import HEADINGS, RUNBOOKS, blocks, page
from tests.running import Service, running, wait_until, without_settings
from tests.topics import read_all
from tests.unit.enricher.values import RULES

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="no curl or no jq"
)
TABLES = ("sends", "hits", "events", "tracks")


class Place:
    """An installation, its services, and a folder in which an operator sits."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.api = Api(settings, folder)
        names = ("edge", "enricher", "loader")
        self.services = {name: Service(name, settings, folder / f"{name}.log") for name in names}

    def run(self, script: str, **more: str) -> str:
        """What a script says; it must succeed."""
        environ = without_settings() | to_environ(self.settings) | {"API": self.api.url}
        environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=environ | more,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
        return done.stdout

    def counts(self, url: str | None = None) -> dict[str, int]:
        """The rows of each table."""
        clickhouse = ClickHouse(url or self.settings.clickhouse_url)
        try:
            return {
                table: clickhouse.query(f"SELECT count() FROM {table} FINAL")[0][0]
                for table in TABLES
            }
        finally:
            clickhouse.close()


def script(name: str) -> str:
    """The commands of a runbook."""
    return "\n".join(blocks(page(name), "sh"))


@pytest.fixture(scope="module")
def place(kafka: str, clickhouse: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A running installation with mails in it, which all runbooks share."""
    folder = tmp_path_factory.mktemp("operator")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = asyncio.run(
        own_installation(
            kafka,
            clickhouse,
            partitions=4,
            repeat_window_s=RULES.repeat_window_ms // 1000,
            join_wait_s=1,
            edge_port=port,
            tracking_domains=(TenantUrl("acme", url),),
            **new_keys(folder),
        )
    )
    made = Place(settings, folder)
    with running(made.api, *made.services.values()):
        yield made


@pytest.fixture(scope="module")
def mails(place: Place) -> Mails:
    """Mails that have been read, as the tables tell."""

    async def filled() -> Mails:
        made = Mails(place.settings)
        sends = made.some_sends(30)
        await made.put("sends", sends)
        await loaded(place.settings)
        await made.put("hits", made.some_hits(sends, 80))
        policy = Policy("acme", at=1)
        await put(place.settings, "policies", [(b"acme", POLICY.encode(policy))])
        await loaded(place.settings)
        return made

    made = asyncio.run(filled())
    check(place.settings, made, RULES)
    return made


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_says_when_and_how_to_see_and_to_go_back(name: str) -> None:
    text = page(name)
    for heading in HEADINGS:
        assert heading.lower() in text.lower(), heading
    assert f"({name}.md)" in page("README")


def test_upgrade(place: Place) -> None:
    told = place.run(script("upgrade"))
    assert told.startswith("mailwake ")
    assert told.count("nothing to do") == 5


def test_evolution(place: Place, mails: Mails) -> None:
    """All but the last steps, which want the services stopped; `test_more_partitions` has them."""
    told = place.run(script("evolution").partition("mailwake topics save")[0])
    assert "nothing to do" in told
    assert "from 4 to 6 partitions" in told


def test_keys(place: Place) -> None:
    before = read_keyring(place.settings.keyring).current
    told = place.run(script("keys"))
    keyring = read_keyring(place.settings.keyring)
    assert keyring.current == before + 1
    assert [gone.id for gone in keyring.revoked] == [1]
    assert told.count('"effective"') >= 2  # of the token by the new key, before and after
    assert "ben@acme.example" in told


def test_tracking_domain(place: Place) -> None:
    script_ = script("tracking-domain")
    edge = place.services["edge"]
    edge.kill()
    edge.start()  # with the key that the runbook of keys has made
    told = place.run(script_)
    assert told.strip() == "200 image/gif"
    (domain,) = place.settings.tracking_domains
    assert (place.folder / "pixel.txt").read_text().startswith(f"{domain.url}/o/")


async def test_replay(place: Place, mails: Mails) -> None:
    late = mails.some_sends(3)
    hits = mails.some_hits(late, 5)
    await mails.put("hits", hits)
    async with asyncio.timeout(60):
        while len(await read_all(place.settings, "hits.unmatched")) < len(hits):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    await mails.put("sends", late)
    await loaded(place.settings)
    rules = (files("mailwake_enricher") / "rules").iterdir()
    shutil.copy(str(max(rules, key=str)), place.folder / "rules.toml")
    read_rules(place.folder / "rules.toml")
    *before, loader = blocks(page("replay"), "sh")
    told = await asyncio.to_thread(place.run, "\n".join(before))
    given_in = re.findall(r"^(\d+) hits (would be )?replayed", told, re.M)
    assert [bool(dry) for _, dry in given_in] == [True, False]
    assert all(int(count) >= len(hits) for count, _ in given_in)  # another runbook's pixel too
    assert told.count("verdicts turn") == 2
    await loaded(place.settings)
    check(place.settings, mails, RULES)
    # The loader, which has to be stopped first.
    there = place.counts()
    with pytest.raises(AssertionError, match="a loader runs"):
        await asyncio.to_thread(place.run, loader)
    place.services["loader"].stop()
    clickhouse = ClickHouse(place.settings.clickhouse_url)
    for table in TABLES:
        clickhouse.execute(f"TRUNCATE TABLE {table}")
    clickhouse.close()
    told = await asyncio.to_thread(place.run, loader)
    assert "records would be loaded again" in told
    assert "records will be loaded again" in told
    await asyncio.to_thread(place.services["loader"].start)
    await asyncio.to_thread(wait_until, "all is loaded again", lambda: place.counts() == there)
    check(place.settings, mails, RULES)


def test_erasure(place: Place, mails: Mails) -> None:
    message_id = next(reversed(mails.sends))
    sent = mails.sends[message_id]
    anna = Party("anna@example.com", "Anna")
    display = Display(message_id, "acme", sent.user, "Hello", [anna])
    record = (message_id.encode(), DISPLAY.encode(display))
    asyncio.run(put(place.settings, "displays", [record]))
    told = place.run(script("erasure"))
    assert '"state": "done"' in told
    assert re.search(r'"displays": [1-9]', told)


async def test_backup_and_a_lost_region(place: Place, mails: Mails) -> None:
    """A copy, and all of it in a Kafka and a ClickHouse that know nothing."""
    loader = place.services["loader"]
    loader.stop()
    make, prove, restore, single = blocks(page("backup"), "sh")
    saved = place.run(make)
    counts = dict(re.findall(r"^(\S+) +([\d,]+) records$", saved, re.M))
    assert set(counts) == set(kept())
    assert int(counts["tracks"].replace(",", "")) > 30
    assert counts["policies"] == "1"
    assert place.run(prove) == saved
    # ClickHouse: the statements of the page, to the memory of the engine in place of S3.
    name = place.settings.clickhouse_url.rpartition("/")[2]
    there = place.counts()
    clickhouse = ClickHouse(place.settings.clickhouse_url, database="default")
    for statement in blocks(page("backup"), "sql"):
        assert "DATABASE mailwake " in statement
        statement = re.sub(r"S3\(.*\)", f"Memory('{name}')", statement)
        if statement.startswith("RESTORE"):
            clickhouse.execute(f"DROP DATABASE {name}")
        clickhouse.execute(statement.replace("mailwake", name, 1))
    clickhouse.close()
    assert place.counts() == there
    assert "nothing to do" in place.run(restore)
    await asyncio.to_thread(loader.start)
    await loaded(place.settings)
    assert place.counts() == there
    # The single topic, in a place where it is missing.
    prefix = f"single{place.settings.topic_prefix}"
    assert "created" in place.run(single, MAILWAKE_TOPIC_PREFIX=prefix)
    # Another place.
    url = f"{place.settings.clickhouse_url}_elsewhere"
    topics, tables = blocks(page("disaster"), "sh")
    lost = {
        "MAILWAKE_TOPIC_PREFIX": f"there{place.settings.topic_prefix}",
        "CLICKHOUSE_URL": url,
    }
    assert place.run(topics, **lost) == saved
    told = place.run(tables, **lost)
    assert told.count("applied") == len(read_migrations(schemas_root() / "clickhouse"))


async def test_more_partitions_and_the_mails_of_before(place: Place, mails: Mails) -> None:
    """The last steps of evolution.md; a mail that was sent before them is opened after them."""
    for each in place.services.values():
        each.stop()
    _, _, steps = script("evolution").partition("mailwake topics save")
    told = place.run(f"mailwake topics save{steps}")
    assert told.count("tracks ") == 2
    new = dataclasses.replace(
        place.settings, topic_prefix=f"new{place.settings.topic_prefix}", partitions=6,
        state=place.folder / "new",
    )  # fmt: skip
    enricher = Service("enricher", new, place.folder / "new-enricher.log")
    (opened,) = Mails(new).some_hits([next(iter(mails.sends.values()))], 1)[:1]
    with running(enricher):
        await put(new, "hits", [(opened.message_id.encode(), HIT.encode(opened))])
        async with asyncio.timeout(60):
            while not (told_of := await read_all(new, "events")):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    assert EVENT.read(told_of[0].value or b"")[0][0].hit_id == opened.hit_id
