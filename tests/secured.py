"""A Kafka that asks who comes, and rights that are taken away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from mailwake.kafka import start_admin
from mailwake.rights import USER_PREFIX
from mailwake.settings import Settings
from mailwake_local import kafka_users
from mailwake_local.kafka import LocalKafka
from mailwake_local.kafka_users import ADMIN, Acl, KafkaUsers

_TEXT = String("utf-8")


class _Deleted(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 31, 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            Array(
                ("error_code", Int16),
                ("error_message", _TEXT),
                (
                    "matching",
                    Array(("error_code", Int16), ("error_message", _TEXT), *kafka_users._ACL),
                ),
            ),
        ),
    )


class _Delete_v1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, RESPONSE_TYPE = 31, 1, _Deleted
    SCHEMA = Schema(("filters", Array(*kafka_users._ACL)))


class _DeleteAcls(Request[_Delete_v1]):  # type: ignore[misc]
    API_KEY = 31

    def __init__(self, acls: Sequence[Acl]) -> None:
        self._acls = acls

    def build(self, kind: type[_Delete_v1]) -> _Delete_v1:
        return kind(self._acls)


class SecuredKafka:
    """One node on this machine, with the users of `mailwake.rights` and an admin."""

    def __init__(self, folder: Path) -> None:
        self.users = KafkaUsers(folder / "users")
        self.certificate = self.users.certificate
        self.password_file = self.users.password_file
        self.local = LocalKafka(folder / "kafka", security=self.users.security())

    def of(self, user: str) -> dict[str, Any]:
        """The fields of settings by which somebody comes as that user."""
        return {"kafka_bootstrap": self.local.bootstrap} | self.users.of(user)

    async def grant(self, settings: Settings) -> None:
        """Gives all users of an installation their rights."""
        await self.give(list(kafka_users.acls(settings)))

    async def give(self, acls: Sequence[Acl]) -> None:
        """Gives some rights."""
        await kafka_users.give(Settings(**self.of(ADMIN)), acls)

    def kafka_acls(self, *arguments: str) -> str:
        """What Kafka's own kafka-acls.sh says to these arguments."""
        jars = os.pathsep.join(map(str, self.local._find_jars()))
        done = subprocess.run(
            [self.local._find_java(), "-cp", jars, "org.apache.kafka.tools.AclCommand", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def admin_config(self) -> Path:
        """An admin's client settings, as Kafka's own commands take them."""
        file = self.users.folder / "admin.properties"
        password = self.password_file(ADMIN).read_text().strip()
        file.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={self.certificate}\n"
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
            f'username="{ADMIN}" password="{password}";\n'
        )
        return file

    async def take(self, acls: Sequence[Acl]) -> None:
        """Takes some rights away; fails when one was not there."""
        admin = await start_admin(Settings(**self.of(ADMIN)))
        try:
            answer = await admin._send_to_controller(_DeleteAcls(acls))
        finally:
            await admin.close()
        for code, _, matching in answer.results:
            assert code == 0
            assert len(matching) == 1


def acl(service: str, kind: str, name: str, operation: str) -> Acl:
    """One right of a service."""
    return kafka_users.acl(USER_PREFIX + service, kind, name, operation)
