"""`mailwake replay loader`: sets the loader back, so that it stores again what stands in Kafka.

For tables that were restored from a copy, or emptied. What a table holds already is stored once
more as the same row, and collapses; what was erased is passed over
(docs/decisions/0013-erasure.md).
"""

from __future__ import annotations

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, UnknownMemberIdError

from mailwake.errors import ConfigError, UnavailableError
from mailwake.kafka import partitions_of_topic, start_consumer, stop_client
from mailwake.settings import Settings
from mailwake_enricher.loader import GROUP
from mailwake_enricher.loader_sources import SOURCES


async def rewind_loader(settings: Settings, since: int = 0, *, dry_run: bool = False) -> int:
    """Sets the loader's group, which must have no members, back to the first records that were
    written at or after `since` (milliseconds).

    Gives how many records it will read; more are not counted that are written meanwhile. Raises
    ConfigError when a loader runs, and UnavailableError.
    """
    places = [
        place for source in SOURCES for place in await partitions_of_topic(settings, source.name)
    ]
    consumer = await start_consumer(settings, client_id="mailwake-replay", group=GROUP)
    try:
        consumer.assign(places)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        starts: dict[TopicPartition, int] = await consumer.beginning_offsets(places)
        if since:
            found = await consumer.offsets_for_times(dict.fromkeys(places, since))
            starts = {
                place: found[place].offset if found.get(place) else ends[place] for place in places
            }
        if not dry_run:
            await consumer.commit(starts)
    except KafkaError as error:
        if isinstance(error, CommitFailedError | UnknownMemberIdError):
            raise ConfigError(
                "a loader runs, and only a group without members can be set back; stop all loaders "
                "and try again after some seconds"
            ) from None
        raise UnavailableError(
            f"Kafka at {settings.kafka_bootstrap} did not finish ({error}); try again"
        ) from None
    finally:
        await stop_client(consumer)
    return sum(ends[place] - starts[place] for place in places)
