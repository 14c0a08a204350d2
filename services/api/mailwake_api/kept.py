# ruff: noqa: S608 (what the queries are put together of stands in this file)
"""What ClickHouse keeps of one recipient of one tenant: found, counted, removed, handed out.

Every call blocks. SQL is put together of names that stand here; what is given from outside travels
as values. What is looked for is looked for without FINAL: a row that another has replaced is still
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import NOBODY, Display, Party
from mailwake.errors import UnavailableError
from mailwake.removed import WHOLE, without

Mails = Mapping[str, frozenset[int]]
"""message_id -> the recipient indexes (first is 1) that are the recipient's, or `WHOLE` when the
mail is for nobody else."""

ADDRESSES = 50_000
"""Most addresses that are looked through together."""

PATIENCE_S = 60.0
"""So long it is waited for mutations that others have asked for, before a pause."""

MAILS = 2_000
"""Most mails in one statement: it stays under ClickHouse's `max_query_size` of 256 KiB."""

T = TypeVar("T")

TABLES = ("hits", "events", "tracks", "displays", "sends")
"""In the order in which they are cleaned: what the others are found by goes last."""

_KEYS = {"hits": "hit_id", "events": "event_id"} | dict.fromkeys(TABLES[2:], "message_id")
"""What a row is one of; it may stand in several versions that are not merged yet."""

_OF_TENANT = "tenant = %(tenant)s"
_WHOLE = "message_id IN %(whole)s"
_ITS_OWN = "(message_id, recipient) IN %(own)s"
_DELETED = {
    "hits": (_WHOLE, _ITS_OWN),
    "events": (_WHOLE, _ITS_OWN),
    "tracks": (_WHOLE,),
    "displays": (_WHOLE,),
    "sends": (_WHOLE,),
}
_NAMES = {
    "displays": "message_id IN %(shared)s AND hasAny(recipient_addresses, %(addresses)s)",
    "sends": "message_id IN %(shared)s AND has(recipients, %(recipient)s)",
}
"""Rows of shared mails that name the recipient, and what they become (`_CHANGES`)."""
_CHANGES = {
    "displays": (
        "recipient_names = arrayMap((name, address) -> if(has(%(addresses)s, address), '', name), "
        "recipient_names, recipient_addresses), "
        "recipient_addresses = arrayMap(address -> if(has(%(addresses)s, address), '', address), "
        "recipient_addresses)"
    ),
    "sends": (
        "recipients = arrayMap(each -> if(each = %(recipient)s, %(nobody)s, each), recipients)"
    ),
}


