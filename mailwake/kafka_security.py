"""How Kafka's clients prove who they are, and whom they talk to: TLS and SASL, from the settings.

Every client of ours is made with `client_arguments`; nowhere else is said how Kafka is reached.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from mailwake import kafka_connection  # noqa: F401 (it is in place from here on)
from mailwake.errors import ConfigError, DeniedError, UnavailableError
from mailwake.secretfile import read_secret
from mailwake.settings import Settings

_PROBE_MS = 5_000

T = TypeVar("T")


def client_arguments(settings: Settings) -> dict[str, Any]:
    """What aiokafka's producers, consumers and admins take to reach Kafka.

    Files are read at each call, so that a new password or certificate is there for the next client.
    Raises ConfigError for a file that cannot be used and for settings that do not go together.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "security_protocol": settings.kafka_security.upper(),
    }
    if settings.kafka_security.endswith("ssl"):
        arguments["ssl_context"] = _tls(settings)
    if settings.kafka_security.startswith("sasl"):
        if not settings.kafka_user or settings.kafka_password_file is None:
            raise ConfigError(
                f"KAFKA_SECURITY is {settings.kafka_security}, which wants KAFKA_USER and "
                "KAFKA_PASSWORD_FILE"
            )
        arguments |= {
            "sasl_mechanism": settings.kafka_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": read_secret(
                settings.kafka_password_file, what="password of KAFKA_USER (KAFKA_PASSWORD_FILE)"
            ),
        }
    return arguments


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.kafka_ca is not None:
        context = _with(settings.kafka_ca, "KAFKA_CA", "certificates (PEM)", _trusting)
    if settings.kafka_certificate is not None:
        if settings.kafka_key is None:
            raise ConfigError("KAFKA_CERTIFICATE wants KAFKA_KEY beside it")
        chain, key = settings.kafka_certificate, settings.kafka_key

        def show(_: Path) -> ssl.SSLContext:
            context.load_cert_chain(chain, key, password=_no_password)
            return context

        _with(key, "KAFKA_KEY", "a key (PEM)", Path.read_bytes)  # told by its own name
        _with(chain, "KAFKA_CERTIFICATE", f"a certificate with its key {key} (KAFKA_KEY)", show)
    return context


def _trusting(path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(path))


def _no_password() -> str:
    raise ssl.SSLError("the key is locked with a password, and must not be")


def _with(path: Path, setting: str, what: str, load: Callable[[Path], T]) -> T:
    """What `load` makes of a file. Raises ConfigError that names the setting."""
    try:
        return load(path)
    except ssl.SSLError as error:
        why = error.reason or str(error)
        raise ConfigError(f"{setting} {path} must hold {what}, and does not ({why})") from None
    except OSError as error:
        raise ConfigError(f"{setting} {path}: cannot be read ({error.strerror})") from None


async def why_away(settings: Settings, error: Exception) -> UnavailableError:
    """What a person is told when no broker could be reached.

    aiokafka says only that it could not connect; so the first broker is asked once more why.
    """
    address = settings.kafka_bootstrap
    if settings.kafka_security != "plaintext":
        host, _, port = address.partition(",")[0].rpartition(":")
        arguments = client_arguments(settings)
        del arguments["bootstrap_servers"]
        try:
            made = await create_conn(
                host.strip("[]"), int(port), request_timeout_ms=_PROBE_MS, **arguments
            )
            made.close()
        except (KafkaError, OSError, TimeoutError, ValueError) as reason:
            told = _refusal(settings, reason)
            if told:
                return DeniedError(f"Kafka at {address} {told}")
            error = reason
    return UnavailableError(
        f"Kafka does not answer at {address} ({error or type(error).__name__}); start it, or set "
        "KAFKA_BOOTSTRAP to where it answers, and KAFKA_SECURITY to how"
    )


def _refusal(settings: Settings, reason: Exception) -> str | None:
    """What was wrong, and what to do, when a broker answered and no connection came of it."""
    for each in _causes(reason):
        if isinstance(each, SaslAuthenticationFailed):
            return (
                f"does not take the user {settings.kafka_user} with the password in "
                f"{settings.kafka_password_file}; put right KAFKA_USER, KAFKA_PASSWORD_FILE or the "
                "user in Kafka"
            )
        if isinstance(each, UnsupportedSaslMechanismError):
            return f"does not know {settings.kafka_mechanism}; put right KAFKA_MECHANISM"
        if isinstance(each, ssl.SSLCertVerificationError):
            by = f"KAFKA_CA {settings.kafka_ca}" if settings.kafka_ca else "the system's (KAFKA_CA)"
            return (
                f"shows a certificate that is not vouched for by {by} ({each.verify_message}); "
                "name the certificates that signed Kafka's, and Kafka by the name that stands in it"
            )
        if isinstance(each, ssl.SSLError):
            return (
                f"does not speak TLS with us ({each.reason or each}); put right KAFKA_SECURITY, or "
                "the port of KAFKA_BOOTSTRAP, or show a certificate (KAFKA_CERTIFICATE)"
            )
    return None


def denied(settings: Settings, error: BaseException, topic: str = "") -> DeniedError | None:
    """What a person is told when a right is missing; None for any other error.

    The right may be named anywhere among the error's causes. `topic` (its name in Kafka) is what
    was written or read where the error does not say.
    """
    user = settings.kafka_user or "this client"
    for each in _causes(error):
        if isinstance(each, DeniedError):
            return each
        named = _named(each) or topic
        if isinstance(each, TopicAuthorizationFailedError):
            what = f"topic {named}" if named else "a topic"
            missing = f"read or write the {what}, whichever it has to"
        elif isinstance(each, GroupAuthorizationFailedError):
            missing = f"join the group {_named(each)}".rstrip()
        elif isinstance(each, ClusterAuthorizationFailedError):
            missing = f"write to {topic}" if topic else "write to any topic"
        else:
            continue
        return DeniedError(
            f"Kafka at {settings.kafka_bootstrap} does not let {user} {missing}; grant it "
            "(`mailwake acls render` prints what each service needs)"
        )
    return None


def _named(error: BaseException) -> str:
    """The topics or the group that aiokafka's error is about."""
    given = error.args[0] if error.args else ""
    return ", ".join(sorted(given)) if isinstance(given, (set, frozenset)) else str(given)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    after: BaseException | None = error
    while after is not None and after not in found:
        found.append(after)
        after = after.__cause__ or after.__context__
    return found
