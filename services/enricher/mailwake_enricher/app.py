"""The Faust app: its settings, its table and the one agent's channel; nothing is started here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import faust
from faust.types import TopicT

from mailwake.settings import Settings
from mailwake_enricher.recovery import Tables
from mailwake_enricher.table import Tracks
from mailwake_enricher.transport import credentials, set_transport

SESSION_TIMEOUT_S = 15.0
"""How long a worker may be silent before its partitions are given to others."""


def make_app(settings: Settings) -> faust.App:
    """The Faust app with our settings; it reads and creates nothing yet."""
    app = faust.App(
        settings.topic_prefix + "enricher",
        broker=f"kafka://{settings.kafka_bootstrap.replace(',', ';kafka://')}",
        broker_credentials=credentials(settings),
        datadir=settings.state,
        store="rocksdb://",
        Table=Tracks,
        TableManager=Tables,
        processing_guarantee="at_least_once",
        web_enabled=False,
        canonical_url=f"http://enricher-{settings.worker}",
        producer_threaded=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_group_instance_id=f"enricher-{settings.worker}",
        consumer_auto_offset_reset="earliest",
        broker_client_id=f"mailwake-enricher-{settings.worker}",
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=SESSION_TIMEOUT_S / 5,
        broker_commit_interval=1.0,
        # A record may have 1 MiB: what lies in the queue must stay in bounds.
        stream_buffer_maxsize=256,
        # Faust has nothing to wait for (acks=False); the flusher is drained instead.
        stream_wait_empty=False,
        table_standby_replicas=1,
    )
    set_transport(app)
    return app


def make_table(app: faust.App, settings: Settings) -> Tracks:
    """The `tracks` table of the app; its changelog topic stands already."""
    changelog = app.topic(
        settings.topic("tracks"),
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        acks=False,
        internal=True,
        allow_empty=True,
        maxsize=131_072,
    )
    table = app.Table(
        "tracks",
        key_type=bytes,
        value_type=bytes,
        changelog_topic=changelog,
        options={
            "driver": "rocksdict",
            "block_cache_size": 64 * 1024 * 1024,
            "write_buffer_size": 32 * 1024 * 1024,
            # Never "ttl": rocksdict 0.3.29 puts two filters on top of each other, and the inner
            # one takes the last bytes of a row for its time; the first compaction loses rows.
        },
    )
    return cast(Tracks, table)


def make_channel(app: faust.App, topics: Iterable[str]) -> TopicT:
    """The one channel of all topics that the agent reads (names in Kafka), as raw bytes.

    With a key or value type alone Faust would read JSON, and drop what is none.
    """
    return app.topic(
        *topics,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        allow_empty=True,
        acks=False,
    )
