"""The ClickHouse engine in this process (chDB), one session for each client connection.

Tried with chDB 4.4 (engine 26.9): several connections of one process work on one data folder at
once, each with its own database and settings, and calls release the GIL; so each client connection
has a session and a thread of its own, and only `Engine.kill` reaches over from another thread.
All calls here block.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import chdb.state.sqlitelike as chdb

from mailwake.errors import ConfigError, UnavailableError

from .protocol import Setting
from .statements import BlockInsert

_ERROR = re.compile(r"Code: (\d+)\. (.*)\Z", re.DOTALL)
_ONE_SELECT = re.compile(r"\s*(?:SELECT|WITH)\b[^;]*\Z", re.IGNORECASE)
"""What is one statement and changes no setting, without asking the engine, which takes a
millisecond to say so."""
_NOT_STREAMED = "Streaming query is not supported for query"
_AT_ONCE = 2
"""Chunks that are fetched in one call: the second tells whether the first was all."""

_NO_SUCH_SETTING, _SYNTAX_ERROR, _UNKNOWN_EXCEPTION = 115, 62, 1002


class EngineError(Exception):
    """The engine refused or failed.

    Attributes:
        code: ClickHouse's number of the error.
        message: its text, beginning ``DB::Exception:`` and ending in its name.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def of(cls, error: Exception) -> EngineError:
        """Read what chDB raised, ``Code: 60. DB::Exception: … (UNKNOWN_TABLE)``."""
        if match := _ERROR.search(str(error)):
            return cls(int(match[1]), match[2].strip())
        return cls(_UNKNOWN_EXCEPTION, f"DB::Exception: {error} (UNKNOWN_EXCEPTION)")


@dataclass(frozen=True)
class Chunk:
    """Some of a result in the Native format: whole blocks, of a stream exactly one."""

    native: bytes
    rows: int


class Result:
    """A result that is fetched piece by piece, so that it need not fit into memory.

    SELECTs stream; of other statements the engine gives all output at once.

    Attributes:
        ended: nothing is left to fetch.
    """

    def __init__(self, stream: Any, chunk: Chunk | None) -> None:
        self._stream = stream
        self._chunk = chunk
        self.streams = stream is not None
        self.ended = False

    def fetch(self) -> list[Chunk]:
        """Return what comes next, at most `_AT_ONCE` chunks; fewer at the end.

        Raises:
            EngineError: the query failed or was killed.
        """
        if self._stream is None:
            self.ended = True
            return [] if self._chunk is None else [self._chunk]
        chunks: list[Chunk] = []
        try:
            while len(chunks) < _AT_ONCE and not self.ended:
                piece = self._stream.fetch()
                if piece is None:
                    self.ended = True
                else:
                    chunks.append(Chunk(piece.bytes(), piece.rows_read()))
        except Exception as error:
            self.ended = True
            raise EngineError.of(error) from None
        return chunks

    def cancel(self) -> None:
        """Give up a result that was not fetched to its end; the session is free again."""
        if self._stream is not None:
            self._stream.cancel()


