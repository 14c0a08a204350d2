"""The parts of the system on one machine, as data: what starts after what, and how it is ready.

kafka ──► topics ──────┬──► edge, enricher, notifier, webhooks, api
clickhouse ──► tables ─┼──► loader, digest
sink ──────────────────┴──► relay

A Kafka that asks who comes is told everybody's rights before the topics are made (`rights`), and
each part comes to it as a user of its own.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mailwake.settings import Settings, to_environ
from mailwake_local.child import Probe, answers_ready, has_done_its_work, has_said_ready

if TYPE_CHECKING:  # what it needs comes with the extra [local]
    from mailwake_local.kafka_users import KafkaUsers

HOST = "127.0.0.1"
"""Kafka, ClickHouse and all ops ports listen here and nowhere else."""

SETUP, PLATFORM = "setup", "sending-platforms"
"""Users of Kafka that are no services (`mailwake.rights`): who makes topics, and who publishes
sends and reads alerts, as `mailwake demo` does.
"""

EDGE, SERVICES, STORES = range(3)
"""The order parts are stopped in: hits in flight get through to what still runs."""


@dataclass(frozen=True)
class Part:
    """One process of the system.

    Attributes:
        shows: what its line says once it is ready, such as its address.
        environ: set above the environment of `mailwake up`.
        after: names of the parts that must be ready first.
        job: it does its work once and ends, instead of running on.
        stop: EDGE, SERVICES or STORES; those of the same one are stopped side by side.
        deadline_s: how long it may take to be ready, and, for its stop, `stop_s` to end.
    """

    name: str
    shows: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    probe: Probe
    after: tuple[str, ...] = ()
    job: bool = False
    stop: int = SERVICES
    deadline_s: float = 60.0
    stop_s: float = 15.0


@dataclass(frozen=True)
class Plan:
    """What is to run.

    Attributes:
        settings: as every service gets them, save that each has a folder of its own below `state`;
            ports are fixed, none is 0.
        home: the data folder.
        password: of the ClickHouse that is started.
        kafka, clickhouse, sink: the ports they are started on; None where an address was given.
        ops: the ops port of each service by name; the enricher's workers are among them.
        users: those of the Kafka that is started; None where everybody may do everything.
    """

    settings: Settings
    home: Path
    password: str
    kafka: int | None
    clickhouse: int | None
    sink: int | None
    ops: Mapping[str, int]
    users: KafkaUsers | None = None

    def of(self, user: str) -> Settings:
        """The settings of whoever comes to Kafka as that user (without the prefix)."""
        if self.users is None:
            return self.settings
        return dataclasses.replace(self.settings, **self.users.of_service(user))

    def parts(self) -> list[Part]:
        """All parts, each after those it needs."""
        parts: list[Part] = []
        if self.kafka is not None:
            parts.append(self._kafka(self.kafka))
        if self.clickhouse is not None:
            parts.append(self._clickhouse(self.clickhouse))
        if self.sink is not None:
            parts.append(self._sink(self.sink))
        after_kafka = ("kafka",) if self.kafka is not None else ()
        if self.users is not None:
            parts.append(self._rights(self.users, after_kafka))
            after_kafka = ("rights",)
        after_clickhouse = ("clickhouse",) if self.clickhouse is not None else ()
        parts += [
            self._job("topics", ("topics", "apply"), after_kafka),
            self._job("tables", ("migrate",), after_clickhouse),
        ]
        for name in self.ops:
            command, _, worker = name.partition("-")
            needs = ("topics", "tables") if command in ("loader", "digest") else ("topics",)
            if command == "relay" and self.sink is not None:
                needs = (*needs, "sink")
            parts.append(self._service(name, command, worker, needs))
        return parts

    def _kafka(self, port: int) -> Part:
        argv = ["mailwake_local.kafka", "--data", str(self.home / "kafka"), "--port", str(port)]
        if self.users is not None:
            argv += ["--users", str(self.users.folder)]
        return Part(
            name="kafka",
            shows=f"{HOST}:{port}",
            argv=_python(*argv, "--cache", str(self.settings.cache)),
            environ={},
            probe=has_said_ready,
            stop=STORES,
            deadline_s=600,  # the first time its jars are fetched
            stop_s=30,
        )

    def _clickhouse(self, port: int) -> Part:
        data = str(self.home / "clickhouse")
        return Part(
            name="clickhouse",
            shows=f"{HOST}:{port}",
            argv=_python("mailwake_local.clickhouse", "--data", data, "--port", str(port)),
            environ={"CLICKHOUSE_PASSWORD": self.password},
            probe=has_said_ready,
            stop=STORES,
            stop_s=30,
        )

    def _sink(self, port: int) -> Part:
        mail = self.home / "mail"
        return Part(
            name="sink",
            shows=f"mail that is sent ends in {mail}",
            argv=_python("mailwake_local.sink", "--port", str(port), "--folder", str(mail)),
            environ={},
            probe=has_said_ready,
            stop=STORES,
        )

    def _rights(self, users: KafkaUsers, after: tuple[str, ...]) -> Part:
        admin = dataclasses.replace(self.settings, **users.of_admin())
        return Part(
            name="rights",
            shows="given",
            argv=_python("mailwake_local.kafka_users"),
            environ=to_environ(admin),
            probe=has_done_its_work,
            after=after,
            job=True,
        )

    def _job(self, name: str, command: tuple[str, ...], after: tuple[str, ...]) -> Part:
        return Part(
            name=name,
            shows="applied",
            argv=_python("mailwake.cli", *command),
            environ=to_environ(self.of(SETUP)),
            probe=has_done_its_work,
            after=after,
            job=True,
        )

    def _service(self, name: str, command: str, worker: str, after: tuple[str, ...]) -> Part:
        port = self.ops[name]
        state = self.settings.state / command
        settings = dataclasses.replace(self.of(command), ops_host=HOST, ops_port=port, state=state)
        if command == "enricher":
            worker = worker or "0"
            state /= f"worker-{worker}"
            settings = dataclasses.replace(settings, worker=worker, state=state)
        edge = command == "edge"
        shows = {
            "edge": settings.tracking_url,
            "relay": f"{settings.relay_host}:{settings.relay_port}",
            "api": settings.withdrawal_url,
        }
        return Part(
            name=name,
            shows=shows.get(command, f"metrics on {HOST}:{port}"),
            argv=_python("mailwake.cli", command),
            environ=to_environ(settings),
            probe=answers_ready(HOST, port),
            after=after,
            stop=EDGE if edge else SERVICES,
        )


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    # -P: a file in the folder `mailwake up` is called in must not stand in for a module.
    return (sys.executable, "-P", "-m", module, *arguments)
