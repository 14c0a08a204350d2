"""Reads from ClickHouse what `mailwake reclassify` judges: mails with their hits and events.

Mails are read in the order of their keys (tenant, user, message_id), a stretch of tracks at a time,
so that what is held in memory does not grow with the table. Every call blocks. SQL is put together
of names that stand here; what is given from outside travels as values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from mailwake.clickhouse import ClickHouse
from mailwake.contracts import Event, Hit, Send
from mailwake_enricher.rejudge import COUNTS, Mail

STRETCH = 20_000
"""Most mails whose tracks are read together."""

CHUNK_MAILS, CHUNK_HITS = 4_000, 50_000
"""Most mails and hits that are judged together; a mail with more hits is a chunk by itself. The ids
of so many mails fit into a query (`max_query_size` is 256 KiB by default)."""

_TIMES = ("first_open_at", "last_open_at", "first_click_at", "last_click_at")
_HITS = "opens + clicks + machine_opens + machine_clicks + repeats + forwards"
_SEND = (
    *("message_id", "tenant", "user", "sent_at", "recipient_count", "mode", "opens", "clicks"),
    *("recipients", "tag", "sender_network", "sender_agent", "retention_days"),
)
# In the order of the fields of `Hit` and `Event`, which are made of the rows as they come.
_HIT = (
    *("hit_id", "kind", "at", "tenant", "message_id", "recipient", "mode", "method", "link"),
    *("target", "network", "agent", "referer", "purpose", "replayed", "asn"),
)
_EVENT = (
    *("event_id", "revision", "hit_id", "kind", "at", "tenant", "user", "message_id"),
    *("recipient", "recipient_count", "mode", "verdict", "reasons", "first", "sent_at"),
    *("recipient_id", "link", "target", "network", "agent", "tag", "score", "rules_version"),
    *("repeat", "implied", "forward", "returned", "retention_days"),
)
_MILLIS = frozenset({*_TIMES, "at", "sent_at"})
_OR_NONE = frozenset({"target", "tag", "recipient_id"})
"""Columns whose empty text says that there is none."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One mail as its track tells of it; `hits` is about how many it has."""

    tenant: str
    user: str
    message_id: str
    revision: int
    hits: int
    counts: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which mails: of one tenant or all, and those with an event in a time (milliseconds; since
    included, until not)."""

    tenant: str | None = None
    since: int | None = None
    until: int | None = None


class Archive:
    """ClickHouse's tables as reclassify reads them; not thread-safe."""

    def __init__(self, clickhouse: ClickHouse, choice: Choice) -> None:
        self._clickhouse = clickhouse
        self._choice = choice

    def tenants(self) -> list[str]:
        """The tenants that were chosen."""
        if self._choice.tenant is not None:
            return [self._choice.tenant]
        rows = self._clickhouse.query("SELECT DISTINCT tenant FROM tracks ORDER BY tenant")
        return [tenant for (tenant,) in rows]

    def count(self) -> int:
        """How many mails were chosen."""
        sql = f"SELECT count() FROM tracks FINAL WHERE {self._chosen()}"  # noqa: S608
        return sum(
            self._clickhouse.query(sql, self._values(tenant))[0][0] for tenant in self.tenants()
        )

    def stretches(self) -> Iterator[list[Outline]]:
        """The chosen mails in the order of their keys."""
        for tenant in self.tenants():
            after = ("", "")
            while True:
                found = self._outlines(
                    f"{self._chosen()} AND (user > %(user)s OR message_id > %(message_id)s)",
                    self._values(tenant, *after),
                    f"LIMIT {STRETCH}",
                )
                if found:
                    yield found
                if len(found) < STRETCH:
                    break
                after = (found[-1].user, found[-1].message_id)

    def again(self, mails: Sequence[Outline]) -> list[Outline]:
        """The same mails of one tenant as their tracks are now."""
        found: list[Outline] = []
        for first in range(0, len(mails), CHUNK_MAILS):
            found += self._outlines(*_among(mails[first : first + CHUNK_MAILS]))
        return found

    def read(self, chunk: Sequence[Outline]) -> list[Mail]:
        """Mails of one tenant with all that is known of them; one without a send is left out."""
        where, values = _among(chunk)
        sends = {
            row[0]: Send(**dict(zip(_SEND, row, strict=True)))
            for row in self._rows("sends", _SEND, where, values)
        }
        of_tenant = "tenant = %(tenant)s AND message_id IN %(messages)s"
        # Events first: a hit stands before its event, so one that comes in between is not missed.
        events: dict[str, list[Event]] = {}
        for event in starmap(Event, self._rows("events", _EVENT, where, values)):
            events.setdefault(event.message_id, []).append(event)
        hits: dict[str, list[Hit]] = {}
        for hit in starmap(Hit, self._rows("hits", _HIT, of_tenant, values)):
            hits.setdefault(hit.message_id, []).append(hit)
        return [
            Mail(
                sends[mail.message_id],
                mail.revision,
                mail.counts,
                hits.get(mail.message_id, []),
                events.get(mail.message_id, []),
            )
            for mail in chunk
            if mail.message_id in sends
        ]

    def _outlines(self, where: str, values: dict[str, Any], limit: str = "") -> list[Outline]:
        columns = ", ".join(map(_column, COUNTS))
        rows = self._clickhouse.query(
            f"SELECT tenant, user, message_id, revision, {_HITS}, {columns} FROM tracks FINAL "  # noqa: S608
            f"WHERE {where} ORDER BY tenant, user, message_id {limit}",
            values,
        )
        return [
            Outline(tenant, user, message_id, revision, hits, tuple(map(_plain, counts)))
            for tenant, user, message_id, revision, hits, *counts in rows
        ]

    def _rows(
        self, table: str, columns: Iterable[str], where: str, values: dict[str, Any]
    ) -> list[tuple[Any, ...]]:
        selected = ", ".join(map(_column, columns))
        sql = f"SELECT {selected} FROM {table} FINAL WHERE {where}"  # noqa: S608
        return self._clickhouse.query(sql, values)

    def _chosen(self) -> str:
        of_tenant = "tenant = %(tenant)s AND user >= %(user)s"
        chosen = f"{of_tenant} AND {_HITS} > 0"
        times = [
            f"at {sign} fromUnixTimestamp64Milli(%({name})s, 'UTC')"
            for name, sign in (("since", ">="), ("until", "<"))
            if getattr(self._choice, name) is not None
        ]
        if times:
            among = " AND ".join([of_tenant, *times])
            chosen += f" AND message_id IN (SELECT message_id FROM events WHERE {among})"  # noqa: S608
        return chosen

    def _values(self, tenant: str, user: str = "", message_id: str = "") -> dict[str, Any]:
        return {
            "tenant": tenant,
            "user": user,
            "message_id": message_id,
            "since": self._choice.since,
            "until": self._choice.until,
        }


