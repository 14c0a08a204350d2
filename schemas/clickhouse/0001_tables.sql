-- What the loader writes: a table for each of the topics sends, displays, hits, events and tracks.
--
-- Rows arrive at least once, so a row that comes again replaces the one that stands: reading queries
-- say FINAL. That holds within a partition only, so no table is partitioned by what a second copy of
-- a row may tell otherwise (a sender's clock); docs/decisions/0006-clickhouse-tables.md says more.

CREATE TABLE IF NOT EXISTS sends
(
    message_id      String CODEC(ZSTD(1))   COMMENT 'The sent mail, 32 hex digits',
    tenant          LowCardinality(String)  COMMENT 'The sending organisation',
    user            String                  COMMENT 'The sender within the tenant; never an address',
    sent_at         DateTime64(3, 'UTC')    COMMENT 'When it was handed over, by the clock of the sender',
    recipient_count UInt16                  COMMENT 'How many recipients the body went to',
    mode            LowCardinality(String)  COMMENT 'anonymous keeps counts alone; identified keeps recipient, network and agent',
    opens           Bool                    COMMENT 'Whether the body carries a pixel',
    clicks          Bool                    COMMENT 'Whether its links were rewritten',
    recipients      Array(String) CODEC(ZSTD(1)) COMMENT 'recipient_ids by recipient index, the first is 1; empty in mode anonymous',
    links           Array(String) CODEC(ZSTD(1)) COMMENT 'Targets by link index, the first is 0 (links[index + 1])',
    tag             LowCardinality(String)  COMMENT 'The campaign or label that reports group by; empty when none',
    CONSTRAINT times_in_range CHECK sent_at < toDateTime64('2200-01-01', 3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, user, message_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What is known of each sent mail; a row is one mail';

CREATE TABLE IF NOT EXISTS displays
(
    message_id          String CODEC(ZSTD(1))   COMMENT 'The sent mail, 32 hex digits',
    tenant              LowCardinality(String)  COMMENT 'The sending organisation',
    user                String                  COMMENT 'The sender within the tenant, who alone may read the row',
    subject             String CODEC(ZSTD(1))   COMMENT 'The subject of the mail',
    recipient_names     Array(String) CODEC(ZSTD(1)) COMMENT 'Names by recipient index, the first is 1; empty where none is known',
    recipient_addresses Array(String) CODEC(ZSTD(1)) COMMENT 'Addresses by recipient index, the first is 1',
    links               Array(String) CODEC(ZSTD(1)) COMMENT 'The text of each link by link index, the first is 0 (links[index + 1])',
    INDEX message_id message_id TYPE bloom_filter GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, user, message_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What the mailbox of the sender shows of a mail: the one table with names and addresses; a row is one mail and goes when it is erased';

CREATE TABLE IF NOT EXISTS hits
(
    hit_id     String CODEC(ZSTD(1))   COMMENT 'The request, 32 hex digits: run of the edge process, number in it',
    kind       LowCardinality(String)  COMMENT 'open or click',
    at         DateTime64(3, 'UTC')    COMMENT 'When the edge saw it, by the clock of the edge',
    tenant     LowCardinality(String)  COMMENT 'The sending organisation',
    message_id String CODEC(ZSTD(1))   COMMENT 'The sent mail, 32 hex digits',
    recipient  UInt16                  COMMENT 'Recipient index, the first is 1; 0 when the body is shared by all',
    mode       LowCardinality(String)  COMMENT 'anonymous or identified, as in sends',
    method     LowCardinality(String)  COMMENT 'GET or HEAD',
    link       Nullable(UInt16)        COMMENT 'Of a click, the link index, the first is 0',
    target     String CODEC(ZSTD(1))   COMMENT 'Of a click, where it led',
    network    String CODEC(ZSTD(1))   COMMENT 'The network of the client, /24 or /48; never a full address',
    agent      LowCardinality(String)  COMMENT 'The User-Agent',
    referer    LowCardinality(String)  COMMENT 'The origin of the Referer',
    purpose    LowCardinality(String)  COMMENT 'What Sec-Purpose, Purpose, X-Purpose or X-Moz said',
    replayed   Bool                    COMMENT 'Taken from hits.unmatched and sent again',
    CONSTRAINT times_in_range CHECK at < toDateTime64('2200-01-01', 3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, message_id, hit_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Raw requests for pixels and links as the edge saw them; a row is one request';

CREATE TABLE IF NOT EXISTS events
(
    event_id        String CODEC(ZSTD(1))   COMMENT 'The event, 32 hex digits',
    revision        UInt32                  COMMENT 'From 1; a later revision of the event replaces the earlier',
    hit_id          String CODEC(ZSTD(1))   COMMENT 'The request it comes from',
    kind            LowCardinality(String)  COMMENT 'open or click',
    at              DateTime64(3, 'UTC')    COMMENT 'When the edge saw the request',
    tenant          LowCardinality(String)  COMMENT 'The sending organisation',
    user            String                  COMMENT 'The sender within the tenant',
    message_id      String CODEC(ZSTD(1))   COMMENT 'The sent mail, 32 hex digits',
    recipient       UInt16                  COMMENT 'Recipient index, the first is 1; 0 when the body is shared: someone did it',
    recipient_count UInt32                  COMMENT 'How many recipients the body went to',
    recipient_id    String CODEC(ZSTD(1))   COMMENT 'The recipient when the body went to exactly one in mode identified; else empty',
    mode            LowCardinality(String)  COMMENT 'anonymous or identified, as in sends',
    verdict         LowCardinality(String)  COMMENT 'human, proxy (a person behind an image proxy), prefetch, scanner or self; persons are human and proxy',
    reasons         Array(LowCardinality(String)) COMMENT 'Why the verdict is what it is, the strongest first',
    first           Bool                    COMMENT 'The first open of the mail, or the first click of the link, that a person made',
    sent_at         DateTime64(3, 'UTC')    COMMENT 'When the mail was handed over',
    link            Nullable(UInt16)        COMMENT 'Of a click, the link index, the first is 0',
    target          String CODEC(ZSTD(1))   COMMENT 'Of a click, where it led',
    network         String CODEC(ZSTD(1))   COMMENT 'The network of the client, /24 or /48',
    agent           LowCardinality(String)  COMMENT 'The User-Agent',
    tag             LowCardinality(String)  COMMENT 'The campaign or label of the mail; empty when none',
    CONSTRAINT times_in_range CHECK at < toDateTime64('2200-01-01', 3, 'UTC') AND sent_at < toDateTime64('2200-01-01', 3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(at)
ORDER BY (tenant, user, message_id, event_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Opens and clicks after joining, deduplicating and classifying; a row is one event';

CREATE TABLE IF NOT EXISTS tracks
(
    message_id      String CODEC(ZSTD(1))   COMMENT 'The sent mail, 32 hex digits',
    revision        UInt32                  COMMENT 'Grows with each change; the later state replaces the earlier',
    tenant          LowCardinality(String)  COMMENT 'The sending organisation',
    user            String                  COMMENT 'The sender within the tenant',
    sent_at         DateTime64(3, 'UTC')    COMMENT 'When the mail was handed over',
    recipient_count UInt32                  COMMENT 'How many recipients the body went to',
    recipient_id    String CODEC(ZSTD(1))   COMMENT 'The recipient when there is exactly one in mode identified; else empty',
    mode            LowCardinality(String)  COMMENT 'anonymous or identified, as in sends',
    tag             LowCardinality(String)  COMMENT 'The campaign or label of the mail; empty when none',
    opens           UInt32                  COMMENT 'Opens by persons, repeats left out',
    clicks          UInt32                  COMMENT 'Clicks by persons, repeats left out',
    machine_opens   UInt32                  COMMENT 'Opens by machines and by the sender, repeats left out',
    machine_clicks  UInt32                  COMMENT 'Clicks by machines and by the sender, repeats left out',
    repeats         UInt32                  COMMENT 'Hits that repeated an event within the window',
    first_open_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'The first open by a person',
    last_open_at    Nullable(DateTime64(3, 'UTC')) COMMENT 'The last open by a person',
    first_click_at  Nullable(DateTime64(3, 'UTC')) COMMENT 'The first click by a person',
    last_click_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'The last click by a person',
    clicked         Array(UInt16)           COMMENT 'Link indexes that a person clicked, in the order of their first clicks',
    INDEX message_id message_id TYPE bloom_filter GRANULARITY 1,
    CONSTRAINT times_in_range CHECK sent_at < toDateTime64('2200-01-01', 3, 'UTC')
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (tenant, user, message_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The running state of each sent mail; a row is one mail whose send is known';
