"""The settings: read once from the environment, checked, frozen.

Every setting stands in `Settings` with its default and its sentence; docs/settings.md is written
from here and a test fails when it is not up to date. A name that starts with `MAILWAKE_` and is
none of ours is an error that names the nearest right one. It is long because it is one list.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailwake.errors import ConfigError
from mailwake.setting_values import (
    Network,
    TenantUrl,
    bootstrap,
    decimal,
    mailbox,
    networks,
    one_of,
    path,
    path_or_none,
    prefix,
    tenant_urls,
    text,
    url,
    url_or_empty,
    waits,
    whole,
)


def setting(name: str, default: str, parse: Callable[[str], Any], about: str) -> Any:
    """A field of `Settings`: its variable, its default as text, its parser and its sentence."""
    return dataclasses.field(
        default_factory=lambda: parse(default),
        metadata={"name": name, "default": default, "parse": parse, "about": about},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of all services; each reads those it needs."""

    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "127.0.0.1:9092", bootstrap, "Where Kafka answers."
    )
    kafka_security: str = setting(
        "KAFKA_SECURITY",
        "plaintext",
        one_of("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
        "How Kafka is spoken to: with TLS (ssl, sasl_ssl) or without, as a user with a password "
        "(sasl_plaintext, sasl_ssl) or not.",
    )
    kafka_ca: Path | None = setting(
        "KAFKA_CA",
        "",
        path_or_none,
        "The file with the certificates (PEM) that vouch for Kafka's; empty takes the system's.",
    )
    kafka_certificate: Path | None = setting(
        "KAFKA_CERTIFICATE",
        "",
        path_or_none,
        "The file with the certificate chain (PEM) that we show Kafka; empty shows none.",
    )
    kafka_key: Path | None = setting(
        "KAFKA_KEY", "", path_or_none, "The file with the key of that certificate (PEM)."
    )
    kafka_mechanism: str = setting(
        "KAFKA_MECHANISM",
        "SCRAM-SHA-512",
        one_of("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"),
        "How the password is shown to Kafka.",
    )
    kafka_user: str = setting(
        "KAFKA_USER", "", str.strip, "The user that this service is in Kafka, one for each service."
    )
    kafka_password_file: Path | None = setting(
        "KAFKA_PASSWORD_FILE",
        "",
        path_or_none,
        "The file whose first line is that user's password.",
    )
    clickhouse_url: str = setting(
        "CLICKHOUSE_URL",
        "clickhouse://default@127.0.0.1:9000/default",
        url("clickhouse", "clickhouses"),
        "Where ClickHouse answers its native protocol, with user and database (and password, "
        "unless it stands in a file); clickhouses:// is with TLS.",
    )
    clickhouse_ca: Path | None = setting(
        "CLICKHOUSE_CA",
        "",
        path_or_none,
        "The file with the certificates (PEM) that vouch for ClickHouse's; empty takes the "
        "usual ones.",
    )
    clickhouse_password_file: Path | None = setting(
        "CLICKHOUSE_PASSWORD_FILE",
        "",
        path_or_none,
        "The file whose first line is the password of ClickHouse's user; it stands above the one "
        "in the URL.",
    )
    topic_prefix: str = setting(
        "MAILWAKE_TOPIC_PREFIX",
        "",
        prefix,
        "Put before every topic and group name, so that installations can share a cluster.",
    )
    partitions: int = setting(
        "MAILWAKE_PARTITIONS",
        "0",
        whole(0, 4096),
        "Partitions of topics that are created; 0 takes what each topic's file says.",
    )
    replication: int = setting(
        "MAILWAKE_REPLICATION",
        "-1",
        whole(-1, 9),
        "Replicas of topics that are created; -1 takes the broker's default.",
    )
    keyring: Path = setting(
        "MAILWAKE_KEYRING",
        "mailwake-keys.json",
        path,
        "The file with the keys that tokens are made with; `mailwake keys new` makes one.",
    )
    tracking_url: str = setting(
        "MAILWAKE_TRACKING_URL",
        "http://127.0.0.1:8025",
        url("https", "http"),
        "The public address of the edge; pixels and links in mail point there.",
    )
    tracking_domains: tuple[TenantUrl, ...] = setting(
        "MAILWAKE_TRACKING_DOMAINS",
        "",
        tenant_urls,
        "Tenants whose pixels and links point to an address of their own, such as "
        "acme=https://t.acme.example; the edge takes no other tenant's there.",
    )
    withdrawal_url: str = setting(
        "MAILWAKE_WITHDRAWAL_URL",
        "http://127.0.0.1:8026",
        url("https", "http"),
        "The public address of the API, the mailbox, and the pages where recipients withdraw.",
    )
    edge_host: str = setting(
        "MAILWAKE_EDGE_HOST", "127.0.0.1", text, "The address the edge listens on."
    )
    edge_port: int = setting(
        "MAILWAKE_EDGE_PORT", "8025", whole(0, 65535), "The port the edge listens on; 0 is any."
    )
    edge_linger_ms: int = setting(
        "MAILWAKE_EDGE_LINGER_MS",
        "50",
        whole(0, 1000),
        "How long the edge gathers hits before it publishes them, in milliseconds.",
    )
    edge_batch_hits: int = setting(
        "MAILWAKE_EDGE_BATCH_HITS", "200", whole(1, 1000), "Most hits in one Kafka record."
    )
    edge_queue_hits: int = setting(
        "MAILWAKE_EDGE_QUEUE_HITS",
        "200000",
        whole(1000, 10_000_000),
        "Most hits the edge holds in memory while Kafka is away; further ones stand in its spool.",
    )
    edge_durability: str = setting(
        "MAILWAKE_EDGE_DURABILITY",
        "strict",
        one_of("strict", "relaxed"),
        "When the edge answers: strict, when the hit stands on the disk of its spool; relaxed, "
        "when the system has it, which outlives the process and not a power cut.",
    )
    edge_spool_mb: int = setting(
        "MAILWAKE_EDGE_SPOOL_MB",
        "1024",
        whole(1, 1_000_000),
        "The most the spool of the edge may hold, in MiB; hits beyond are answered and counted as "
        "not kept.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "MAILWAKE_TRUSTED_PROXIES",
        "",
        networks,
        "Networks of the proxies whose X-Forwarded-For is believed.",
    )
    asn_file: Path | None = setting(
        "MAILWAKE_ASN_FILE",
        "",
        path_or_none,
        "The file that tells the edge whose network an address is in (MaxMind format, such as "
        "GeoLite2-ASN, DB-IP or IPinfo); read again when it changes. Empty is none.",
    )
    relay_host: str = setting(
        "MAILWAKE_RELAY_HOST", "127.0.0.1", text, "The address the SMTP relay listens on."
    )
    relay_port: int = setting(
        "MAILWAKE_RELAY_PORT",
        "2525",
        whole(0, 65535),
        "The port the SMTP relay listens on; 0 is any.",
    )
    relay_next: str = setting(
        "MAILWAKE_RELAY_NEXT",
        "smtp://127.0.0.1:1025",
        url("smtp", "smtp+tls", "smtps"),
        "The SMTP host that gets the mail of the relay, with user and password if it wants them. "
        "smtp takes STARTTLS where it is offered, smtp+tls insists on it, smtps is TLS from the "
        "start.",
    )
    relay_next_timeout_s: float = setting(
        "MAILWAKE_RELAY_NEXT_TIMEOUT_S",
        "60",
        decimal(1, 600),
        "How long the next host may take for one answer, in seconds.",
    )
    relay_users: Path = setting(
        "MAILWAKE_RELAY_USERS",
        "mailwake-users.json",
        path,
        "The file with who may send through the relay; `mailwake users set` writes it.",
    )
    relay_certificate: str = setting(
        "MAILWAKE_RELAY_CERTIFICATE",
        "",
        str.strip,
        "The file with the relay's TLS certificate chain (PEM); without one there is no STARTTLS.",
    )
    relay_key: str = setting(
        "MAILWAKE_RELAY_KEY", "", str.strip, "The file with the key of that certificate (PEM)."
    )
    relay_plain_auth: str = setting(
        "MAILWAKE_RELAY_PLAIN_AUTH",
        "loopback",
        one_of("never", "loopback", "always"),
        "From where the relay takes a password without TLS.",
    )
    relay_max_bytes: int = setting(
        "MAILWAKE_RELAY_MAX_BYTES",
        "36700160",
        whole(1024, 1 << 30),
        "The largest mail the relay takes, in bytes.",
    )
    relay_without_kafka: str = setting(
        "MAILWAKE_RELAY_WITHOUT_KAFKA",
        "untracked",
        one_of("untracked", "refuse"),
        "What becomes of a mail while Kafka is away: it goes out untracked, or gets 451.",
    )
    relay_footer: str = setting(
        "MAILWAKE_RELAY_FOOTER",
        "",
        str.strip,
        "A sentence that the relay puts below a tracked mail, as a link to the recipient's "
        "withdrawal page; empty puts none.",
    )
    compose_relay: str = setting(
        "MAILWAKE_COMPOSE_RELAY",
        "smtp://mailbox@127.0.0.1:2525",
        url("smtp", "smtp+tls", "smtps"),
        "The relay that gets the mail of Compose, with the login that sends on behalf of users "
        "(`mailwake users set … --on-behalf`); the schemes are those of MAILWAKE_RELAY_NEXT.",
    )
    compose_password: Path | None = setting(
        "MAILWAKE_COMPOSE_PASSWORD",
        "",
        path_or_none,
        "The file with the password of that login; empty where it stands in the address.",
    )
    api_host: str = setting(
        "MAILWAKE_API_HOST", "127.0.0.1", text, "The address the HTTP API listens on."
    )
    api_port: int = setting(
        "MAILWAKE_API_PORT", "8026", whole(0, 65535), "The port the HTTP API listens on; 0 is any."
    )
    api_keys: Path = setting(
        "MAILWAKE_API_KEYS",
        "mailwake-api-keys.json",
        path,
        "The file with the keys that bearer tokens are checked with, a JSON Web Key Set.",
    )
    api_audience: str = setting(
        "MAILWAKE_API_AUDIENCE", "mailwake", text, "The audience (`aud`) a bearer token must name."
    )
    api_issuer: str = setting(
        "MAILWAKE_API_ISSUER",
        "",
        str.strip,
        "The issuer (`iss`) a bearer token must name; empty takes any.",
    )
    api_max_bytes: int = setting(
        "MAILWAKE_API_MAX_BYTES",
        "52428800",
        whole(1024, 1 << 30),
        "The largest request the API takes, in bytes.",
    )
    api_alerts: int = setting(
        "MAILWAKE_API_ALERTS",
        "500000",
        whole(1000, 100_000_000),
        "Most alerts the API keeps in memory, about a kilobyte each, before it lets go of the "
        "oldest.",
    )
    digest_from: str = setting(
        "MAILWAKE_DIGEST_FROM",
        "Mailwake <mailwake@localhost>",
        mailbox,
        "Whom the daily digest is from.",
    )
    digest_smtp: str = setting(
        "MAILWAKE_DIGEST_SMTP",
        "",
        url_or_empty("smtp", "smtp+tls", "smtps"),
        "The SMTP host that gets the daily digests, with user and password if it wants them; empty "
        "is that of MAILWAKE_RELAY_NEXT.",
    )
    state: Path = setting(
        "MAILWAKE_STATE",
        "mailwake-state",
        path,
        "The folder where an edge keeps its spool, an enricher worker its tracks, and a relay what "
        "it has delivered; one folder for each process.",
    )
    worker: str = setting(
        "MAILWAKE_WORKER",
        "0",
        text,
        "The lasting name of this enricher worker, such as its pod's name.",
    )
    repeat_window_s: int = setting(
        "MAILWAKE_REPEAT_WINDOW_S",
        "60",
        whole(0, 86400),
        "A further hit of the same reader on the same pixel or link within so many seconds is a "
        "repeat and gives no event.",
    )
    return_s: int = setting(
        "MAILWAKE_RETURN_S",
        "86400",
        whole(3600, 31_536_000),
        "An open or click by a person after no person had for so many seconds is a return.",
    )
    join_wait_s: int = setting(
        "MAILWAKE_JOIN_WAIT_S",
        "86400",
        whole(1, 604_800),
        "How long a hit waits for its send, in seconds, before it goes to hits.unmatched.",
    )
    rules: Path | None = setting(
        "MAILWAKE_RULES",
        "",
        path_or_none,
        "The file with the rule set that the enricher judges by, the same for all workers; empty "
        "takes the one in the package.",
    )
    alert_age_s: int = setting(
        "MAILWAKE_ALERT_AGE_S",
        "86400",
        whole(1, 31_536_000),
        "How old an open or click may be, in seconds, when the enricher tells of it, for its "
        "sender to be alerted; an older one is shown, and rings no bell.",
    )
    settle_s: float = setting(
        "MAILWAKE_SETTLE_S",
        "5",
        decimal(0, 45),
        "How long an alert waits for its event to turn out a machine's, in seconds; one that is "
        "certainly a person's does not wait.",
    )
    settle_doubtful_s: float = setting(
        "MAILWAKE_SETTLE_DOUBTFUL_S",
        "15",
        decimal(0, 45),
        "How long it waits where the event's signals are doubtful, in seconds.",
    )
    coalesce_s: int = setting(
        "MAILWAKE_COALESCE_S",
        "600",
        whole(0, 3600),
        "Further opens of a mail, or clicks of a link, within so many seconds after the one that "
        "alerted are counted in its alert.",
    )
    webhook_http: str = setting(
        "MAILWAKE_WEBHOOK_HTTP",
        "no",
        one_of("no", "yes"),
        "Whether webhooks may be http:// beside https://, for trials on one machine.",
    )
    webhook_networks: tuple[Network, ...] = setting(
        "MAILWAKE_WEBHOOK_NETWORKS",
        "",
        networks,
        "Networks that webhooks may be sent to beside the public Internet, such as 127.0.0.0/8 for "
        "trials on one machine.",
    )
    webhook_timeout_s: float = setting(
        "MAILWAKE_WEBHOOK_TIMEOUT_S",
        "15",
        decimal(0.1, 60),
        "How long a webhook may take to answer, in seconds.",
    )
    webhook_schedule: tuple[float, ...] = setting(
        "MAILWAKE_WEBHOOK_SCHEDULE",
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        waits,
        "How long a message waits for its second attempt, its third and so on, in seconds; a "
        "message that fails once more is given up.",
    )
    loader_rows: int = setting(
        "MAILWAKE_LOADER_ROWS", "50000", whole(1, 1_000_000), "Most rows in one insert."
    )
    loader_seconds: float = setting(
        "MAILWAKE_LOADER_SECONDS",
        "1",
        decimal(0.05, 60),
        "Longest time rows are gathered before they are inserted, in seconds.",
    )
    ops_host: str = setting(
        "MAILWAKE_OPS_HOST",
        "127.0.0.1",
        text,
        "The address where /health, /ready and /metrics of a service stand.",
    )
    ops_port: int = setting(
        "MAILWAKE_OPS_PORT",
        "0",
        whole(0, 65535),
        "The port where /health, /ready and /metrics of a service stand; 0 is any free one.",
    )
    drain_s: float = setting(
        "MAILWAKE_DRAIN_S",
        "0",
        decimal(0, 300),
        "So long a service that is told to end goes on as before while /ready says no, so that "
        "every load balancer has heard of it; for edge, api and relay. A second signal cuts it "
        "short.",
    )
    log_level: str = setting(
        "MAILWAKE_LOG_LEVEL",
        "info",
        one_of("debug", "info", "warning", "error"),
        "How much is logged.",
    )
    log_format: str = setting(
        "MAILWAKE_LOG_FORMAT",
        "text",
        one_of("text", "json"),
        "How a line of the log is written: for people, or as a JSON object.",
    )
    traces: str = setting(
        "MAILWAKE_TRACES",
        "off",
        one_of("off", "otlp"),
        "Whether edge, enricher and notifier send OpenTelemetry traces, to where "
        "OTEL_EXPORTER_OTLP_ENDPOINT says.",
    )
    traces_ratio: float = setting(
        "MAILWAKE_TRACES_RATIO",
        "0.01",
        decimal(0, 1),
        "The part of the edge's records that is traced, from 0 to 1.",
    )
    home: Path = setting(
        "MAILWAKE_HOME",
        "~/.mailwake",
        path,
        "Where `mailwake up` keeps the data of Kafka, ClickHouse and the services.",
    )
    cache: Path = setting(
        "MAILWAKE_CACHE",
        "~/.cache/mailwake",
        path,
        "Where `mailwake up` keeps what it fetched (Kafka's jars).",
    )
    local_kafka_port: int = setting(
        "MAILWAKE_LOCAL_KAFKA_PORT",
        "9092",
        whole(0, 65535),
        "The port of the Kafka that `mailwake up` starts; 0 is any free one.",
    )
    local_clickhouse_port: int = setting(
        "MAILWAKE_LOCAL_CLICKHOUSE_PORT",
        "9000",
        whole(0, 65535),
        "The port of the ClickHouse that `mailwake up` starts; 0 is any free one.",
    )
    kafka_home: str = setting(
        "KAFKA_HOME", "", str.strip, "An installed Kafka that `mailwake up` starts instead."
    )
    kafka_java: str = setting(
        "KAFKA_JAVA", "", str.strip, "An own Java (the program) that Kafka is started with."
    )

    def topic(self, name: str) -> str:
        """The name of a topic in Kafka: with the installation's prefix."""
        return self.topic_prefix + name


def read_settings(environ: Mapping[str, str] | None = None, **given: Any) -> Settings:
    """The settings that an environment gives (this process's own, unless one is given).

    `given` are fields that are already known and stand above the environment. Raises ConfigError
    for a wrong value and for an unknown name that starts with `MAILWAKE_`.
    """
    environ = os.environ if environ is None else environ
    fields = {field.metadata["name"]: field for field in dataclasses.fields(Settings)}
    for name in sorted(environ):
        if name.startswith("MAILWAKE_") and name not in fields and name not in _NOT_SETTINGS:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists the settings"
            raise ConfigError(f"{name} is not a setting; {hint}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in environ:
            try:
                values[field.name] = field.metadata["parse"](environ[name])
            except ValueError as error:
                shown = "" if name in _SECRET else f", but is {environ[name]!r}"
                raise ConfigError(f"{name} {error}{shown}") from None
    return Settings(**values | given)


_SECRET = frozenset({"CLICKHOUSE_URL", "MAILWAKE_RELAY_NEXT", "MAILWAKE_DIGEST_SMTP"})
"""What may hold a password, and is therefore not shown in an error."""
_NOT_SETTINGS = frozenset({"MAILWAKE_TEST_BACKEND"})


def to_environ(settings: Settings) -> dict[str, str]:
    """The variables that give these settings again; what a supervisor hands to a service."""
    environ: dict[str, str] = {}
    for field in dataclasses.fields(Settings):
        value = getattr(settings, field.name)
        if isinstance(value, tuple):
            as_text = ",".join(map(str, value))
        else:
            as_text = "" if value is None else str(value)
        environ[field.metadata["name"]] = as_text
    return environ


def settings_page() -> str:
    """docs/settings.md: every setting with its default and its sentence."""
    lines = [
        "# Settings",
        "",
        "Set in the environment, read once at the start, checked. Written by `mailwake settings`.",
        "",
        "| setting | default | says |",
        "|---|---|---|",
    ]
    for field in dataclasses.fields(Settings):
        default = f"`{field.metadata['default']}`" if field.metadata["default"] else "empty"
        lines.append(f"| `{field.metadata['name']}` | {default} | {field.metadata['about']} |")
    return "\n".join(lines) + "\n"
