"""`mailwake topics apply` on a real Kafka: once all, twice nothing, and what differs put right."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
import uuid

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from mailwake.errors import ConfigError, UnavailableError
from mailwake.kafka import start_admin
from mailwake.settings import Settings, read_settings, to_environ
from mailwake.topics import Topic, registry
from mailwake.topics_apply import apply_topics, topics_command
from mailwake.topics_render import kafka_topics


@pytest.fixture
def settings(kafka: str) -> Settings:
    return read_settings(
        {}, kafka_bootstrap=kafka, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", partitions=2
    )


async def partitions(settings: Settings) -> dict[str, int]:
    admin = await start_admin(settings)
    try:
        return {
            topic["topic"].removeprefix(settings.topic_prefix): len(topic["partitions"])
            for topic in await admin.describe_topics()
            if topic["topic"].startswith(settings.topic_prefix)
        }
    finally:
        await admin.close()


async def config(settings: Settings, topic: str) -> dict[str, str]:
    admin = await start_admin(settings)
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic))
        (answer,) = await admin.describe_configs([resource])
        return {entry[0]: entry[1] for entry in answer.resources[0][4]}
    finally:
        await admin.close()


async def set_config(settings: Settings, topic: str, **values: str) -> None:
    """What an operator may do behind our back; waits until Kafka shows it."""
    wanted = {name.replace("_", "."): value for name, value in values.items()}
    admin = await start_admin(settings)
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, settings.topic(topic), wanted)
        await admin.alter_configs([resource])
    finally:
        await admin.close()
    deadline = time.monotonic() + 10
    while not wanted.items() <= (await config(settings, topic)).items():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_once_all_twice_nothing(settings: Settings) -> None:
    done = await apply_topics(settings)
    assert done == [f"created {settings.topic(name)} with 2 partitions" for name in registry()]
    assert await partitions(settings) == dict.fromkeys(registry(), 2)
    assert await apply_topics(settings) == []


async def test_topics_are_as_their_files_say(settings: Settings) -> None:
    of_the_files = dataclasses.replace(settings, partitions=0)
    await apply_topics(of_the_files)
    assert await partitions(of_the_files) == {n: t.partitions for n, t in registry().items()}
    for name, topic in registry().items():
        assert topic.config.items() <= (await config(of_the_files, name)).items()


async def test_a_config_drift_is_put_right_and_said(settings: Settings) -> None:
    await apply_topics(settings)
    await set_config(settings, "hits", retention_ms="1000", segment_ms="777777")
    hits = settings.topic("hits")
    assert await apply_topics(settings) == [f"set retention.ms of {hits} from 1000 to 604800000"]
    now = await config(settings, "hits")
    assert now["retention.ms"] == "604800000"
    assert now["segment.ms"] == "777777", "what the file does not speak of is left alone"
    assert await apply_topics(settings) == []


async def test_partitions_grow_where_that_is_safe_only(settings: Settings) -> None:
    await apply_topics(settings)
    more = dataclasses.replace(settings, partitions=3)
    done = await apply_topics(more)
    kept = [line for line in done if line.startswith("kept ")]
    assert f"grew {settings.topic('alerts')} from 2 to 3 partitions" in done
    assert len(kept) == 2
    assert settings.topic("displays") in kept[0]
    assert all(settings.topic(name) in kept[1] for name in ("sends", "hits", "events", "tracks"))
    assert all("MAILWAKE_TOPIC_PREFIX" in line for line in kept)
    assert await apply_topics(more) == kept
    now = await partitions(settings)
    assert {now[name] for name in ("sends", "hits", "events", "tracks", "displays")} == {2}
    assert now["alerts"] == 3


async def test_fewer_partitions_change_nothing(settings: Settings) -> None:
    await apply_topics(settings)
    assert await apply_topics(dataclasses.replace(settings, partitions=1)) == []


async def test_a_topic_that_joins_others_has_as_many_partitions(settings: Settings) -> None:
    later = {name: topic for name, topic in registry().items() if name != "events"}
    await apply_topics(settings, later)
    await apply_topics(dataclasses.replace(settings, partitions=5))
    assert (await partitions(settings))["events"] == 2


async def test_joined_topics_that_differ_are_told(settings: Settings) -> None:
    await apply_topics(settings, only("hits"))
    await apply_topics(dataclasses.replace(settings, partitions=3), only("sends"))
    with pytest.raises(ConfigError) as caught:
        await apply_topics(settings)
    told = str(caught.value)
    assert f"{settings.topic('hits')} has 2" in told
    assert f"{settings.topic('sends')} has 3" in told


async def test_two_at_once_do_not_hurt_each_other(settings: Settings) -> None:
    await asyncio.gather(apply_topics(settings), apply_topics(settings))
    assert await apply_topics(settings) == []


async def test_what_kafka_refuses_is_one_line(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="Kafka refuses to create topic") as caught:
        await apply_topics(dataclasses.replace(settings, replication=9))
    assert "MAILWAKE_REPLICATION" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_config_that_kafka_does_not_know_is_one_line(settings: Settings) -> None:
    topic = dataclasses.replace(registry()["alerts"], config={"colour": "red"})
    with pytest.raises(ConfigError, match="colour"):
        await apply_topics(settings, {"alerts": topic})


async def test_a_kafka_that_is_away_is_one_line(settings: Settings) -> None:
    with pytest.raises(UnavailableError, match=r"Kafka does not answer at 127\.0\.0\.1:1 "):
        await apply_topics(dataclasses.replace(settings, kafka_bootstrap="127.0.0.1:1"))


def test_the_command(settings: Settings) -> None:
    assert run(settings, "apply").stdout.count("created ") == len(registry())
    again = run(settings, "apply")
    assert again.stdout == "nothing to do: all topics are as their files say\n"
    assert again.stderr == ""
    listed = run(settings, "list").stdout
    assert all(settings.topic(name) in listed for name in registry())
    wrong = run(settings, "aply")
    assert wrong.returncode == ConfigError.exit_code
    assert wrong.stderr.startswith("mailwake: mailwake topics takes apply, list, render ")
    assert wrong.stderr.endswith(" but was given aply\n")


def test_the_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert topics_command(["--help"]) == 0
    assert "usage: mailwake topics apply|list" in capsys.readouterr().out


def run(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mailwake.cli", "topics", *arguments],
        env=os.environ | to_environ(settings),
        capture_output=True,
        text=True,
        check=False,
    )


def only(name: str) -> dict[str, Topic]:
    return {name: registry()[name]}


async def test_what_strimzi_is_given_is_what_is_made(settings: Settings) -> None:
    await apply_topics(settings)
    made = await partitions(settings)
    rendered = {each["spec"]["topicName"]: each["spec"] for each in kafka_topics(settings, "main")}
    assert rendered.keys() == {settings.topic(name) for name in made}
    for name, count in made.items():
        spec = rendered[settings.topic(name)]
        assert spec["partitions"] == count
        assert spec["config"].items() <= (await config(settings, name)).items()
