"""A Kafka that asks who comes: TLS, SCRAM, ACLs; with a user for each service."""

from __future__ import annotations

import argparse
import secrets
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Schema, String

from mailwake.kafka import start_admin
from mailwake.rights import USER_PREFIX, render_commands, rights
from mailwake.settings import Settings, read_settings
from mailwake_local.kafka import LocalKafka
from mailwake_local.kafka_settings import Security
from tests.certificate import make_certificate

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
LITERAL, ALLOW = 3, 3
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


class _Created(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 30, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("error_message", _TEXT))),
    )


class _Create_v1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 30, 1, _Created
    SCHEMA = Schema(("creations", Array(*_ACL)))


class _Deleted(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 31, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("matching", Array(("error_code", Int16), ("error_message", _TEXT), *_ACL)),
            ),
        ),
    )


class _Delete_v1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 31, 1, _Deleted
    SCHEMA = Schema(("filters", Array(*_ACL)))


class CreateAcls(Request[_Create_v1]):  # type: ignore[misc]
    """Gives rights."""

    API_KEY = 30

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, kind: type[_Create_v1]) -> _Create_v1:
        return kind(self._acls)


class DeleteAcls(Request[_Delete_v1]):  # type: ignore[misc]
    """Takes rights away."""

    API_KEY = 31

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, kind: type[_Delete_v1]) -> _Delete_v1:
        return kind(self._acls)


class SecuredKafka:
    """One node on this machine, with the users of `mailwake.rights` and an admin."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate, key = make_certificate(folder)
        services = [USER_PREFIX + name for name in rights(read_settings({}))]
        passwords = {name: secrets.token_urlsafe(12) for name in ["admin", *services]}
        for name, password in passwords.items():
            self.password_file(name).write_text(password + "\n")
        self.local = LocalKafka(
            folder / "kafka", security=Security(self.certificate, key, passwords)
        )

    def password_file(self, user: str) -> Path:
        """The file with a user's password."""
        return self._folder / f"{user}.password"

    def of(self, user: str) -> dict[str, Any]:
        """The fields of settings by which somebody comes as that user."""
        return {
            "kafka_bootstrap": self.local.bootstrap,
            "kafka_security": "sasl_ssl",
            "kafka_ca": self.certificate,
            "kafka_user": user,
            "kafka_password_file": self.password_file(user),
        }

    async def grant(self, settings: Settings) -> None:
        """Gives all users their rights, just as `mailwake acls render` prints them."""
        lines = render_commands(settings).splitlines()
        acls = [acl for line in lines if not line.startswith("#") for acl in _acls(line)]
        await self.give(acls)

    async def give(self, acls: Sequence[Acl]) -> None:
        """Gives some rights."""
        answer = await self._ask(CreateAcls(acls))
        assert [each[0] for each in answer.results] == [0] * len(acls), answer

    async def take(self, acls: Sequence[Acl]) -> None:
        """Takes some rights away; fails when one was not there."""
        answer = await self._ask(DeleteAcls(acls))
        for code, _, matching in answer.results:
            assert code == 0
            assert len(matching) == 1

    async def _ask(self, request: Request[Any]) -> Any:
        admin = await start_admin(Settings(**self.of("admin")))
        try:
            return await admin._send_to_controller(request)
        finally:
            await admin.close()


def acl(service: str, kind: str, name: str, operation: str) -> Acl:
    """One right of a service."""
    who = f"User:{USER_PREFIX}{service}"
    return KINDS[kind], name, LITERAL, who, "*", OPERATIONS[operation], ALLOW


def _acls(line: str) -> Iterable[Acl]:
    """The rights that a command of kafka-acls.sh gives."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap-server", "command-config", "allow-principal"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    for name in ("operation", "topic", "group"):
        parser.add_argument(f"--{name}", action="append", default=[])
    given = parser.parse_args(shlex.split(line)[1:])
    for operation in given.operation:
        for kind in KINDS:
            for name in getattr(given, kind):
                code = OPERATIONS[operation]
                yield KINDS[kind], name, LITERAL, given.allow_principal, "*", code, ALLOW
