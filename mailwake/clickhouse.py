"""ClickHouse, the one way: the only module that imports clickhouse_driver.

A client is synchronous and holds one connection, so each worker thread has its own and none is used
on an event loop. A connection that has seen an error is poisoned (clickhouse-driver may be in the
middle of a packet), so after any error it is closed and the next call connects anew.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from clickhouse_driver import Client
from clickhouse_driver.errors import (
    Error,
    ErrorCodes,
    LogicalError,
    ServerException,
    TypeMismatchError,
)
from clickhouse_driver.util.helpers import parse_url

from mailwake.errors import ConfigError, DeniedError, MailwakeError, UnavailableError
from mailwake.secretfile import read_secret
from mailwake.settings import Settings

# The driver logs a traceback for each connection it cannot make; the error says it in one line.
logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)

_CONNECTION: dict[str, Any] = {
    "compression": "lz4",
    "client_name": "mailwake",
    "connect_timeout": 5,
    "send_receive_timeout": 120,
}

_TOO_MANY_PARTITIONS = "Too many partitions for single INSERT block"
_BAD_DATA_CODES = frozenset(
    {
        ErrorCodes.CANNOT_PARSE_TEXT,
        ErrorCodes.CANNOT_PARSE_DATETIME,
        ErrorCodes.TYPE_MISMATCH,
        ErrorCodes.ARGUMENT_OUT_OF_BOUND,
        ErrorCodes.CANNOT_CONVERT_TYPE,
        ErrorCodes.CANNOT_PARSE_NUMBER,
        ErrorCodes.INCORRECT_DATA,
        ErrorCodes.TOO_LARGE_STRING_SIZE,
        ErrorCodes.VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE,
        ErrorCodes.CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN,
        469,  # VIOLATED_CONSTRAINT, which the driver has no name for
    }
)


_HINTS = {
    ErrorCodes.UNKNOWN_TABLE: "`mailwake migrate` creates the tables",
    ErrorCodes.UNKNOWN_DATABASE: "`mailwake migrate` creates the database",
    # AUTHENTICATION_FAILED
    516: "put right the user in CLICKHOUSE_URL and the password there or in "
    "CLICKHOUSE_PASSWORD_FILE",
    # ACCESS_DENIED
    497: "`mailwake grants render` prints what each service needs",
}

_NOT_SENDABLE = (TypeMismatchError, LogicalError, UnicodeError, TypeError, ValueError)
"""What the driver raises for a value it cannot put into the wire's form; nothing was stored."""


class ClickHouseError(MailwakeError):
    """ClickHouse answered with an error.

    Attributes:
        code: ClickHouse's number of the error (its `system.errors`).
        text: the first line of its message.
    """

    def __init__(self, code: int, text: str) -> None:
        hint = _HINTS.get(code)
        super().__init__(f"ClickHouse says: {text} (code {code})" + (f"; {hint}" if hint else ""))
        self.code = code
        self.text = text


class BadDataError(ClickHouseError):
    """A value of the rows was refused; the same rows would be refused again."""


