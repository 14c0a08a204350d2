"""`mailwake up`: the whole system on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mailwake import __version__
from mailwake.errors import ConfigError, MailwakeError, UnavailableError
from mailwake.keyring import new_keyring, read_keyring
from mailwake.setting_values import networks
from mailwake.settings import Settings, read_settings, to_environ
from mailwake_local.board import Pen
from mailwake_local.command import command
from mailwake_local.fill import Filler
from mailwake_local.home import MAILBOX, TENANT, USER, Home
from mailwake_local.parts import HOST, PLATFORM, Plan
from mailwake_local.supervisor import Supervisor

if TYPE_CHECKING:
    from mailwake_local.kafka_users import KafkaUsers

MOST_WORKERS = 64
_LINK_MINUTES = 12 * 60
"""So long the printed sign-in link holds."""


def main(argv: list[str]) -> int:
    """Runs Kafka, ClickHouse and all services until SIGINT or SIGTERM; gives the exit status.

    With KAFKA_BOOTSTRAP or CLICKHOUSE_URL set, that one is used and none is started. Raises
    MailwakeError when something cannot start; nothing is left running then.
    """
    parser = argparse.ArgumentParser(
        prog="mailwake up",
        description="Runs Kafka, ClickHouse and all services on this machine, until Ctrl-C. "
        "The data stays in MAILWAKE_HOME; a second start continues with it.",
    )
    parser.add_argument("--workers", type=int, default=1, help="enricher workers (1)")
    parser.add_argument(
        "--any-ports", action="store_true", help="take free ports instead of those of the settings"
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="fill the mailbox: send some dozens of mails, and have simulated readers read them",
    )
    parser.add_argument(
        "--secured",
        action="store_true",
        help="Kafka with TLS, a user for each service, and for each only the rights that `mailwake "
        "acls render` prints; a folder that was once started so stays so",
    )
    given = parser.parse_args(argv)
    if not 1 <= given.workers <= MOST_WORKERS:
        parser.error(f"--workers must be from 1 to {MOST_WORKERS}")
    settings = read_settings()
    home = Home(settings.home)
    lock = home.take()
    try:
        users = kafka_users(home, wanted=given.secured)
        plan = make_plan(settings, home, users, workers=given.workers, any_ports=given.any_ports)
        if given.demo and not plan.settings.trusted_proxies:
            # So that the readers may say where they come from, as a proxy would say it.
            readers = dataclasses.replace(plan.settings, trusted_proxies=networks(f"{HOST}/32"))
            plan = dataclasses.replace(plan, settings=readers)
        return asyncio.run(run(plan, home, lock, Pen(), demo=given.demo))
    finally:
        os.close(lock)


def kafka_users(home: Home, *, wanted: bool) -> KafkaUsers | None:
    """The users of the folder's Kafka, if it asks who comes: where that is wanted, or was when the
    folder was made. Raises ConfigError where it cannot be had."""
    if "KAFKA_BOOTSTRAP" in os.environ:
        if wanted:
            raise ConfigError(
                "--secured is for the Kafka that `mailwake up` starts; of that at KAFKA_BOOTSTRAP "
                "KAFKA_SECURITY and its kin say how it is reached (docs/security.md)"
            )
        return None
    secured = home.kafka_users.exists()
    if not (secured or wanted):
        return None
    from mailwake_local.kafka_users import KafkaUsers  # what it needs comes with the extra [local]

    missing = KafkaUsers.missing(home.kafka_users)
    if home.kafka.exists() and missing:
        whom = f"the user {missing[0]}" if secured else "users"
        raise ConfigError(
            f"the Kafka in {short(home.folder)} was made without {whom}, and none can be added; "
            "set MAILWAKE_HOME to another folder"
        )
    return KafkaUsers(home.kafka_users)


def make_plan(
    settings: Settings, home: Home, users: KafkaUsers | None, *, workers: int, any_ports: bool
) -> Plan:
    """Fixes addresses, ports, keys and folders. Raises MailwakeError when one cannot be had."""
    ports = Ports(any_ports)
    kafka = clickhouse = None
    changes: dict[str, object] = {}
    if "KAFKA_BOOTSTRAP" not in os.environ:
        kafka = ports.take(HOST, settings.local_kafka_port, "MAILWAKE_LOCAL_KAFKA_PORT")
        changes |= {"kafka_bootstrap": f"{HOST}:{kafka}", "kafka_security": "plaintext"}
    if "CLICKHOUSE_URL" not in os.environ:
        clickhouse = ports.take(
            HOST, settings.local_clickhouse_port, "MAILWAKE_LOCAL_CLICKHOUSE_PORT"
        )
        changes["clickhouse_url"] = (
            f"clickhouse://default:{home.password()}@{HOST}:{clickhouse}/default"
        )
        changes |= {"clickhouse_ca": None, "clickhouse_password_file": None}
    changes["edge_port"] = edge = ports.take(
        settings.edge_host, settings.edge_port, "MAILWAKE_EDGE_PORT"
    )
    if "MAILWAKE_TRACKING_URL" not in os.environ:
        changes["tracking_url"] = _url(settings.edge_host, edge)
    if "MAILWAKE_KEYRING" not in os.environ:
        changes["keyring"] = home.keyring
        if not home.keyring.exists():
            new_keyring().write(home.keyring)
    if "MAILWAKE_STATE" not in os.environ:
        changes["state"] = home.folder
    changes["relay_port"] = relay = ports.take(
        settings.relay_host, settings.relay_port, "MAILWAKE_RELAY_PORT"
    )
    sink = None
    if "MAILWAKE_RELAY_NEXT" not in os.environ:
        sink = ports.take(HOST, 0, "MAILWAKE_RELAY_NEXT")
        changes["relay_next"] = f"smtp://{HOST}:{sink}"
    if "MAILWAKE_RELAY_USERS" not in os.environ:
        changes["relay_users"] = home.users
        if not home.users.exists():
            user = ("--tenant", TENANT, "--user", USER)
            command("users", "set", str(home.users), USER, *user, told=home.user_password())
        if "MAILWAKE_COMPOSE_RELAY" not in os.environ:
            changes["compose_relay"] = f"smtp://{MAILBOX}@{_address(settings.relay_host, relay)}"
            changes["compose_password"] = home.mailbox_password_file
            if not home.mailbox_password_file.exists():
                mailbox = ("--tenant", TENANT, "--user", MAILBOX, "--on-behalf")
                told = home.mailbox_password()
                command("users", "set", str(home.users), MAILBOX, *mailbox, told=told)
    if "MAILWAKE_RELAY_FOOTER" not in os.environ:
        changes["relay_footer"] = "How this message is tracked, and how to stop it"
    changes["api_port"] = api = ports.take(
        settings.api_host, settings.api_port, "MAILWAKE_API_PORT"
    )
    if "MAILWAKE_WITHDRAWAL_URL" not in os.environ:
        changes["withdrawal_url"] = _url(settings.api_host, api)
    if "MAILWAKE_API_KEYS" not in os.environ:
        changes["api_keys"] = home.api_keys
        if not home.api_keys.exists():
            command("api-keys", "new", str(home.api_keys))
    enrichers = ["enricher"] if workers == 1 else [f"enricher-{n}" for n in range(workers)]
    names = ["edge", *enrichers, "loader", "notifier", "webhooks", "relay", "api", "digest"]
    first = settings.ops_port
    ops = {
        name: ports.take(HOST, first and first + place, "MAILWAKE_OPS_PORT")
        for place, name in enumerate(names)
    }
    ports.release()
    settings = dataclasses.replace(settings, **changes)  # type: ignore[arg-type]
    read_keyring(settings.keyring)  # a wrong one is told before anything is started
    password = home.password() if clickhouse is not None else ""
    return Plan(settings, home.folder, password, kafka, clickhouse, sink, ops, users)


def _url(host: str, port: int) -> str:
    """The address of a server on this machine, as one here reaches it."""
    return f"http://{_address(host, port)}"


def _address(host: str, port: int) -> str:
    host = HOST if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"{f'[{host}]' if ':' in host else host}:{port}"


class Ports:
    """Ports that are free now; held until `release`, so that none is given twice."""

    def __init__(self, any_ports: bool) -> None:
        self._any = any_ports
        self._held: list[socket.socket] = []

    def take(self, host: str, port: int, setting: str) -> int:
        """The port if it is free; a free one for 0. Raises UnavailableError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        probe = socket.socket(family)
        self._held.append(probe)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, 0 if self._any else port))
        except OSError as error:
            self.release()
            raise UnavailableError(
                f"port {port} of {host} cannot be listened on ({error.strerror}); stop what uses "
                f"it, set {setting} to another, or let `mailwake up --any-ports` choose"
            ) from None
        taken: int = probe.getsockname()[1]
        return taken

    def release(self) -> None:
        """Lets go of all."""
        for probe in self._held:
            probe.close()
        self._held.clear()


