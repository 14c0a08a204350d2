"""Topics as Strimzi's resources."""

import pytest
import yaml

from mailwake.errors import ConfigError
from mailwake.settings import read_settings
from mailwake.topics import registry
from mailwake.topics_apply import topics_command
from mailwake.topics_render import kafka_topics, render_strimzi


def test_every_topic_has_its_resource() -> None:
    found = kafka_topics(read_settings({}), "main")
    assert [each["spec"]["topicName"] for each in found] == list(registry())
    for each, topic in zip(found, registry().values(), strict=True):
        assert each["metadata"]["labels"] == {"strimzi.io/cluster": "main"}
        assert each["spec"]["partitions"] == topic.partitions
        assert each["spec"]["config"] == topic.config
        assert "replicas" not in each["spec"]


def test_settings_count_as_when_they_are_applied() -> None:
    settings = read_settings(
        {"MAILWAKE_PARTITIONS": "32", "MAILWAKE_REPLICATION": "3", "MAILWAKE_TOPIC_PREFIX": "a.b_"}
    )
    by_name = {each["metadata"]["name"]: each for each in kafka_topics(settings, "main")}
    reads = by_name["a.b-alert-reads"]["spec"]
    assert (reads["topicName"], reads["partitions"], reads["replicas"]) == (
        "a.b_alert_reads",
        32,
        3,
    )


@pytest.mark.parametrize(("cluster", "prefix"), [("Main", ""), ("", ""), ("main", "Prod.")])
def test_what_kubernetes_does_not_take_is_refused(cluster: str, prefix: str) -> None:
    with pytest.raises(ConfigError, match="lower-case letters"):
        kafka_topics(read_settings({"MAILWAKE_TOPIC_PREFIX": prefix}), cluster)


def test_two_topics_must_not_become_one() -> None:
    alerts = registry()["alert_reads"]
    with pytest.raises(ConfigError, match="'alert-reads'"):
        kafka_topics(read_settings({}), "main", {"a": alerts, "b": alerts})


def test_it_is_yaml_that_says_what_wrote_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert topics_command(["render", "--strimzi", "main"]) == 0
    said = capsys.readouterr().out
    assert said == render_strimzi(read_settings(), "main")
    assert said.startswith("# Written by `mailwake topics render --strimzi main`.\n")
    assert list(yaml.safe_load_all(said)) == kafka_topics(read_settings(), "main")