class Session:
    """What one client connection sees of the engine: its database, settings, temporary tables."""

    def __init__(self, engine: Engine, tag: str) -> None:
        self.tag = tag
        self._connection = chdb.Connection(engine.path)
        self._lasting: dict[str, str] = {}
        self._mark()

    def close(self) -> None:
        """End the session; its temporary tables go."""
        self._connection.close()

    def _mark(self) -> None:
        # `1+1` without SELECT is an error of a server. The tag is how `Engine.kill` finds queries.
        self.command(f"SET implicit_select = 0, log_comment = {quote(self.tag)}")

    def use(self, database: str) -> None:
        """Change the current database.

        Raises:
            EngineError: there is no such database (81).
        """
        self.command("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")

    def command(self, sql: str) -> None:
        """Run a statement whose output does not matter."""
        self._query(sql)

    def rows(self, sql: str) -> list[list[str]]:
        """Run a small query and return its values as text."""
        lines = self._query(sql, "JSONCompactStringsEachRow").bytes().splitlines()
        return [json.loads(line) for line in lines]

    def run(self, sql: str) -> Result:
        """Start one statement.

        Raises:
            EngineError: it is not one statement (62), or the engine refuses it.
        """
        control = _ONE_SELECT.match(sql) is None and self._is_control(sql)
        try:
            return Result(self._connection.send_query(sql, "Native"), None)
        except Exception as error:
            if _NOT_STREAMED not in str(error):
                raise EngineError.of(error) from None
        output = self._query(sql)
        if control:
            self._lasting = self._changed()
            self._mark()
        return Result(None, Chunk(output.bytes(), output.rows_read()))

    def _is_control(self, sql: str) -> bool:
        """Whether a statement may change the session."""
        try:
            kind = self._connection._conn.classify_query(sql)
        except Exception as error:
            raise EngineError.of(error) from None
        if kind["statement_count"] != 1:
            what = "Multi-statements are not allowed" if kind["statement_count"] else "Empty query"
            raise EngineError(_SYNTAX_ERROR, f"DB::Exception: Syntax error: {what} (SYNTAX_ERROR)")
        return bool(kind["query_class"].name == "CONTROL")

    def insert(self, insert: BlockInsert, file: Path) -> None:
        """Insert the blocks of a file, all of them or (below a million rows) none.

        chDB's own streaming insert is not used: it skips a table's constraints.
        """
        # A server deduplicates blocks by their content; for INSERT SELECT this must be asked for.
        extra = "deduplicate_insert_select = 'enable_even_for_bad_queries'"
        self.command(insert.reading(f"file({quote(str(file))}, 'Native')", extra))

    def columns(self, sql: str) -> tuple[tuple[str, str], ...]:
        """Describe what a SELECT would return: names and types."""
        inner = sql.rstrip(" ;\n")
        rows = self.rows(f"DESCRIBE (\n{inner}\n) SETTINGS print_pretty_type_names = 0")
        return tuple((row[0], row[1]) for row in rows)

    def sample(self, insert: BlockInsert) -> tuple[tuple[str, str], ...]:
        """Describe the blocks an INSERT takes: names and types.

        Raises:
            EngineError: no such table (60), no such column (16), and so on.
        """
        try:
            return self.columns(insert.sample)
        except EngineError as error:
            # SELECT and INSERT name the same mistakes differently: ask what INSERT says.
            try:
                statement = f"INSERT INTO {insert.target} {insert.columns}"
                opened: Any = self._connection.send_insert(statement, "Native")
                opened.cancel()
            except Exception as refusal:
                raise EngineError.of(refusal) from None
            raise error

    def apply(self, settings: Mapping[str, Setting]) -> list[str]:
        """Set what one query asks for; `restore` takes the names returned.

        A setting that is not known is left out, unless it is important: as a server does.

        Raises:
            EngineError: unknown and important (115), or a wrong value.
        """
        applied: list[str] = []
        try:
            for name, setting in settings.items():
                if name == "log_comment":
                    continue
                try:
                    self.command(f"SET {identifier(name)} = {quote(setting.value)}")
                except EngineError as error:
                    if error.code != _NO_SUCH_SETTING or setting.important:
                        raise
                else:
                    applied.append(name)
        except EngineError:
            self.restore(applied)
            raise
        return applied

    def restore(self, applied: list[str]) -> None:
        """Give settings back the value the session has, or the default."""
        for name in applied:
            value = quote(self._lasting[name]) if name in self._lasting else "DEFAULT"
            self.command(f"SET {identifier(name)} = {value}")

    def _changed(self) -> dict[str, str]:
        rows = self.rows("SELECT name, value FROM system.settings WHERE changed")
        return {row[0]: row[1] for row in rows}

    def _query(self, sql: str, output: str = "Native") -> Any:
        try:
            return self._connection.query(sql, output)
        except Exception as error:
            raise EngineError.of(error) from None


class Engine:
    """The engine over one data folder; one process at a time has a folder.

    Attributes:
        version: of the engine, such as (26, 9, 2).
        timezone: of the engine, such as ``Etc/UTC``.
        formats: names of its formats in upper case.
        incoming: folder for blocks that are on their way into a table.
    """

    def __init__(self, data: Path) -> None:
        """Open the folder, creating it when missing.

        Raises:
            ConfigError: the path cannot be given to chDB.
            UnavailableError: another process has the folder, or it cannot be opened.
        """
        self.path = str(data.resolve())
        if "?" in self.path:
            raise ConfigError(f"the data folder {self.path} has a '?' in its path: rename it")
        self._lock = _claim(data)
        self.incoming = data / "incoming"
        self.incoming.mkdir(exist_ok=True)
        for left in self.incoming.iterdir():
            left.unlink()
        self._numbers = itertools.count(1)
        self._control_lock = threading.Lock()
        try:
            self._control = self.session()
        except Exception as error:
            raise UnavailableError(
                f"the engine cannot open the data folder {self.path}: {error}; is it another "
                "program's, or of a newer version?"
            ) from None
        ((version, self.timezone),) = self._control.rows("SELECT version(), timezone()")
        major, minor, patch = version.split(".")[:3]
        self.version = (int(major), int(minor), int(patch))
        names = self._control.rows("SELECT upper(name) FROM system.formats")
        self.formats = frozenset(name for (name,) in names)

    def session(self) -> Session:
        """Open a session for one client."""
        return Session(self, f"connection {next(self._numbers)}")

    def kill(self, session: Session) -> None:
        """Ask the engine to end what a session runs; may be called from any thread."""
        with self._control_lock:
            self._control.command(
                f"KILL QUERY WHERE Settings['log_comment'] = {quote(session.tag)} ASYNC"
            )

    def close(self) -> None:
        """Close the engine; all that was acknowledged is on disk."""
        self._control.close()
        self._lock.close()


def _claim(data: Path) -> IO[str]:
    """Lock the folder for this process; the lock goes with the process, however it ends."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "listener.lock").open("a+")
    except OSError as error:
        raise UnavailableError(f"the data folder {data} cannot be used: {error}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise UnavailableError(
            f"the data folder {data} is in use by another process (pid {owner}): "
            "stop it, or give this one a folder of its own"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def quote(text: str) -> str:
    """Write text as a SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    """Write a name as a SQL identifier."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