async def run(plan: Plan, home: Home, lock: int, pen: Pen, *, demo: bool = False) -> int:
    """Starts all parts, says where they are, keeps them until told to stop, stops them; with `demo`
    it fills the mailbox meanwhile."""
    supervisor = Supervisor(plan.parts(), home.logs, lock, pen)
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.hurry()  # asked twice
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is
        loop.add_signal_handler(signal.SIGHUP, on_signal)
    pen.line(f"mailwake {__version__} → {short(home.folder)}\n")
    began = time.monotonic()
    try:
        if await _unless(stop, supervisor.start()):
            environ = to_environ(plan.of(PLATFORM))
            home.say_running(environ, {name: f"{HOST}:{port}" for name, port in plan.ops.items()})
            pen.line(summary(plan, home, pen, time.monotonic() - began))
            await _unless(stop, _kept(supervisor, plan, home, pen, demo=demo))
        pen.line("\nStopping; a second Ctrl-C hurries.")
    except MailwakeError:
        pen.line("\nSomething could not start; stopping the rest.")
        raise
    finally:
        home.say_stopped()
        await supervisor.stop()
    pen.line(f"Stopped. The data stays in {short(home.folder)}.")
    return 0


async def _kept(supervisor: Supervisor, plan: Plan, home: Home, pen: Pen, *, demo: bool) -> None:
    """Watches the parts, and first shows the way in."""
    watching = asyncio.create_task(supervisor.watch())
    try:
        if demo:
            pen.line("\nFilling the mailbox:")
            await Filler(plan.settings, home, pen).run()
        link = await asyncio.to_thread(_sign_in_link, plan.settings)
        pen.line(f"\nTo the mailbox, once: {link}")
        await watching
    finally:
        watching.cancel()


