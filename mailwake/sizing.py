"""`mailwake size`: how much a sending platform of a size takes, from measured figures.

`size` is a pure function of what is asked (`Load`), what was measured (`Figures`) and what is taken
to be so (`Assumptions`). It rounds up and never plans a process for more than a part of what was
measured of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from dataclasses import dataclass

from mailwake.errors import ConfigError

DAY_S = 86_400
TB = 10**12
GB = 10**9


@dataclass(frozen=True)
class Figures:
    """What was measured, by `make bench` and `python -m bench.bytes` (bench/results); a test holds
    the two together. Rates are of one process on one core of a small machine that ran everything
    else too; bytes are of the real files, compressed, before replication.
    """

    edge_opens_s: float = 18_000
    edge_clicks_s: float = 13_800
    enricher_hits_s: float = 19_700
    loader_rows_s: float = 66_700
    notifier_events_s: float = 3_800
    events_per_hit: float = 0.97
    alerts_per_hit: float = 0.43
    kafka_bytes_send: float = 117
    kafka_bytes_display: float = 141
    kafka_bytes_hit: float = 52
    kafka_bytes_event: float = 81
    kafka_bytes_track: float = 79
    kafka_bytes_alert: float = 135
    clickhouse_bytes_send: float = 54
    clickhouse_bytes_display: float = 78
    clickhouse_bytes_hit: float = 27
    clickhouse_bytes_event: float = 53
    clickhouse_bytes_track: float = 61


@dataclass(frozen=True)
class Assumptions:
    """What is taken to be so, as nothing here measured it; each can be wrong for you.

    Attributes:
        used: the part of a measured rate that a process is planned for.
        grows: how many times as many partitions as workers, for they cannot be added in place.
        least: the fewest processes of a service, so that one may go.
        kafka_copies, clickhouse_copies: replicas of a record and of a row.
        kafka_days: for how many days hits, sends and events stand in Kafka.
        broker_bytes_s, broker_disk: what a broker writes a second, and holds.
        shard_rows_s, shard_disk: what a ClickHouse server takes a second, and holds.
        sent_by_api: the part of the mails that the API instruments; the library and the relay do
            the others.
        reads_per_send: pages and API calls that are answered for each mail that is sent.
        api_calls_s: calls that one API process answers a second.
        recipient_bytes: what each recipient beyond the first adds to a send and to a display.
        request_bytes, answer_bytes: of a pixel or a redirect over TLS, kept alive.
    """

    used: float = 0.6
    grows: int = 2
    least: int = 2
    kafka_copies: int = 3
    clickhouse_copies: int = 2
    kafka_days: int = 7
    broker_bytes_s: float = 50e6
    broker_disk: float = 2 * TB
    shard_rows_s: float = 200_000
    shard_disk: float = 8 * TB
    sent_by_api: float = 0.1
    reads_per_send: float = 0.1
    api_calls_s: float = 100
    recipient_bytes: float = 60
    request_bytes: float = 900
    answer_bytes: float = 700


@dataclass(frozen=True)
class Load:
    """What is asked for. Opens and clicks are all requests, those of machines too."""

    sends_per_day: float
    recipients: float = 1.0
    opens_per_send: float = 1.5
    clicks_per_send: float = 0.3
    peak_factor: float = 8.0
    retention_days: int = 180


@dataclass(frozen=True)
class Size:
    """What it takes. Rates are a second at the peak; disk is in bytes, all copies counted."""

    sends_s: float
    hits_s: float
    rows_s: float
    partitions: int
    edge: int
    enricher: int
    loader: int
    notifier: int
    api: int
    kafka_brokers: int
    kafka_disk: float
    clickhouse_shards: int
    clickhouse_servers: int
    clickhouse_disk: float
    edge_in_bits_s: float
    edge_out_bits_s: float
    kafka_in_bits_s: float


def size(
    load: Load, figures: Figures | None = None, assumptions: Assumptions | None = None
) -> Size:
    """What a load takes. Raises ConfigError for a load that there cannot be."""
    _check(load)
    known, taken = figures or Figures(), assumptions or Assumptions()
    sends_day = load.sends_per_day
    opens_day, clicks_day = sends_day * load.opens_per_send, sends_day * load.clicks_per_send
    hits_day = opens_day + clicks_day
    events_day = hits_day * known.events_per_hit
    peak = load.peak_factor / DAY_S
    # Of each hit at most one change of a track is loaded; each send makes a track too.
    tracks_day = sends_day + hits_day
    rows_s = (2 * sends_day + hits_day + events_day + tracks_day) * peak

    def workers(*work: tuple[float, float]) -> int:
        """Processes for work a day, each given with the rate of one process."""
        busy = sum(day * peak / (rate * taken.used) for day, rate in work)
        return max(taken.least, math.ceil(busy))

    enricher = workers((hits_day, known.enricher_hits_s))
    loader = workers((rows_s / peak, known.loader_rows_s))
    notifier = workers((events_day, known.notifier_events_s))
    further = max(0.0, load.recipients - 1) * taken.recipient_bytes
    kafka_day = (
        sends_day * (known.kafka_bytes_send + further)
        + hits_day * known.kafka_bytes_hit
        + events_day * known.kafka_bytes_event
        + hits_day * known.alerts_per_hit * known.kafka_bytes_alert
    )
    kept_day = sends_day * (known.kafka_bytes_display + further + known.kafka_bytes_track)
    kafka_s = (kafka_day + kept_day + hits_day * known.kafka_bytes_track) * peak
    kafka_disk = taken.kafka_copies * (
        kafka_day * taken.kafka_days + kept_day * load.retention_days
    )
    row_days = load.retention_days + 30
    one_copy = row_days * (
        sends_day * (known.clickhouse_bytes_send + further)
        + sends_day * (known.clickhouse_bytes_display + further + known.clickhouse_bytes_track)
        + hits_day * known.clickhouse_bytes_hit
        + events_day * known.clickhouse_bytes_event
    )
    shards = max(1, math.ceil(rows_s / taken.shard_rows_s), math.ceil(one_copy / taken.shard_disk))
    return Size(
        sends_s=sends_day * peak,
        hits_s=hits_day * peak,
        rows_s=rows_s,
        partitions=_partitions(max(enricher, loader, notifier) * taken.grows),
        edge=workers((opens_day, known.edge_opens_s), (clicks_day, known.edge_clicks_s)),
        enricher=enricher,
        loader=loader,
        notifier=notifier,
        api=workers((sends_day * (taken.sent_by_api + taken.reads_per_send), taken.api_calls_s)),
        kafka_brokers=max(
            taken.kafka_copies,
            math.ceil(kafka_s * taken.kafka_copies / taken.broker_bytes_s),
            math.ceil(kafka_disk / taken.broker_disk),
        ),
        kafka_disk=kafka_disk,
        clickhouse_shards=shards,
        clickhouse_servers=shards * taken.clickhouse_copies,
        clickhouse_disk=one_copy * taken.clickhouse_copies,
        edge_in_bits_s=hits_day * peak * taken.request_bytes * 8,
        edge_out_bits_s=hits_day * peak * taken.answer_bytes * 8,
        kafka_in_bits_s=kafka_s * 8,
    )


def _partitions(wanted: int) -> int:
    """The next power of two, 8 at least: it divides among any usual number of workers."""
    return max(8, 1 << (wanted - 1).bit_length())


def _check(load: Load) -> None:
    for each in dataclasses.fields(load):
        value = getattr(load, each.name)
        option = "--" + each.name.replace("_", "-")
        if not math.isfinite(value) or value < 0 or value > 1e12:
            raise ConfigError(f"{option} {value} must be from 0 to 1e12")
    if load.peak_factor < 1:
        raise ConfigError("--peak-factor must be at least 1: the peak is not below the mean")
    if load.recipients < 1:
        raise ConfigError("--recipients must be at least 1")
    if not 1 <= load.retention_days <= 180:
        raise ConfigError("--retention-days must be from 1 to 180, as a policy has it")


def table(load: Load, found: Size) -> str:
    """What is asked, what it takes, and what that rests on, for people."""
    known, taken = Figures(), Assumptions()
    recipients = _count(load.recipients, "recipient")
    shards = _count(found.clickhouse_shards, "shard")
    parts = [
        f"{load.sends_per_day:,.0f} mails a day, {recipients} each, kept for "
        f"{_count(load.retention_days, 'day')}",
        f"{load.opens_per_send:g} opens and {load.clicks_per_send:g} clicks a mail, machines' too; "
        f"the peak is {load.peak_factor:g} times the mean",
        "",
    ]
    lines = [
        ("at the peak", f"{found.sends_s:,.0f} mails, {found.hits_s:,.0f} hits, "
                        f"{found.rows_s:,.0f} rows a second"),
        ("partitions", f"{found.partitions:,}"),
        ("edge", f"{found.edge:,} processes, a core each"),
        ("enricher", f"{found.enricher:,} workers"),
        ("loader", f"{found.loader:,}"),
        ("notifier", f"{found.notifier:,}"),
        ("api", f"{found.api:,}"),
        ("Kafka", f"{found.kafka_brokers:,} brokers, {_bytes(found.kafka_disk)} in all"),
        ("ClickHouse", f"{shards} of {taken.clickhouse_copies} servers, "
                       f"{_bytes(found.clickhouse_disk)} in all"),
        ("network", f"edge {_bits(found.edge_in_bits_s)} in, {_bits(found.edge_out_bits_s)} out; "
                    f"Kafka {_bits(found.kafka_in_bits_s)} in"),
    ]  # fmt: skip
    parts += [f"  {name:12}{what}" for name, what in lines]
    parts += ["", "measured (docs/scale.md), a process or a value:"]
    parts += [_line(known, each.name) for each in dataclasses.fields(known)]
    parts += ["", "assumed:"]
    parts += [_line(taken, each.name) for each in dataclasses.fields(taken)]
    return "\n".join(parts)


def _line(of: Figures | Assumptions, name: str) -> str:
    return f"  {name:26}{getattr(of, name):>18,.15g}"


def _count(number: float, what: str) -> str:
    return f"{number:,.10g} {what}{'' if number == 1 else 's'}"


def _bytes(count: float) -> str:
    return f"{count / TB:,.1f} TB" if count >= TB else f"{count / GB:,.1f} GB"


def _bits(rate: float) -> str:
    return f"{rate / 1e9:,.1f} Gbit/s" if rate >= 1e9 else f"{rate / 1e6:,.1f} Mbit/s"


def size_command(argv: list[str]) -> int:
    """`mailwake size --sends-per-day N …`. Raises ConfigError."""
    parser = argparse.ArgumentParser(
        prog="mailwake size",
        description="Says how many partitions, processes and servers a platform takes, from "
        "measured figures (docs/scale.md), and what that rests on.",
    )
    for each in dataclasses.fields(Load):
        option = "--" + each.name.replace("_", "-")
        kind = int if each.name == "retention_days" else float
        if each.name == "sends_per_day":
            parser.add_argument(option, type=kind, required=True, metavar="N", help="mails a day")
        else:
            parser.add_argument(
                option, type=kind, default=each.default, metavar="N", help="default: %(default)g"
            )
    parser.add_argument("--json", action="store_true", help="for programs")
    given = vars(parser.parse_args(argv))
    as_json = given.pop("json")
    load = Load(**given)
    found = size(load)
    if as_json:
        told = {
            "load": dataclasses.asdict(load),
            "size": dataclasses.asdict(found),
            "measured": dataclasses.asdict(Figures()),
            "assumed": dataclasses.asdict(Assumptions()),
        }
        print(json.dumps(told, indent=1))
    else:
        print(table(load, found))
    return 0
