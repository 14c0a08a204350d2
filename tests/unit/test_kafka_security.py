"""What Kafka's clients are made with; a file that cannot be used is one line that names it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from mailwake.errors import ConfigError, DeniedError
from mailwake.kafka_security import client_arguments, denied
from mailwake.settings import Settings, read_settings
from mailwake_enricher.transport import credentials
from mailwake_local.certificate import make_certificate


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A settings environment for TLS and SCRAM whose files are in order."""
    chain, key = make_certificate(tmp_path)
    password = tmp_path / "password"
    password.write_text("se cret\n")
    return {
        "KAFKA_SECURITY": "sasl_ssl",
        "KAFKA_CA": str(chain),
        "KAFKA_CERTIFICATE": str(chain),
        "KAFKA_KEY": str(key),
        "KAFKA_USER": "mailwake-edge",
        "KAFKA_PASSWORD_FILE": str(password),
    }


def test_nothing_set_is_plaintext() -> None:
    settings = read_settings({})
    assert client_arguments(settings) == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
    }
    assert credentials(settings) is None


def test_tls_and_a_password_from_a_file(files: dict[str, str]) -> None:
    arguments = client_arguments(read_settings(files))
    context = arguments.pop("ssl_context")
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert arguments == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "mailwake-edge",
        "sasl_plain_password": "se cret",
    }


@pytest.mark.parametrize("security", ["ssl", "sasl_ssl", "sasl_plaintext"])
def test_faust_proves_itself_as_all_others(files: dict[str, str], security: str) -> None:
    settings = read_settings(files | {"KAFKA_SECURITY": security})
    made: Any = credentials(settings)
    assert made.protocol.value == client_arguments(settings)["security_protocol"]
    if security.startswith("sasl"):
        assert (made.username, made.password) == ("mailwake-edge", "se cret")
        assert made.mechanism.value == "SCRAM-SHA-512"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"KAFKA_USER": ""}, "KAFKA_SECURITY is sasl_ssl, which wants KAFKA_USER"),
        ({"KAFKA_PASSWORD_FILE": ""}, "KAFKA_SECURITY is sasl_ssl, which wants"),
        ({"KAFKA_PASSWORD_FILE": "/no/such"}, "/no/such: cannot read the password of KAFKA_USER"),
        ({"KAFKA_CA": "/no/such"}, "KAFKA_CA /no/such: cannot be read (No such file"),
        ({"KAFKA_CA": "{key}"}, "must hold certificates (PEM), and does not"),
        ({"KAFKA_KEY": ""}, "KAFKA_CERTIFICATE wants KAFKA_KEY beside it"),
        ({"KAFKA_KEY": "/no/key"}, "KAFKA_KEY /no/key: cannot be read (No such file"),
        ({"KAFKA_KEY": "{ca}"}, "must hold a certificate with its key"),
        ({"KAFKA_CERTIFICATE": "/no/chain"}, "KAFKA_CERTIFICATE /no/chain: cannot be read"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    files: dict[str, str], changed: dict[str, str], told: str
) -> None:
    named = {"{key}": files["KAFKA_KEY"], "{ca}": files["KAFKA_CA"]}
    environ = files | {name: named.get(value, value) for name, value in changed.items()}
    with pytest.raises(ConfigError) as caught:
        client_arguments(read_settings(environ))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "se cret" not in str(caught.value)


def test_an_empty_password_file_is_told(files: dict[str, str]) -> None:
    Path(files["KAFKA_PASSWORD_FILE"]).write_text("\n")
    with pytest.raises(ConfigError, match="first line must be the password"):
        client_arguments(read_settings(files))


def _within_a_task(cause: Exception) -> KafkaError:
    error = KafkaError("Unexpected error during coordination")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TopicAuthorizationFailedError("hits"), "not let edge read or write the topic hits"),
        (TopicAuthorizationFailedError({"b", "a"}), "read or write the topic a, b"),
        (_within_a_task(GroupAuthorizationFailedError("loader")), "join the group loader"),
        (ClusterAuthorizationFailedError(), "write to any topic"),
    ],
)
def test_a_missing_right_is_named(error: KafkaError, told: str) -> None:
    found = denied(Settings(kafka_user="edge"), error)
    assert isinstance(found, DeniedError)
    assert told in str(found)
    assert "mailwake acls render" in str(found)


def test_another_error_is_no_missing_right() -> None:
    assert denied(Settings(), KafkaError("x")) is None
