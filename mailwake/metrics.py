"""All metric names, in one list. Prometheus conventions: base units, `_total` for counters."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

# edge
EDGE_HITS = Counter("mailwake_edge_hits_total", "Hits answered", ["kind"])
EDGE_REFUSED = Counter(
    "mailwake_edge_refused_total", "Requests that gave no hit", ["kind", "reason"]
)
EDGE_WITHHELD = Counter(
    "mailwake_edge_withheld_total",
    "Hits of which nothing is kept (withdrawn), or nothing that identifies (unknown)",
    ["kind", "reason"],
)
EDGE_PRODUCED = Counter("mailwake_edge_produced_total", "Hits that Kafka acknowledged")
EDGE_NOT_KEPT = Counter("mailwake_edge_not_kept_total", "Hits answered and not kept", ["reason"])
EDGE_QUEUED = Gauge("mailwake_edge_queued_hits", "Hits that Kafka has not acknowledged yet")
EDGE_PRODUCE_SECONDS = Histogram(
    "mailwake_edge_produce_seconds", "From the answer to Kafka's acknowledgement", buckets=_SECONDS
)
EDGE_UNSAFE = Counter(
    "mailwake_edge_unsafe_total", "Hits answered before the spool had them", ["reason"]
)
EDGE_SPOOL_BYTES = Gauge("mailwake_edge_spool_bytes", "Bytes of the spool that are not yet deleted")
EDGE_SPOOL_LIMIT_BYTES = Gauge(
    "mailwake_edge_spool_limit_bytes", "The most bytes that the spool may hold"
)
EDGE_SPOOLED = Counter("mailwake_edge_spooled_total", "Hits that stand in the spool")
EDGE_OLDEST_SECONDS = Gauge(
    "mailwake_edge_oldest_seconds", "Age of the oldest hit that Kafka has not acknowledged"
)
EDGE_SPOOL_READ = Counter(
    "mailwake_edge_spool_read_total", "Hits read back from the spool, on their way to Kafka"
)
EDGE_SPOOL_DAMAGED = Counter(
    "mailwake_edge_spool_damaged_total", "Places of the spool that could not be read"
)
EDGE_SPOOL_COMMIT_SECONDS = Histogram(
    "mailwake_edge_spool_commit_seconds",
    "From taking hits until they are safe",
    buckets=(0.0001, 0.00025, 0.0005, *_SECONDS),
)
EDGE_ASN_BUILT = Gauge(
    "mailwake_edge_asn_built_seconds", "When the ASN file in use was built (Unix time)"
)

# enricher
ENRICHER_READ = Counter("mailwake_enricher_read_total", "Sends and hits read", ["what"])
ENRICHER_REJECTED = Counter(
    "mailwake_enricher_rejected_total", "Values that went to a reject topic", ["topic", "reason"]
)
ENRICHER_DROPPED = Counter("mailwake_enricher_dropped_total", "Hits that gave no event", ["reason"])
ENRICHER_RULES = Gauge("mailwake_enricher_rules_version", "The rule set that the worker judges by")
ENRICHER_EVENTS = Counter("mailwake_enricher_events_total", "Events emitted", ["kind", "verdict"])
ENRICHER_REVISIONS = Counter(
    "mailwake_enricher_revisions_total",
    "Events told again, in another light",
)
ENRICHER_JOIN_WAIT_SECONDS = Histogram(
    "mailwake_enricher_join_wait_seconds",
    "How long hits waited for their send that came after them",
    buckets=(0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86_400),
)
ENRICHER_WAITING = Gauge("mailwake_enricher_waiting_tracks", "Tracks whose hits wait for a send")
ENRICHER_UNMATCHED = Counter(
    "mailwake_enricher_unmatched_total", "Hits that went to hits.unmatched", ["reason"]
)
ENRICHER_RECLASSIFIED = Counter(
    "mailwake_enricher_reclassified_total", "Mails judged anew that it was told to take", ["what"]
)
ENRICHER_FLUSH_SECONDS = Histogram(
    "mailwake_enricher_flush_seconds", "From reading a record to acknowledging it", buckets=_SECONDS
)

# loader
LOADER_ROWS = Counter("mailwake_loader_rows_total", "Rows inserted into ClickHouse", ["table"])
LOADER_INSERT_SECONDS = Histogram(
    "mailwake_loader_insert_seconds", "Time of one insert", ["table"], buckets=_SECONDS
)
LOADER_RETRIES = Counter("mailwake_loader_retries_total", "Inserts tried again", ["table"])
LOADER_SKIPPED = Counter(
    "mailwake_loader_skipped_total", "Values that gave no row", ["topic", "reason"]
)

LOADER_TABLE_ROWS = Gauge(
    "mailwake_loader_table_rows", "Rows of a table of ClickHouse, before merges", ["table"]
)
LOADER_TABLE_PARTS = Gauge(
    "mailwake_loader_table_parts", "Active parts of a table of ClickHouse", ["table"]
)

# notifier
NOTIFIER_EVENTS = Counter("mailwake_notifier_events_total", "Events read")
NOTIFIER_ALERTS = Counter("mailwake_notifier_alerts_total", "Alerts emitted", ["kind"])
NOTIFIER_REVISED = Counter(
    "mailwake_notifier_revised_total", "Alerts told again: counted up, withdrawn", ["what"]
)
NOTIFIER_DROPPED = Counter(
    "mailwake_notifier_dropped_total", "Events that began no alert", ["reason"]
)
NOTIFIER_WAITING = Gauge(
    "mailwake_notifier_waiting", "Mails and links of which an alert waits in its settle window"
)
NOTIFIER_LET_GO = Counter(
    "mailwake_notifier_let_go_total",
    "Mails and links forgotten too soon, for want of room: what follows is not counted up",
)

# webhooks
WEBHOOK_ATTEMPTS = Counter(
    "mailwake_webhook_attempts_total",
    "Attempts to deliver to a webhook, by how they ended",
    ["outcome"],
)
WEBHOOK_FAILED = Counter(
    "mailwake_webhook_failed_total", "Messages given up, by how the last attempt ended", ["outcome"]
)
WEBHOOK_PUT_OFF = Counter(
    "mailwake_webhook_put_off_total",
    "Attempts put off as the webhook is busy, or rests as it asked to",
    ["reason"],
)
WEBHOOK_DROPPED = Counter(
    "mailwake_webhook_dropped_total", "Records that gave no message", ["reason"]
)
WEBHOOK_DISABLED = Counter("mailwake_webhook_disabled_total", "Webhooks disabled", ["reason"])
WEBHOOK_RUNNING = Gauge("mailwake_webhook_running", "Attempts that are under way")
WEBHOOK_SECONDS = Histogram(
    "mailwake_webhook_seconds", "From the beginning of an attempt to its end", buckets=_SECONDS
)
WEBHOOK_DELAY_SECONDS = Histogram(
    "mailwake_webhook_delay_seconds",
    "From the time an alert was told to the attempt that delivered it",
    buckets=(*_SECONDS, 300, 1800, 7200, 36_000, 86_400, 259_200),
)

# api
API_REQUESTS = Counter("mailwake_api_requests_total", "Calls answered", ["endpoint", "status"])
API_SECONDS = Histogram(
    "mailwake_api_seconds", "From a call to its answer", ["endpoint"], buckets=_SECONDS
)
API_ALERTS_KEPT = Gauge("mailwake_api_alerts_kept", "Alerts kept in memory")
API_READERS = Gauge("mailwake_api_readers", "Streams of alerts that are open")
API_ALERTS_STREAMED = Counter("mailwake_api_alerts_streamed_total", "Alerts sent to streams")
API_RESYNCS = Counter(
    "mailwake_api_resyncs_total", "Readers of streams that were told to read the list again"
)

# digest
DIGESTS = Counter("mailwake_digests_total", "Daily digests, by what became of them", ["outcome"])
DIGESTS_DUE = Gauge(
    "mailwake_digests_due", "Users of this process whose digest was due when a round began"
)

# relay
RELAY_MAILS = Counter("mailwake_relay_mails_total", "Mails answered", ["outcome"])
RELAY_SECONDS = Histogram(
    "mailwake_relay_seconds", "From the end of a mail to its answer", buckets=_SECONDS
)
RELAY_TRACKS = Gauge(
    "mailwake_relay_tracks", "1 when mail can be tracked: Kafka takes sends, consents are known"
)
RELAY_SESSIONS = Gauge("mailwake_relay_sessions", "SMTP sessions that are open")
RELAY_LOGINS = Counter("mailwake_relay_logins_total", "Names and passwords checked", ["outcome"])

# whoever follows a compacted topic
FOLLOWED_UNREADABLE = Counter(
    "mailwake_followed_unreadable_total",
    "Records of compacted topics that are unreadable",
    ["topic"],
)

# whoever is a member of a group
LAG_RECORDS = Gauge(
    "mailwake_lag_records", "Records that are not committed yet", ["topic", "partition"]
)
PARTITION_COMMITTED_AT = Gauge(
    "mailwake_partition_committed_at_seconds",
    "When a partition was last committed, or began to be read (Unix time)",
    ["topic", "partition"],
)

# every service
DELAY_SECONDS = Histogram(
    "mailwake_delay_seconds",
    "From a request to its event (enriched), and to its alert in Kafka (alerted)",
    ["stage"],
    buckets=_SECONDS,
)
COMMITTED_AT = Gauge(
    "mailwake_committed_at_seconds", "When progress was last committed (Unix time)"
)