def _sign_in_link(settings: Settings) -> str:
    who = ("--tenant", TENANT, "--user", USER, "--minutes", str(_LINK_MINUTES))
    return command("signin", *who, environ=to_environ(settings)).strip()


async def _unless(stop: asyncio.Event, work: object) -> bool:
    """Awaits the work, cancels it when told to stop; gives whether it came to its end."""
    working = asyncio.ensure_future(work)  # type: ignore[call-overload]
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
        return True
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return False


def summary(plan: Plan, home: Home, pen: Pen, took: float) -> str:
    """Where everything is, and what to try next."""
    settings = plan.settings
    clickhouse = settings.clickhouse_url
    if plan.clickhouse is not None:
        clickhouse = f"clickhouse://default@{HOST}:{plan.clickhouse}/default"
        password = f"password in {short(home.password_file)}"
    else:
        clickhouse, password = "as CLICKHOUSE_URL says", ""
    metrics = [f"{name} http://{HOST}:{port}/metrics" for name, port in plan.ops.items()]
    rows = [
        ("pixels, clicks", settings.tracking_url),
        ("mailbox", f"{settings.withdrawal_url}/mail"),
        ("HTTP API", f"{settings.withdrawal_url}/docs"),
        ("SMTP relay", f"{settings.relay_host}:{settings.relay_port}, user {USER}"),
        (
            "",
            f"password in {short(home.user_password_file)}; what is sent is in {short(home.mail)}",
        ),
        ("Kafka", settings.kafka_bootstrap),
        ("", f"asks who comes; passwords in {short(plan.users.folder)}" if plan.users else ""),
        ("ClickHouse", clickhouse),
        ("", password),
        *(("metrics" if not place else "", text) for place, text in enumerate(metrics)),
        ("keys", short(settings.keyring)),
        ("logs", short(home.logs)),
    ]
    lines = [f"  {pen.paint(f'{name:15}', 2)} {text}" for name, text in rows if text]
    ready = pen.paint(f"Ready in {took:.1f} s.", 1)
    demo = pen.paint("mailwake demo", 1)
    return "\n".join(
        [f"\n{ready}\n", *lines, "", f"Next, in another terminal: {demo}    Ctrl-C stops all."]
    )


def short(path: Path) -> str:
    """A path as people write it: `~` for their home folder."""
    with contextlib.suppress(ValueError, RuntimeError):
        return str("~" / path.absolute().relative_to(Path.home()))
    return str(path)