class ClickHouse:
    """One connection, made at the first call. Not thread-safe; every call blocks.

    `url` is as in the setting CLICKHOUSE_URL: `clickhouse://user:password@host:port/database`, or
    `clickhouses://` for TLS; after a `?` may stand what clickhouse-driver knows (`ca_certs`,
    `connect_timeout` …). `database` stands above the one in the URL. With `timeout_s` a connection
    or an answer that takes longer is given up. Raises ConfigError.

    All calls raise UnavailableError when ClickHouse cannot be reached or the connection breaks, and
    ClickHouseError when it answers with an error.
    """

    def __init__(
        self, url: str, *, database: str | None = None, timeout_s: float | None = None
    ) -> None:
        parts = urlsplit(url)
        known = dict(_CONNECTION)
        if timeout_s is not None:
            known["connect_timeout"] = min(timeout_s, known["connect_timeout"])
            known["send_receive_timeout"] = timeout_s
        try:
            host, options = parse_url(url)
            if database is not None:
                options["database"] = database
            self._client = Client(host, **known | options)
        except (ValueError, TypeError, AttributeError):
            raise ConfigError(
                "CLICKHOUSE_URL holds an option after `?` that clickhouse-driver cannot read; "
                "its documentation, Client.from_url, lists them"
            ) from None
        self.database: str = options.get("database", "default")
        default_port = 9440 if parts.scheme == "clickhouses" else 9000
        self.address = f"{parts.hostname}:{parts.port or default_port}"

    def __repr__(self) -> str:
        return f"<ClickHouse {self.address}/{self.database}>"

    def execute(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Runs a statement whose result is of no interest."""
        self.query(sql, params, settings)

    def query(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """The rows of a query; `%(name)s` in `sql` takes the escaped value of `params["name"]`.

        When `params` is given, any other `%` in `sql` is written twice.
        """
        return self.query_with_types(sql, params, settings)[0]

    def query_with_types(
        self,
        sql: str,
        params: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> tuple[list[tuple[Any, ...]], list[tuple[str, str]]]:
        """The rows, and the name and type of each column."""
        with self._told():
            result = self._client.execute(
                sql,
                None if params is None else dict(params),
                with_column_types=True,
                settings=dict(settings or {}),
            )
            # A statement without a result gives a bare list.
            return result if isinstance(result, tuple) else ([], [])

    def insert(
        self,
        table: str,
        columns: Sequence[str],
        values_by_column: Sequence[list[Any] | tuple[Any, ...]],
        *,
        token: str,
    ) -> int:
        """Inserts rows, given column by column; returns their number when they are stored.

        The same rows sent again with the same `token` are stored once, as long as the table's
        `non_replicated_deduplication_window` (or its replicated kin) remembers it. Raises
        BadDataError when a value is refused; nothing is stored then.
        """
        if not values_by_column or not values_by_column[0]:
            return 0
        with self._told(inserting=True):
            # Not async: the rows are stored when the call returns, and the token holds.
            inserted: int = self._client.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES",
                list(values_by_column),
                columnar=True,
                settings={"insert_deduplication_token": token, "async_insert": 0},
            )
            return inserted

    def close(self) -> None:
        """Closes the connection; the next call would open it again."""
        self._client.disconnect()

    @contextmanager
    def _told(self, *, inserting: bool = False) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self._client.disconnect()
            told = self._tell(error, inserting=inserting)
            if told is None:
                raise
            raise told from None

    def _tell(self, error: BaseException, *, inserting: bool) -> MailwakeError | None:
        """What a person is told of an error; None for a fault of our own."""
        if isinstance(error, ServerException):
            code, text = int(error.code or 0), _first_line(str(error.message))
            bad = code in _BAD_DATA_CODES or _TOO_MANY_PARTITIONS in text
            return (BadDataError if bad else ClickHouseError)(code, text)
        if inserting and isinstance(error, _NOT_SENDABLE):
            return BadDataError(ErrorCodes.TYPE_MISMATCH, _first_line(str(error)))
        if isinstance(error, (Error, OSError, EOFError)):
            why = str(getattr(error, "message", None) or error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in why:
                return DeniedError(
                    f"ClickHouse at {self.address} shows a certificate that is not vouched for "
                    f"({_first_line(why)}); name the certificates that signed it in CLICKHOUSE_CA, "
                    "and ClickHouse by the name that stands in it"
                )
            return UnavailableError(
                f"ClickHouse does not answer at {self.address} ({_first_line(why)}); start it, or "
                "set CLICKHOUSE_URL to where its native protocol answers"
            )
        return None


def secured_url(settings: Settings) -> str:
    """CLICKHOUSE_URL with the password and the certificates that stand in files, for `ClickHouse`.

    The files are looked at in each call. Raises ConfigError for one that cannot be used.
    """
    parts = urlsplit(settings.clickhouse_url)
    if settings.clickhouse_password_file is not None:
        what = "password of ClickHouse's user (CLICKHOUSE_PASSWORD_FILE)"
        password = quote(read_secret(settings.clickhouse_password_file, what=what), safe="")
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username or 'default'}:{password}@{host}")
    if settings.clickhouse_ca is not None:
        if parts.scheme != "clickhouses":
            raise ConfigError(
                "CLICKHOUSE_CA wants TLS: a CLICKHOUSE_URL that begins clickhouses://"
            )
        try:
            ssl.create_default_context(cafile=str(settings.clickhouse_ca))
        except OSError as error:  # an SSLError is one too
            why = getattr(error, "reason", None) or error.strerror
            raise ConfigError(
                f"CLICKHOUSE_CA {settings.clickhouse_ca} must hold certificates (PEM): {why}"
            ) from None
        given = f"ca_certs={quote(str(settings.clickhouse_ca))}"
        parts = parts._replace(query=f"{parts.query}&{given}" if parts.query else given)
    return urlunsplit(parts)


def identifier(name: str) -> str:
    """A name as it stands in SQL, whatever is in it."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _first_line(text: str) -> str:
    """Without the prefix, the stack trace and whatever else makes it long."""
    line = text.partition("Stack trace:")[0].strip().removeprefix("DB::Exception: ")
    return " ".join(line.split())[:300].rstrip(" .")
