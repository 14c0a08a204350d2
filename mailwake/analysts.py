"""Analysts: users of ClickHouse who read the views of one tenant, and nothing else.

`mailwake analysts add` makes one. What all analysts of a database may do hangs on a role: read the
views `v_…`, for so long, so often. What one of them sees hangs on a row policy of the whole
database, so that a view that a later version brings is bounded before anybody may read it
(docs/decisions/0019-analysts.md).
"""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mailwake.clickhouse import ClickHouse, ClickHouseError, identifier, secured_url
from mailwake.contracts import Tenant
from mailwake.errors import ConfigError
from mailwake.secretfile import read_secret
from mailwake.settings import read_settings

VIEWS = "v_"
"""What the names of all views for analysts begin with, and of nothing else."""

SECONDS, BYTES = 60, 4 * 1024**3
"""The longest query of an analyst, and the most memory it takes."""
QUERIES_AN_HOUR, SECONDS_AN_HOUR = 2_000, 1_800

SHORTEST_PASSWORD = 12

_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,59}")
_ACCESS_DENIED, _EXISTS, _NO_STORAGE = 497, 493, 514


def role(database: str) -> str:
    """The role of all analysts of a database."""
    return f"{database}_analyst"


def policy(name: str) -> str:
    """The row policy of an analyst."""
    return f"analyst_{name}"


def role_statements(database: str, views: Sequence[str]) -> Iterator[str]:
    """What makes the role, or brings it up to date; may be run again.

    Others than analysts go on to see all rows, also where the server's configuration says that who
    has no policy sees none.
    """
    of, everything = identifier(role(database)), f"{identifier(database)}.*"
    limits = (
        f"readonly = 2, max_execution_time = {SECONDS} MIN 1 MAX {SECONDS}, "
        f"max_memory_usage = {BYTES} MIN 1 MAX {BYTES}"
    )
    yield f"CREATE ROLE IF NOT EXISTS {of}"
    yield f"ALTER ROLE {of} SETTINGS {limits}"
    yield (
        f"CREATE QUOTA OR REPLACE {of} KEYED BY user_name FOR INTERVAL 1 hour "
        f"MAX queries = {QUERIES_AN_HOUR}, execution_time = {SECONDS_AN_HOUR} TO {of}"
    )
    yield (
        f"CREATE ROW POLICY OR REPLACE {identifier('not_analysts')} ON {everything} "
        f"FOR SELECT USING 1 TO ALL EXCEPT {of}"
    )
    for view in views:
        yield f"GRANT SELECT ON {identifier(database)}.{identifier(view)} TO {of}"


def add_statements(database: str, name: str, tenant: str, password: str) -> Iterator[str]:
    """What makes an analyst; the rights come last, when the policy bounds them.

    The password goes to ClickHouse as a salted hash, so that no log of queries holds it. Raises
    ConfigError for a name, a tenant or a password that will not do.
    """
    _check_name(name)
    try:
        msgspec.convert(tenant, Tenant)
    except msgspec.ValidationError:
        raise ConfigError(f"{tenant!r} is not the name of a tenant") from None
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"the password has fewer than {SHORTEST_PASSWORD} characters")
    user, salt = identifier(name), secrets.token_hex(16)
    digest = hashlib.sha256((password + salt).encode()).hexdigest()
    yield (
        f"CREATE USER {user} IDENTIFIED WITH sha256_hash BY '{digest}' SALT '{salt}' "
        f"DEFAULT DATABASE {identifier(database)}"
    )
    yield (
        f"CREATE ROW POLICY OR REPLACE {identifier(policy(name))} ON {identifier(database)}.* "
        f"FOR SELECT USING tenant = '{tenant}' TO {user}"
    )
    yield f"GRANT {identifier(role(database))} TO {user}"


def remove_statements(database: str, name: str) -> Iterator[str]:
    """What removes an analyst: the user first, or for a moment it would see all tenants."""
    _check_name(name)
    yield f"DROP USER IF EXISTS {identifier(name)}"
    yield f"DROP ROW POLICY IF EXISTS {identifier(policy(name))} ON {identifier(database)}.*"


def add(clickhouse: ClickHouse, name: str, tenant: str, password: str) -> None:
    """Makes an analyst. Raises ConfigError, ClickHouseError and UnavailableError."""
    statements = list(add_statements(clickhouse.database, name, tenant, password))
    views = _views(clickhouse)
    try:
        _run(clickhouse, [*role_statements(clickhouse.database, views), *statements])
    except ClickHouseError as error:
        if error.code != _EXISTS:
            raise
        raise ConfigError(
            f"ClickHouse has a user {name} already; take another name, or remove the analyst first"
        ) from None


def remove(clickhouse: ClickHouse, name: str) -> None:
    """Removes an analyst. Raises ConfigError for a user who is none, and as `add`."""
    statements = list(remove_statements(clickhouse.database, name))
    try:
        ((known,),) = clickhouse.query(
            "SELECT count() FROM system.row_policies"
            " WHERE short_name = %(policy)s AND database = currentDatabase()",
            {"policy": policy(name)},
        )
    except ClickHouseError as error:
        raise _may_not(error) from None
    if not known:
        raise ConfigError(f"there is no analyst {name}")
    _run(clickhouse, statements)


def _views(clickhouse: ClickHouse) -> list[str]:
    rows = clickhouse.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        " AND engine = 'View' AND startsWith(name, %(views)s) ORDER BY name",
        {"views": VIEWS},
    )
    if not rows:
        raise ConfigError("ClickHouse has no views for analysts yet; `mailwake migrate` makes them")
    return [name for (name,) in rows]


def _run(clickhouse: ClickHouse, statements: Sequence[str]) -> None:
    for statement in statements:
        try:
            clickhouse.execute(statement)
        except ClickHouseError as error:
            raise _may_not(error) from None


def _may_not(error: ClickHouseError) -> ClickHouseError | ConfigError:
    if error.code not in (_ACCESS_DENIED, _NO_STORAGE):
        return error
    return ConfigError(
        f"ClickHouse lets nobody be made: {error.text}. Set CLICKHOUSE_URL to a user with "
        "access_management, on a server that keeps users (the local one, chDB, keeps none)"
    )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a name for an analyst: a lower-case letter, then up to 59 of a to z, "
            "0 to 9, '.', '_' and '-'"
        )


def analysts_command(argv: list[str]) -> int:
    """`mailwake analysts add|remove NAME`; gives the exit status. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake analysts",
        description="Users of ClickHouse who read one tenant's views (docs/analysts.md).",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command, about in (
        ("add", "make one; the password is told once, unless it comes from a file"),
        ("remove", "take one away"),
    ):
        told = commands.add_parser(command, help=about, description=about)
        told.add_argument("name", metavar="NAME", help="what the analyst signs in to ClickHouse as")
        if command == "add":
            told.add_argument("--tenant", required=True, help="whose mails the analyst sees")
            told.add_argument("--password-file", type=Path, metavar="FILE", help="its first line")
    given = parser.parse_args(argv)
    clickhouse = ClickHouse(secured_url(read_settings()))
    try:
        if given.command == "remove":
            remove(clickhouse, given.name)
            print(f"{given.name} is removed")
            return 0
        password = secrets.token_urlsafe(24)
        if given.password_file is not None:
            password = read_secret(given.password_file, what="password")
        add(clickhouse, given.name, given.tenant, password)
    finally:
        clickhouse.close()
    print(f"{given.name} reads the views of tenant {given.tenant} in {clickhouse.database}")
    if given.password_file is None:
        print(f"password, told once: {password}")
    return 0
