"""The users of a Kafka on this machine that asks who comes: TLS, SCRAM, and least-privilege ACLs.

Each service comes as a user of its own, `mailwake-SERVICE`, which may do what `mailwake.rights`
says and nothing else. Their passwords lie in a folder, a file each, with the certificate beside
them.

`python -m mailwake_local.kafka_users` gives all users their rights, as the admin whom the settings
name.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from mailwake.errors import ConfigError, MailwakeError, UnavailableError
from mailwake.kafka import start_admin
from mailwake.rights import USER_PREFIX, rights
from mailwake.settings import Settings, read_settings
from mailwake_local.certificate import make_certificate
from mailwake_local.kafka_settings import Security

ADMIN = "admin"

# https://kafka.apache.org/protocol#The_Messages_CreateAcls and the enumerations of
# org.apache.kafka.common.acl.AclOperation, …resource.ResourceType and PatternType.
KINDS = {"topic": 2, "group": 3}
OPERATIONS = {
    "Read": 3,
    "Write": 4,
    "Create": 5,
    "Alter": 7,
    "Describe": 8,
    "DescribeConfigs": 10,
    "AlterConfigs": 11,
}
_LITERAL, _ALLOW = 3, 3
_TEXT = String("utf-8")
_ACL = (
    ("resource_type", Int8),
    ("resource_name", _TEXT),
    ("pattern_type", Int8),
    ("principal", _TEXT),
    ("host", _TEXT),
    ("operation", Int8),
    ("permission_type", Int8),
)

Acl = tuple[int, str, int, str, str, int, int]
"""One right of one user, in the order of the protocol."""


class _Created(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", _TEXT))),
    )


class _Create_v1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 30, 1, _Created
    SCHEMA = Schema(("creations", Array(*_ACL)))


class _CreateAcls(Request[_Create_v1]):  # type: ignore[misc]
    API_KEY = 30

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, kind: type[_Create_v1]) -> _Create_v1:
        return kind(self._acls)


class KafkaUsers:
    """A folder with a certificate for 127.0.0.1 and a password for the admin and each user.

    Attributes:
        folder: where they lie.
        certificate: what clients trust (PEM).
    """

    def __init__(self, folder: Path) -> None:
        """Makes what is missing. Raises UnavailableError when it cannot be written."""
        self.folder = folder
        self.certificate, self._key = folder / "chain.pem", folder / "key.pem"
        self._names = _names()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._key.exists():
                make_certificate(folder)
            for name in self._names:
                file = self.password_file(name)
                if not file.exists():
                    file.touch(0o600)
                    file.write_text(secrets.token_urlsafe(24) + "\n")
        except OSError as error:
            raise UnavailableError(
                f"{folder}: the users of Kafka cannot be written there ({error.strerror})"
            ) from None

    @staticmethod
    def missing(folder: Path) -> list[str]:
        """The users who are not in a folder."""
        return [name for name in _names() if not (folder / f"{name}.password").exists()]

    def password_file(self, user: str) -> Path:
        """The file with a user's password."""
        return self.folder / f"{user}.password"

    def security(self) -> Security:
        """What a Kafka needs to know of them, when its folder is made."""
        passwords = {name: self.password_file(name).read_text().strip() for name in self._names}
        return Security(self.certificate, self._key, passwords, ADMIN)

    def of(self, user: str) -> dict[str, Any]:
        """The fields of settings by which somebody comes as that user."""
        return {
            "kafka_security": "sasl_ssl",
            "kafka_mechanism": "SCRAM-SHA-512",
            "kafka_ca": self.certificate,
            "kafka_user": user,
            "kafka_password_file": self.password_file(user),
        }

    def of_admin(self) -> dict[str, Any]:
        """Those of whoever may do everything."""
        return self.of(ADMIN)

    def of_service(self, name: str) -> dict[str, Any]:
        """Those of a service, or of another user of `mailwake.rights`, without the prefix."""
        return self.of(USER_PREFIX + name)


def _names() -> list[str]:
    return [ADMIN, *(USER_PREFIX + name for name in rights(read_settings({})))]


def acl(user: str, kind: str, name: str, operation: str) -> Acl:
    """One right: `kind` is topic or group, `operation` in Kafka's words."""
    return KINDS[kind], name, _LITERAL, f"User:{user}", "*", OPERATIONS[operation], _ALLOW


def acls(settings: Settings) -> Iterable[Acl]:
    """All rights of all users of an installation."""
    for name, given in rights(settings).items():
        for right in given:
            for operation in right.operations:
                yield acl(USER_PREFIX + name, right.kind, right.name, operation)


async def give(settings: Settings, wanted: Iterable[Acl]) -> None:
    """Gives rights, as the admin whom the settings name; those that are given already stay.

    Raises UnavailableError when Kafka does not answer, ConfigError when it refuses one.
    """
    admin = await start_admin(settings)
    try:
        answer = await admin._send_to_controller(_CreateAcls(list(wanted)))
    finally:
        await admin.close()
    for code, told in answer.results:
        if code:
            raise ConfigError(f"Kafka refuses a right (error {code}): {told}")


def main() -> int:
    """Gives all users their rights."""
    settings = read_settings()
    try:
        wanted = list(acls(settings))
        asyncio.run(give(settings, wanted))
    except MailwakeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{len(wanted)} given")
    return 0


if __name__ == "__main__":
    sys.exit(main())
