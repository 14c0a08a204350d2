"""The folder of one local installation: whose it is now, its secrets, and where it answers.

lock                  held by `mailwake up` and its processes while any of them lives
clickhouse-password   made at the first start
keys.json             the keys of tokens, made at the first start
users.json            who may send through the relay: dana, made at the first start
dana-password         her password there
mailbox-password      that of the mailbox, whose Compose sends for users through the relay
api-keys.json         the keys of bearer tokens, made at the first start
run.json              how to reach the running system; only while it runs
kafka/ clickhouse/             their data
kafka-users/          with --secured: Kafka's certificate and the password of each of its users
edge/ enricher/ relay/         what each keeps (MAILWAKE_STATE)
mail/                 what was sent through the relay, a file a mail
logs/                 one file a process
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mailwake.errors import UnavailableError

RELEASE_DEADLINE_S = 30.0
TENANT, USER = "demo", "dana"
"""Who the local installation's one user is, and of which tenant."""
MAILBOX = "mailbox"
"""What the mailbox logs in to the relay as."""


class Home:
    """A data folder. Files with secrets can be read by their owner alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.logs = self.folder / "logs"
        self.keyring = self.folder / "keys.json"
        self.password_file = self.folder / "clickhouse-password"
        self.users = self.folder / "users.json"
        self.user_password_file = self.folder / "dana-password"
        self.mailbox_password_file = self.folder / "mailbox-password"
        self.api_keys = self.folder / "api-keys.json"
        self.mail = self.folder / "mail"
        self.kafka = self.folder / "kafka"
        self.kafka_users = self.folder / "kafka-users"
        self._run = self.folder / "run.json"

    def take(self, deadline_s: float = RELEASE_DEADLINE_S) -> int:
        """Makes the folder and locks it; gives the lock's file descriptor.

        Processes that inherit the descriptor hold the lock too. When the process that took it is
        gone, they are just going down, and are waited for.

        Raises UnavailableError when another process has it or it cannot be written.
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError(
                f"{self.folder} cannot be used for data ({error.strerror}); set MAILWAKE_HOME to a "
                "folder that can be written"
            ) from None
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(lock, 20, 0).decode("ascii", "replace")
                if is_alive(holder) or time.monotonic() > deadline:
                    os.close(lock)
                    raise UnavailableError(
                        f"mailwake runs already on {self.folder} (process {holder}); stop that one "
                        "with Ctrl-C, or set MAILWAKE_HOME to another folder"
                    ) from None
                time.sleep(0.1)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._run.unlink(missing_ok=True)
        return lock

    def password(self) -> str:
        """ClickHouse's password, made at the first call."""
        return _secret(self.password_file)

    def user_password(self) -> str:
        """The password of the relay's user, made at the first call."""
        return _secret(self.user_password_file)

    def mailbox_password(self) -> str:
        """The password of the mailbox at the relay, made at the first call."""
        return _secret(self.mailbox_password_file)

    def say_running(self, environ: Mapping[str, str], services: Mapping[str, str]) -> None:
        """Writes run.json: the settings that reach the system, and each service's ops address."""
        told = {"process": os.getpid(), "settings": dict(environ), "services": dict(services)}
        write_secret(self._run, json.dumps(told, indent=1) + "\n")

    def say_stopped(self) -> None:
        """Takes run.json away."""
        self._run.unlink(missing_ok=True)

    def running(self) -> dict[str, Any] | None:
        """What run.json says (`process`, `settings`, `services`), None when nothing runs."""
        try:
            told: dict[str, Any] = json.loads(self._run.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return told if is_alive(str(told.get("process"))) else None


def _secret(path: Path) -> str:
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(24) + "\n")
    return path.read_text("ascii").strip()


def write_secret(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def is_alive(pid: str) -> bool:
    """Whether a process of that id runs."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