def chunks(stretch: Iterable[Outline]) -> Iterator[list[Outline]]:
    """Mails in lots that are read and judged together."""
    chunk: list[Outline] = []
    hits = 0
    for mail in stretch:
        if chunk and (len(chunk) == CHUNK_MAILS or hits + mail.hits > CHUNK_HITS):
            yield chunk
            chunk, hits = [], 0
        chunk.append(mail)
        hits += mail.hits
    if chunk:
        yield chunk


def _among(mails: Sequence[Outline]) -> tuple[str, dict[str, Any]]:
    """The condition that holds for some mails of one tenant, in the order of their keys."""
    return (
        "tenant = %(tenant)s AND user >= %(first)s AND user <= %(last)s "
        "AND message_id IN %(messages)s",
        {
            "tenant": mails[0].tenant,
            "first": mails[0].user,
            "last": mails[-1].user,
            "messages": tuple(mail.message_id for mail in mails),
        },
    )


def _column(name: str) -> str:
    """A column as it is asked for: times in whole milliseconds, for a datetime costs more."""
    if name in _TIMES:
        return f"ifNull(toUnixTimestamp64Milli({name}), 0)"
    if name in _OR_NONE:
        return f"nullIf({name}, '')"
    return f"toUnixTimestamp64Milli({name})" if name in _MILLIS else name


def _plain(cell: Any) -> object:
    return list(cell) if isinstance(cell, tuple | list) else cell
