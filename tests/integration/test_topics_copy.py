"""`mailwake topics save` and `load`: what was in the topics is in others again."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mailwake.errors import ConfigError
from mailwake.ids import now_ms, partitioner
from mailwake.kafka import start_producer
from mailwake.settings import Settings
from mailwake.topics_copy import kept, load_topics, save_topics
from tests.following import put
from tests.installation import own_settings, own_topics
from tests.topics import read_all

AT = now_ms() - 60_000
"""When the first was written (ms): Kafka drops what is older than a topic keeps, within seconds."""


@pytest.fixture
async def settings(kafka: str) -> Settings:
    return await own_topics(kafka, partitions=2)


async def fill(settings: Settings) -> None:
    """Values that replace each other, a tombstone, a header and bytes that are no text."""
    producer = await start_producer(settings, client_id="test-writer", linger_ms=0)
    for number in range(20):
        key = b"acme/%d" % (number % 7)
        await producer.send_and_wait(
            settings.topic("mutes"),
            None if number == 19 else b"\x00\xff%d" % number,
            key=key,
            timestamp_ms=AT + number,
            headers=[("why", b"\xfe")] if number == 3 else [],
        )
    await producer.stop()


def test_what_nobody_else_has_is_copied() -> None:
    assert set(kept()) == {
        *("alert_reads", "consent_proofs", "consents", "digests", "displays", "erasures", "mutes"),
        *("policies", "preferences", "removals", "tracks", "webhook_deliveries", "webhooks"),
    }


@pytest.mark.parametrize("partitions", [2, 5])
async def test_a_copy_is_the_same_in_other_topics(
    settings: Settings, kafka: str, tmp_path: Path, partitions: int
) -> None:
    await fill(settings)
    folder = tmp_path / "copy"
    assert (await save_topics(settings, folder, ["mutes", "policies"])) == {
        "mutes": 20,
        "policies": 0,
    }
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "mutes.jsonl.gz").stat().st_mode & 0o777 == 0o600
    other = await own_topics(kafka, partitions=partitions)
    assert (await load_topics(other, folder, ["mutes"])) == {"mutes": 20}
    old, new = await read_all(settings, "mutes"), await read_all(other, "mutes")
    assert len(old) == len(new) == 20
    for key in {record.key for record in old}:
        shown = [
            [(r.value, r.timestamp, r.headers) for r in some if r.key == key] for some in (old, new)
        ]
        assert shown[0] == shown[1]
    of = partitioner(partitions)
    assert all(of(record.key or b"") == record.partition for record in new)


async def test_what_is_not_empty_is_not_loaded_into(settings: Settings, tmp_path: Path) -> None:
    await put(settings, "policies", [(b"acme", b"{}")])
    folder = tmp_path / "copy"
    await save_topics(settings, folder, ["mutes", "policies"])
    with pytest.raises(ConfigError, match=r"\.policies is not empty"):
        await load_topics(settings, folder, ["mutes", "policies"])
    assert await read_all(settings, "mutes") == []


async def test_a_folder_is_whole_and_never_overwritten(
    kafka: str, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(ConfigError, match="something stands here"):
        await save_topics(settings, tmp_path / "copy", [])
    with pytest.raises(ConfigError, match="no topic mute;"):
        await save_topics(settings, tmp_path / "other", ["mute"])
    with pytest.raises(Exception, match="mailwake topics apply"):
        await save_topics(own_settings(kafka), tmp_path / "other", [])
    assert [each.name for each in tmp_path.iterdir()] == ["copy"]


async def test_a_damaged_copy_is_told_before_anything_is_written(
    settings: Settings, kafka: str, tmp_path: Path
) -> None:
    await fill(settings)
    folder = tmp_path / "copy"
    await save_topics(settings, folder, ["mutes", "policies"])
    other = await own_topics(kafka, partitions=2)
    whole = (folder / "mutes.jsonl.gz").read_bytes()
    for broken in (whole[:-20], gzip.compress(b'{"key": 1}\n'), b"nothing of the kind"):
        (folder / "mutes.jsonl.gz").write_bytes(broken)
        with pytest.raises(ConfigError, match="damaged"):
            await load_topics(other, folder, ["policies", "mutes"])
    with pytest.raises(ConfigError, match="does not have this topic"):
        await load_topics(other, folder, ["webhooks"])
    assert await read_all(other, "policies") + await read_all(other, "mutes") == []
