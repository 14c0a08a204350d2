"""Taking up a partition where another left it: from the record that was not committed, back to what
its windows and counts hang on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from mailwake_notifier.decide import Times
from mailwake_notifier.settling import Partition, remember_ms
from mailwake_notifier.wishes import Wishes

log = logging.getLogger("mailwake.notifier")

MOST_KEPT = 300_000
"""Most acts that a process remembers, 1.6 KiB each where each is of another mail, and 0.3 KiB the
further ones of a mail or link: at 160 a second, for as long as `remember_ms` says. The memory that
deploy/k8s gives a notifier goes by it."""


@dataclass(slots=True)
class TakingUp:
    """Makes the partitions of one assignment, each when its first record comes.

    That record is the first that was not committed. Its time says from where on to read once more
    what was dealt with: nothing else is kept between two owners of a partition, and there is no
    database to ask.

    Attributes:
        share: how many partitions the process has.
    """

    consumer: AIOKafkaConsumer
    wishes: Wishes
    times: Times
    share: int

    async def begin(self, part: TopicPartition, first: ConsumerRecord) -> tuple[Partition, bool]:
        """A partition, and whether the consumer was set back, so that its records come again.

        Raises KafkaError when Kafka does not say where to read from; IllegalStateError when the
        partition was taken away meanwhile.
        """
        since = max(first.timestamp - remember_ms(self.times), 0)
        found: Mapping[TopicPartition, object] = await self.consumer.offsets_for_times(
            {part: since}
        )
        start = getattr(found.get(part), "offset", first.offset)
        end = self.consumer.highwater(part) or first.offset
        made = Partition(self.wishes, self.times, first.offset, end, MOST_KEPT // self.share)
        if start >= first.offset:
            return made, False
        log.info(
            "partition %d: reads %d records once more, for what alerts hang on",
            part.partition,
            first.offset - start,
        )
        self.consumer.seek(part, start)
        return made, True
