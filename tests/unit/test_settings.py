"""Settings: a wrong one is one line that says what is right; the page tells them all."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mailwake.errors import ConfigError
from mailwake.settings import Settings, read_settings, settings_page, to_environ

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

# For each setting values that are wrong, and a part of what is said about them.
WRONG: dict[str, list[tuple[str, str]]] = {
    "KAFKA_BOOTSTRAP": [
        ("", "host:port"),
        ("kafka", "host:port"),
        ("kafka:", "host:port"),
        (":9092", "host:port"),
        ("kafka:0", "host:port"),
        ("kafka:65536", "host:port"),
        ("kafka:90x2", "host:port"),
        ("a:1,b", "host:port"),
        ("a:1,", "host:port"),
    ],
    "KAFKA_SECURITY": [("tls", "sasl_ssl"), ("", "plaintext")],
    "KAFKA_CA": [("~nobody-here/x", "unknown user")],
    "KAFKA_CERTIFICATE": [("~nobody-here/x", "unknown user")],
    "KAFKA_KEY": [("~nobody-here/x", "unknown user")],
    "KAFKA_MECHANISM": [("scram", "SCRAM-SHA-512"), ("", "PLAIN")],
    "KAFKA_PASSWORD_FILE": [("~nobody-here/x", "unknown user")],
    "CLICKHOUSE_CA": [("~nobody-here/x", "unknown user")],
    "CLICKHOUSE_PASSWORD_FILE": [("~nobody-here/x", "unknown user")],
    "CLICKHOUSE_URL": [
        ("", "clickhouse://host:port"),
        ("localhost:9000", "clickhouse://host:port"),
        ("http://localhost:8123", "clickhouse://host:port"),
        ("clickhouse://", "clickhouse://host:port"),
        ("clickhouse://host:port", "clickhouse://host:port"),
        ("clickhouse://host:99999", "clickhouse://host:port"),
    ],
    "MAILWAKE_TOPIC_PREFIX": [("a b", "letters"), ("ü.", "letters"), ("a/", "letters")],
    "MAILWAKE_PARTITIONS": [("-1", "0 to 4096"), ("4097", "0 to 4096"), ("", "0 to 4096")],
    "MAILWAKE_REPLICATION": [("-2", "-1 to 9"), ("10", "-1 to 9"), ("two", "-1 to 9")],
    "MAILWAKE_KEYRING": [("", "not be empty"), (" ", "not be empty")],
    "MAILWAKE_TRACKING_URL": [
        ("", "https://host:port"),
        ("t.example.org", "https://host:port"),
        ("ftp://t.example.org", "https://host:port"),
        ("https://[::1", "https://host:port"),
    ],
    "MAILWAKE_TRACKING_DOMAINS": [
        ("https://t.acme.example", "tenants with their URLs"),
        ("acme=t.acme.example", "acme=https://"),
        ("=https://t.acme.example", "tenants with their URLs"),
        ("ACME=https://t.acme.example", "tenants with their URLs"),
        ("acme=https://a.example,acme=https://b.example", "each tenant once"),
        ("acme=https://a.example,globex=https://A.example:443", "one tenant alone"),
    ],
    "MAILWAKE_EDGE_HOST": [("", "not be empty")],
    "MAILWAKE_EDGE_PORT": [("65536", "0 to 65535"), ("80.5", "0 to 65535"), ("--1", "0 to 65535")],
    "MAILWAKE_EDGE_LINGER_MS": [("1001", "0 to 1000"), ("10ms", "0 to 1000")],
    "MAILWAKE_EDGE_BATCH_HITS": [("0", "1 to 1000"), ("1001", "1 to 1000")],
    "MAILWAKE_EDGE_QUEUE_HITS": [("999", "1000 to 10000000"), ("many", "1000 to")],
    "MAILWAKE_EDGE_DURABILITY": [("fast", "strict, relaxed")],
    "MAILWAKE_EDGE_SPOOL_MB": [("0", "1 to 1000000"), ("1G", "1 to")],
    "MAILWAKE_TRUSTED_PROXIES": [("10.0.0.1/8", "10.0.0.0/8"), ("proxy", "networks such as")],
    "MAILWAKE_WEBHOOK_HTTP": [("true", "no, yes")],
    "MAILWAKE_WEBHOOK_NETWORKS": [("127.0.0.1/8", "10.0.0.0/8")],
    "MAILWAKE_WEBHOOK_TIMEOUT_S": [("0", "0.1 to 60"), ("61", "0.1 to 60")],
    "MAILWAKE_WEBHOOK_SCHEDULE": [
        ("", "1 to 15 waits"),
        ("5,", "1 to 15 waits"),
        ("0", "0.01 to 86400"),
        ("5,86401", "0.01 to 86400"),
        (",".join("5" * 16), "1 to 15 waits"),
    ],
    "MAILWAKE_WITHDRAWAL_URL": [("w.example.org", "https://host:port")],
    "MAILWAKE_LOG_FORMAT": [("xml", "text, json")],
    "MAILWAKE_TRACES": [("on", "off, otlp")],
    "MAILWAKE_TRACES_RATIO": [("2", "0 to 1"), ("all", "0 to 1")],
    "MAILWAKE_RELAY_HOST": [("", "not be empty")],
    "MAILWAKE_RELAY_PORT": [("smtp", "0 to 65535")],
    "MAILWAKE_RELAY_NEXT": [("mx.example.org:25", "smtp://host:port"), ("smtp://", "smtp://")],
    "MAILWAKE_COMPOSE_RELAY": [("relay:2525", "smtp://host:port"), ("", "smtp://")],
    "MAILWAKE_RELAY_NEXT_TIMEOUT_S": [("0", "1 to 600"), ("long", "1 to 600")],
    "MAILWAKE_RELAY_USERS": [("", "not be empty")],
    "MAILWAKE_RELAY_PLAIN_AUTH": [("yes", "never, loopback, always")],
    "MAILWAKE_RELAY_MAX_BYTES": [("35M", "1024 to 1073741824")],
    "MAILWAKE_RELAY_WITHOUT_KAFKA": [("queue", "untracked, refuse")],
    "MAILWAKE_API_HOST": [("", "not be empty")],
    "MAILWAKE_API_PORT": [("65536", "0 to 65535")],
    "MAILWAKE_API_KEYS": [("", "not be empty")],
    "MAILWAKE_API_AUDIENCE": [("", "not be empty")],
    "MAILWAKE_API_ALERTS": [("999", "1000 to 100000000")],
    "MAILWAKE_API_MAX_BYTES": [("0", "1024 to 1073741824")],
    "MAILWAKE_DIGEST_FROM": [("", "an address"), ("Mailwake", "an address")],
    "MAILWAKE_DIGEST_SMTP": [("mail.example", "smtp://"), ("http://mail.example", "smtp://")],
    "MAILWAKE_STATE": [("", "not be empty")],
    "MAILWAKE_WORKER": [("", "not be empty")],
    "MAILWAKE_REPEAT_WINDOW_S": [("-1", "0 to 86400"), ("86401", "0 to 86400")],
    "MAILWAKE_RETURN_S": [("3599", "3600 to 31536000"), ("1d", "3600 to 31536000")],
    "MAILWAKE_SETTLE_S": [("-1", "0 to 45"), ("46", "0 to 45")],
    "MAILWAKE_SETTLE_DOUBTFUL_S": [("-1", "0 to 45"), ("46", "0 to 45")],
    "MAILWAKE_COALESCE_S": [("-1", "0 to 3600"), ("3601", "0 to 3600"), ("0.5", "0 to 3600")],
    "MAILWAKE_JOIN_WAIT_S": [("0", "1 to 604800"), ("604801", "1 to 604800")],
    "MAILWAKE_RULES": [("~nobody-here/x", "unknown user")],
    "MAILWAKE_ALERT_AGE_S": [("0", "1 to 31536000"), ("1d", "1 to 31536000")],
    "MAILWAKE_LOADER_ROWS": [("0", "1 to 1000000"), ("1e3", "1 to 1000000")],
    "MAILWAKE_DRAIN_S": [("-1", "0 to 300"), ("301", "0 to 300"), ("soon", "0 to 300")],
    "MAILWAKE_LOADER_SECONDS": [("0", "0.05 to 60"), ("61", "0.05 to 60"), ("nan", "0.05 to 60")],
    "MAILWAKE_OPS_HOST": [("", "not be empty")],
    "MAILWAKE_OPS_PORT": [("-1", "0 to 65535"), ("x", "0 to 65535"), ("²", "0 to 65535")],
    "MAILWAKE_LOG_LEVEL": [("loud", "debug, info, warning, error"), ("INFO", "one of debug")],
    "MAILWAKE_HOME": [("", "not be empty"), ("~nobody-here/x", "unknown user")],
    "MAILWAKE_CACHE": [("", "not be empty")],
    "MAILWAKE_LOCAL_KAFKA_PORT": [("70000", "0 to 65535")],
    "MAILWAKE_LOCAL_CLICKHOUSE_PORT": [("70000", "0 to 65535")],
}
ANYTHING_GOES = {  # what they name is looked at where it is used
    "KAFKA_HOME",
    "KAFKA_JAVA",
    "KAFKA_USER",
    "MAILWAKE_ASN_FILE",
    "MAILWAKE_COMPOSE_PASSWORD",
    "MAILWAKE_RELAY_CERTIFICATE",
    "MAILWAKE_RELAY_KEY",
    "MAILWAKE_RELAY_FOOTER",
    "MAILWAKE_API_ISSUER",
}

NAMES = [field.metadata["name"] for field in dataclasses.fields(Settings)]


def test_every_setting_has_its_wrong_values() -> None:
    assert {*WRONG} | ANYTHING_GOES == {*NAMES}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [(name, value, told) for name, wrong in WRONG.items() for value, told in wrong],
)
def test_a_wrong_value_is_one_line(name: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({name: value})
    line = str(caught.value)
    assert line.startswith(f"{name} must")
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["CLICKHOUSE_URL", "MAILWAKE_RELAY_NEXT", "MAILWAKE_DIGEST_SMTP"])
def test_a_password_is_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({name: "https://default:secret@host"})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MAILWAKE_PARTITION", "did you mean MAILWAKE_PARTITIONS?"),
        ("MAILWAKE_EDGEPORT", "did you mean MAILWAKE_EDGE_PORT?"),
        ("MAILWAKE_LOGLEVEL", "did you mean MAILWAKE_LOG_LEVEL?"),
        ("MAILWAKE_QQQQQQQQQQQQQQQQQQQQ", "docs/settings.md lists the settings"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings({name: "1"})
    assert str(caught.value) == f"{name} is not a setting; {near}"


def test_names_that_are_not_ours_are_passed_over() -> None:
    assert read_settings({"KAFKA_OPTS": "x", "PATH": "/bin"}) == read_settings({})


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_settings({}).partitions = 2  # type: ignore[misc]


def test_what_is_given_stands_above_the_environment() -> None:
    settings = read_settings({"MAILWAKE_PARTITIONS": "2"}, partitions=3)
    assert settings.partitions == 3


CHANGED: list[dict[str, str]] = [
    {},
    {
        "KAFKA_BOOTSTRAP": "a:1, b:2",
        "CLICKHOUSE_URL": "clickhouses://u:p%40@h:1/db/",
        "MAILWAKE_TOPIC_PREFIX": "t1.",
        "MAILWAKE_REPLICATION": "3",
        "MAILWAKE_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8",
        "MAILWAKE_TRACKING_DOMAINS": "acme=https://t.acme.example/, globex=http://127.0.0.1:8025",
        "MAILWAKE_KEYRING": "~/keys.json",
        "MAILWAKE_DRAIN_S": "2.5",
        "MAILWAKE_LOADER_SECONDS": "0.25",
        "MAILWAKE_LOG_LEVEL": "debug",
        "MAILWAKE_RULES": "~/rules/0002.toml",
        "KAFKA_HOME": "/opt/kafka",
    },
]


@pytest.mark.parametrize("environ", CHANGED)
def test_there_and_back(environ: dict[str, str]) -> None:
    settings = read_settings(environ)
    handed_on = to_environ(settings)
    assert read_settings(handed_on) == settings
    assert {*handed_on} == {*NAMES}


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=NAMES)
def test_a_setting_has_a_default_and_a_sentence(field: dataclasses.Field[Any]) -> None:
    assert field.metadata["about"].endswith(".")
    assert getattr(Settings(), field.name) == field.metadata["parse"](field.metadata["default"])


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == settings_page(), "mailwake settings > docs/settings.md"


def test_a_domain_has_the_host_that_requests_to_it_name() -> None:
    domains = read_settings(
        {"MAILWAKE_TRACKING_DOMAINS": "a=https://T.example:443,b=http://h:80,c=http://h:8025"}
    ).tracking_domains
    assert [each.host for each in domains] == ["t.example", "h", "h:8025"]


def test_a_topic_has_the_prefix() -> None:
    assert read_settings({"MAILWAKE_TOPIC_PREFIX": "t1."}).topic("hits") == "t1.hits"