class Kept:
    """What is kept of one recipient; not thread-safe.

    Args:
        is_it: whether an address is the recipient's.
    """

    def __init__(
        self, clickhouse: ClickHouse, tenant: str, recipient_id: str, is_it: Callable[[str], bool]
    ) -> None:
        self._clickhouse = clickhouse
        self._is_it = is_it
        self._values: dict[str, Any] = {
            "tenant": tenant,
            "recipient": recipient_id,
            "nobody": NOBODY,
        }

    def find(self) -> Mails:
        """The mails that went to the recipient, by their sends, displays, events and tracks.

        A display is known by its addresses: in mode anonymous nothing else names the recipient.
        """
        mine: dict[str, set[int]] = {}
        others: dict[str, set[int]] = {}
        names = (
            (
                "sends",
                "has(recipients, %(recipient)s)",
                "recipients",
                "each = %(recipient)s",
                "each = %(nobody)s",
            ),
            (
                "displays",
                "hasAny(recipient_addresses, %(addresses)s)",
                "recipient_addresses",
                "has(%(addresses)s, each)",
                "each = ''",
            ),
        )
        values = self._values | {"addresses": self._addresses()}
        for table, where, column, is_mine, is_erased in names:
            if table == "displays" and not values["addresses"]:
                continue
            rows = self._query(
                f"SELECT DISTINCT message_id, {_places(column, is_mine)}, "
                f"{_places(column, is_erased)} FROM {table} WHERE {_OF_TENANT} AND {where}",
                values,
            )
            for message_id, places, erased in rows:
                mine.setdefault(message_id, set()).update(places)
                others.setdefault(message_id, set()).update(erased)
        for table in ("events", "tracks"):
            for (message_id,) in self._query(
                f"SELECT DISTINCT message_id FROM {table} "
                f"WHERE {_OF_TENANT} AND recipient_id = %(recipient)s",
                self._values,
            ):
                mine.setdefault(message_id, {1})
        counts = self._counts(mine)
        return {
            message_id: WHOLE
            if len(places | others.get(message_id, set())) >= counts.get(message_id, 1)
            else frozenset(places)
            for message_id, places in mine.items()
        }

    def displays(self, mails: Mails) -> Iterator[Display]:
        """The displays of shared mails without the recipient; those that ClickHouse has."""
        shared = [message_id for message_id, places in mails.items() if places]
        for some in in_lots(shared, MAILS):
            rows = self._query(
                "SELECT message_id, tenant, user, subject, recipient_addresses, recipient_names, "
                f"links FROM displays FINAL WHERE {_OF_TENANT} AND message_id IN %(shared)s",
                self._values | {"shared": some},
            )
            for message_id, tenant, user, subject, addresses, called, links in rows:
                parties = list(map(Party, addresses, called))
                left = without(parties, mails[message_id])
                yield Display(message_id, tenant, user, subject, left, list(links))

    def count(self, mails: Mails) -> dict[str, int]:
        """How many rows of each table are to go or to change."""
        addresses = self._addresses()
        counts = dict.fromkeys(TABLES, 0)
        for table in TABLES:
            sql = f"SELECT uniqExact({_KEYS[table]}) FROM {table} WHERE {_OF_TENANT} AND "
            for where, values in self._places_of(table, mails, addresses, _conditions(table)):
                counts[table] += self._query(sql + where, values)[0][0]
        return counts

    def remove(self, mails: Mails) -> dict[str, int]:
        """Removes the recipient, table by table, and gives how many rows that were.

        What several read names nobody in the recipient's place. Returns when ClickHouse has written
        its parts anew, on all replicas. Raises UnavailableError when that takes longer than the
        connection waits; it goes on there, and when this is called again it is waited for.
        """
        self._await_mutations()
        addresses, removed = self._addresses(), self.count(mails)
        for table in TABLES:
            if not removed[table]:
                continue
            for where, values in self._places_of(table, mails, addresses, [*_DELETED[table]]):
                self._mutate(table, f"DELETE WHERE {_OF_TENANT} AND {where}", values)
            if table in _NAMES:
                for where, values in self._places_of(table, mails, addresses, [_NAMES[table]]):
                    self._mutate(
                        table, f"UPDATE {_CHANGES[table]} WHERE {_OF_TENANT} AND {where}", values
                    )
        return removed

    def proofs(self) -> list[dict[str, Any]]:
        """Every statement about consent, in the order they were made."""
        return self._rows(
            f"SELECT * FROM consent_proofs FINAL WHERE {_OF_TENANT} "
            "AND recipient_id = %(recipient)s ORDER BY at, purpose, consent_id",
            self._values,
        )

    def mails(self, some: Mails) -> list[dict[str, Any]]:
        """All that is kept of some mails, a document each, oldest first.

        Of other recipients nothing is told; nor, of a mail that several got, who did what.
        """
        values = self._values | {"ids": list(some)}
        where = f"{_OF_TENANT} AND message_id IN %(ids)s"
        made: dict[str, dict[str, Any]] = {
            message_id: {"message_id": message_id, "shared": bool(places)}
            for message_id, places in some.items()
        }
        for row in self._rows(f"SELECT * FROM sends FINAL WHERE {where}", values):
            places = some[row["message_id"]]
            row["recipients"] = [each for each in row["recipients"] if each == values["recipient"]]
            made[row["message_id"]]["send"] = row | {"recipient_indexes": sorted(places or {1})}
        for row in self._rows(f"SELECT * FROM displays FINAL WHERE {where}", values):
            mail = made[row["message_id"]]
            places = some[row["message_id"]]
            for column in ("recipient_names", "recipient_addresses"):
                cells = row[column]
                row[column] = [
                    cell for at, cell in enumerate(cells, 1) if at in places or not places
                ]
            mail["display"] = row
        own = [(message_id, at) for message_id, places in some.items() for at in places]
        whole = [message_id for message_id, places in some.items() if not places]
        mine = {"whole": whole or [""], "own": own or [("", 0)]}
        for table, order in (("hits", "at, hit_id"), ("events", "at, event_id")):
            for row in self._rows(
                f"SELECT * FROM {table} FINAL "
                f"WHERE {_OF_TENANT} AND ({_WHOLE} OR {_ITS_OWN}) ORDER BY {order}",
                values | mine,
            ):
                made[row["message_id"]].setdefault(table, []).append(row)
        for row in self._rows(
            f"SELECT * FROM tracks FINAL WHERE {_OF_TENANT} AND {_WHOLE}", values | mine
        ):
            made[row["message_id"]]["track"] = row
        return sorted(made.values(), key=_sent_at)

    def _addresses(self) -> list[str]:
        """Every way in which the recipient's address is written in displays."""
        found: list[str] = []
        after = ""
        while True:
            rows = self._query(
                "SELECT DISTINCT arrayJoin(recipient_addresses) AS address FROM displays "
                f"WHERE {_OF_TENANT} AND address > %(after)s ORDER BY address LIMIT {ADDRESSES}",
                self._values | {"after": after},
            )
            found += [address for (address,) in rows if self._is_it(address)]
            if len(rows) < ADDRESSES:
                return found
            after = rows[-1][0]

    def _counts(self, message_ids: Iterable[str]) -> dict[str, int]:
        """How many recipients each mail has, by its send or else by its display."""
        counts: dict[str, int] = {}
        for column, table in (
            ("length(recipient_addresses)", "displays"),
            ("recipient_count", "sends"),
        ):
            for some in in_lots(list(message_ids), MAILS):
                counts |= dict(
                    self._query(
                        f"SELECT message_id, max({column}) FROM {table} "
                        f"WHERE {_OF_TENANT} AND message_id IN %(ids)s GROUP BY message_id",
                        self._values | {"ids": list(some)},
                    )
                )
        return counts

    def _places_of(
        self, table: str, mails: Mails, addresses: list[str], wheres: Iterable[str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Conditions with their values, for so many mails at once as a statement bears."""
        lists: dict[str, list[Any]] = {
            "whole": [message_id for message_id, places in mails.items() if not places],
            "shared": [message_id for message_id, places in mails.items() if places],
            "own": [(message_id, at) for message_id, places in mails.items() for at in places],
        }
        for where in wheres:
            if "addresses" in where and not addresses:
                continue
            (name,) = [name for name in lists if f"%({name})s" in where]
            for some in in_lots(lists[name], MAILS):
                yield where, self._values | {name: list(some), "addresses": addresses}

    def _await_mutations(self) -> None:
        """Returns when ClickHouse writes none of the tables anew, so that none is asked for twice.

        Raises UnavailableError after `PATIENCE_S`.
        """
        until = time.monotonic() + PATIENCE_S
        sql = (
            "SELECT count() FROM system.mutations WHERE database = currentDatabase() "
            "AND table IN %(tables)s AND NOT is_done"
        )
        while self._query(sql, {"tables": TABLES})[0][0]:
            if time.monotonic() > until:
                raise UnavailableError(
                    "ClickHouse still carries out earlier mutations (system.mutations lists them)"
                )
            time.sleep(0.5)

    def _mutate(self, table: str, change: str, values: Mapping[str, Any]) -> None:
        self._clickhouse.execute(f"ALTER TABLE {table} {change}", values, {"mutations_sync": 2})

    def _query(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return self._clickhouse.query(sql, values)

    def _rows(self, sql: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows, columns = self._clickhouse.query_with_types(sql, values)
        names = [name for name, _ in columns]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in rows]


def in_lots(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """The values in their order, at most so many at once."""
    for start in range(0, len(values), most):
        yield values[start : start + most]


def _conditions(table: str) -> Iterator[str]:
    yield from _DELETED[table]
    if table in _NAMES:
        yield _NAMES[table]


def _places(column: str, what: str) -> str:
    """The indexes, from 1, at which a column's list holds something."""
    return f"arrayFilter((at, each) -> {what}, arrayEnumerate({column}), {column})"


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: times in milliseconds since 1970."""
    if isinstance(cell, datetime):
        return round(cell.replace(tzinfo=cell.tzinfo or UTC).timestamp() * 1000)
    return list(cell) if isinstance(cell, tuple | list) else cell


def _sent_at(mail: Mapping[str, Any]) -> tuple[int, str]:
    return mail.get("send", {}).get("sent_at", 0), mail["message_id"]
