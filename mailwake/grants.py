"""Who may do what in ClickHouse: least privilege, from one table (`NEEDS`).

`mailwake grants render` prints the statements that make a role for each service, with its rights
and no more, and a user who has the role. Run them as a user with access management, on a server
that keeps users; they may be run again. Analysts are made by `mailwake analysts`.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mailwake.errors import ConfigError
from mailwake.secretfile import read_secret
from mailwake.settings import read_settings

USER_PREFIX = "mailwake_"

STORED = ("sends", "displays", "hits", "events", "tracks", "consent_proofs")
"""The tables that the loader fills, each from its topic."""

_SHOWN = ("consents", "denials", "consented_events", "withheld_mails")
"""The views that leave out what recipients deny."""


@dataclass(frozen=True)
class Need:
    """What one service does in ClickHouse.

    Attributes:
        selects: tables and views that it reads. A view is read with the rights of who asks, so that
            what it is made of stands here too; but for the analysts' views, `v_…`.
        inserts, deletes, updates: tables that it writes, and changes by mutations.
        system: tables of the database `system` that it looks into.
        all: kinds of rights on the whole database.
    """

    service: str
    selects: tuple[str, ...] = ()
    inserts: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    system: tuple[str, ...] = ()
    all: tuple[str, ...] = ()


ERASED = ("hits", "events", "tracks", "displays", "sends")
"""The tables that the API takes an erased recipient out of."""

NEEDS = (
    Need("loader", inserts=STORED, deletes=("displays", "tracks"), system=("parts",)),
    Need(
        "api",
        selects=(*STORED, *_SHOWN, "sent_days", "v_past_days"),
        deletes=ERASED,
        updates=("displays", "sends"),
        system=("mutations",),
    ),
    Need("digest", selects=(*STORED, *_SHOWN)),
    Need("reclassify", selects=("sends", "hits", "events", "tracks")),
    Need(
        "retention",
        selects=(*STORED, *_SHOWN, "sent_days", "v_messages", "v_events"),
        inserts=("sent_days",),
    ),
    Need(
        "setup",
        all=(
            *("CREATE DATABASE", "CREATE TABLE", "CREATE VIEW", "DROP VIEW", "ALTER TABLE"),
            *("ALTER VIEW", "SELECT", "INSERT"),
        ),
    ),
)


def statements(
    database: str, need: Need, *, prefix: str = USER_PREFIX, password: str | None = None
) -> Iterator[str]:
    """What makes the role and the user of a service, or brings them up to date.

    A password goes to ClickHouse as a salted hash. Without one the user cannot sign in from
    anywhere, until `ALTER USER` says how.
    """
    role, who = _quoted(f"{prefix}{need.service}_role"), _quoted(f"{prefix}{need.service}")
    yield f"CREATE ROLE IF NOT EXISTS {role}"
    yield f"REVOKE ALL ON *.* FROM {role}"
    rights = (
        ("SELECT", need.selects),
        ("INSERT", need.inserts),
        ("ALTER DELETE", need.deletes),
        ("ALTER UPDATE", need.updates),
    )
    for right, tables in rights:
        for table in tables:
            yield f"GRANT {right} ON {_quoted(database)}.{_quoted(table)} TO {role}"
    for table in need.system:
        yield f"GRANT SELECT ON system.{_quoted(table)} TO {role}"
    if need.all:
        yield f"GRANT {', '.join(need.all)} ON {_quoted(database)}.* TO {role}"
    if password is None:
        yield f"CREATE USER IF NOT EXISTS {who} HOST NONE"
    else:
        salt = secrets.token_hex(16)
        digest = hashlib.sha256((password + salt).encode()).hexdigest()
        proof = f"IDENTIFIED WITH sha256_hash BY '{digest}' SALT '{salt}'"
        yield f"CREATE USER IF NOT EXISTS {who} {proof}"
        yield f"ALTER USER {who} {proof} HOST ANY"
    yield f"GRANT {role} TO {who}"
    yield f"ALTER USER {who} DEFAULT ROLE {role} DEFAULT DATABASE {_quoted(database)}"


def _quoted(name: str) -> str:
    if "`" in name or "\\" in name:
        raise ConfigError(f"{name!r} cannot be a name in ClickHouse here: no ` and no \\")
    return f"`{name}`"


def render(database: str, *, prefix: str = USER_PREFIX, passwords: Path | None = None) -> str:
    """All statements, for `clickhouse-client --multiquery`.

    `passwords` is a folder with a file for each service, named after it, whose first line is its
    password. Raises ConfigError for one that is missing.
    """
    lines = ["-- Written by `mailwake grants render`."]
    for need in NEEDS:
        password = None
        if passwords is not None:
            what = f"password of the user of {need.service}"
            password = read_secret(passwords / need.service, what=what)
        lines.append(f"\n-- {need.service}")
        made = statements(database, need, prefix=prefix, password=password)
        lines += [f"{statement};" for statement in made]
    return "\n".join(lines) + "\n"


def grants_command(argv: list[str]) -> int:
    """`mailwake grants render`; gives the exit status. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake grants",
        description="What each service may do in ClickHouse, and nothing else (docs/security.md).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    told = commands.add_parser("render", help="print it as SQL, for the database of CLICKHOUSE_URL")
    told.add_argument(
        "--passwords",
        type=Path,
        metavar="FOLDER",
        help="a file for each service with its password; without, nobody can sign in yet",
    )
    told.add_argument(
        "--prefix", default=USER_PREFIX, help="of users and roles (default: %(default)s)"
    )
    given = parser.parse_args(argv)
    database = urlsplit(read_settings().clickhouse_url).path.strip("/") or "default"
    print(render(database, prefix=given.prefix, passwords=given.passwords), end="")
    return 0
