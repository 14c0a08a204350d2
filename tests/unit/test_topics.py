"""Topic files: what is wrong in one is said with the file's name."""

from pathlib import Path

import pytest
import yaml

from mailwake.errors import ConfigError
from mailwake.topics import read_topics, registry

GOOD = {
    "topic": "hits",
    "version": 1,
    "purpose": "Raw requests.",
    "owner": "edge",
    "producer": ["edge"],
    "consumers": ["enricher"],
    "key": "message_id",
    "partitions": 8,
    "schema": "hit",
    "batched": True,
    "copartitioned": True,
    "config": {"cleanup.policy": "delete", "retention.ms": 604800000},
}


def write(folder: Path, **fields: object) -> None:
    described = {key: value for key, value in (GOOD | fields).items() if value is not None}
    name = "sends" if fields.get("topic") == "sends" else "hits"
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(described), "utf-8")


def test_a_file_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    topic = read_topics(tmp_path)["hits"]
    assert (topic.name, topic.partitions, topic.schema) == ("hits", 8, "hit")
    assert (topic.batched, topic.copartitioned, topic.tombstone) == (True, True, False)
    assert topic.config == {"cleanup.policy": "delete", "retention.ms": "604800000"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"owner": None}, "lacks owner; a topic has topic, version"),
        ({"owner": None, "key": None}, "lacks owner, key"),
        ({"colour": "red"}, "has unknown colour; a topic has topic, version"),
        ({"topic": "hit"}, "says topic 'hit'; it must be 'hits'"),
        ({"partitions": 0}, "partitions must be a whole number from 1"),
        ({"partitions": "8"}, "partitions must be a whole number from 1"),
        ({"partitions": 1.5}, "partitions must be a whole number from 1"),
        ({"partitions": True}, "partitions must be a whole number from 1"),
        ({"version": "one"}, "version must be a whole number from 1"),
        ({"version": 0}, "version must be a whole number from 1"),
        ({"producer": "edge"}, "producer must be a list of services"),
        ({"watchers": [1]}, "watchers must be a list of services"),
        ({"config": ["cleanup.policy"]}, "config must be a mapping of Kafka's topic settings"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, fields: dict[str, object], told: str) -> None:
    write(tmp_path, **fields)
    with pytest.raises(ConfigError) as caught:
        read_topics(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'hits.yaml'}: {told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "must be a mapping of topic, version"),
        ("- hits", "must be a mapping of topic, version"),
        ("topic: [hits", "not YAML: "),
        ("topic: hits\n\tversion: 1", "not YAML: "),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "hits.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_topics(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'hits.yaml'}: {told}")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "hits.yaml").write_bytes(b"topic: \xff\xfe")
    with pytest.raises(ConfigError, match="not YAML"):
        read_topics(tmp_path)


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no topic files \(\*\.yaml\)"):
        read_topics(tmp_path)


def test_copartitioned_topics_are_equal(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, topic="sends", partitions=4)
    with pytest.raises(ConfigError, match="equal partitions, but sends has 4, hits has 8"):
        read_topics(tmp_path)


def test_ours_are_all_there() -> None:
    assert {"sends", "displays", "hits", "events", "tracks", "alerts", "hits.unmatched"} <= {
        *registry()
    }


def test_what_is_joined_is_copartitioned() -> None:
    together = {name for name, topic in registry().items() if topic.copartitioned}
    assert {"sends", "hits", "tracks"} <= together


def test_what_erases_is_compacted() -> None:
    for topic in registry().values():
        compacted = "compact" in topic.config["cleanup.policy"]
        # A receipt is kept for good, and names nobody; the log of webhooks is forgotten by time.
        kept = topic.name in ("erasures", "webhook_deliveries")
        assert (topic.tombstone or kept) == compacted, topic.name
