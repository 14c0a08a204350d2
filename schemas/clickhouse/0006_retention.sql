-- For how long rows are kept. A mail is tracked for retention_days after it was sent; thirty days later
-- its rows leave sends, events and tracks, by themselves. What a day's mails came to stays, in sent_days,
-- without a mail or a recipient: `mailwake retention` counts it while the rows are there, and has the
-- displays of mails that are gone erased (docs/decisions/0021-retention.md).

ALTER TABLE sends
    ADD COLUMN IF NOT EXISTS expires_on Date ALIAS toDate(sent_at) + toIntervalDay(retention_days + 30) COMMENT 'The day, UTC, from which on the row goes';

ALTER TABLE sends
    MODIFY TTL toDate(sent_at) + toIntervalDay(retention_days + 30) DELETE;

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS retention_days UInt8 DEFAULT 180 COMMENT 'How many days after sent_at the mail is tracked; thirty days later the row goes';

ALTER TABLE events
    MODIFY TTL toDate(sent_at) + toIntervalDay(retention_days + 30) DELETE;

ALTER TABLE tracks
    ADD COLUMN IF NOT EXISTS retention_days UInt8 DEFAULT 180 COMMENT 'How many days after sent_at the mail is tracked; thirty days later the row goes';

ALTER TABLE tracks
    MODIFY TTL toDate(sent_at) + toIntervalDay(retention_days + 30) DELETE;

-- A display knows of no time. One whose send is gone, or never came, is erased when it has lain for long.
ALTER TABLE displays
    ADD COLUMN IF NOT EXISTS loaded_at DateTime('UTC') DEFAULT now('UTC') COMMENT 'When the row was stored, by the clock of ClickHouse';

ALTER TABLE displays
    MATERIALIZE COLUMN loaded_at;

CREATE TABLE IF NOT EXISTS sent_days
(
    tenant            LowCardinality(String)  COMMENT 'The sending organisation',
    user              String                  COMMENT 'The sender within the tenant',
    day               Date                    COMMENT 'The day, UTC, on which the mails were sent',
    tag               LowCardinality(String)  COMMENT 'The campaign or label of the mails; empty when none',
    retention_days    UInt8                   COMMENT 'For how many days they were tracked',
    counted_at        DateTime64(3, 'UTC')    COMMENT 'When it was counted; a later count replaces the earlier',
    mails             UInt64                  COMMENT 'How many were sent',
    opened            UInt64                  COMMENT 'How many of them a person opened',
    clicked           UInt64                  COMMENT 'How many of them a person clicked a link in',
    opens             UInt64                  COMMENT 'Opens by persons, forwards left out',
    clicks            UInt64                  COMMENT 'Clicks by persons',
    machine_opens     UInt64                  COMMENT 'Opens by machines and by the sender',
    machine_clicks    UInt64                  COMMENT 'Clicks by machines and by the sender',
    forwards          UInt64                  COMMENT 'Opens by readers beyond the recipients',
    withheld          UInt64                  COMMENT 'Of how many mails opens or clicks were not told',
    opens_by_verdict  Map(LowCardinality(String), UInt64) COMMENT 'Opens, forwards too, by verdict',
    clicks_by_verdict Map(LowCardinality(String), UInt64) COMMENT 'Clicks by verdict'
)
ENGINE = ReplacingMergeTree(counted_at)
ORDER BY (tenant, user, day, tag, retention_days)
COMMENT 'What the mails of a day came to, kept for good; a row is one day of a sender, a tag and a retention; written by mailwake retention when tracking is over';

CREATE VIEW IF NOT EXISTS v_past_days
(
    tenant            LowCardinality(String)  COMMENT 'The sending organisation',
    user              String                  COMMENT 'The sender within the tenant',
    day               Date                    COMMENT 'The day, UTC, on which the mails were sent',
    tag               LowCardinality(String)  COMMENT 'The campaign or label of the mails; empty when none',
    retention_days    UInt8                   COMMENT 'For how many days they were tracked',
    mails             UInt64                  COMMENT 'How many were sent',
    opened            UInt64                  COMMENT 'How many of them a person opened',
    clicked           UInt64                  COMMENT 'How many of them a person clicked a link in',
    opens             UInt64                  COMMENT 'Opens by persons, forwards left out',
    clicks            UInt64                  COMMENT 'Clicks by persons',
    machine_opens     UInt64                  COMMENT 'Opens by machines and by the sender',
    machine_clicks    UInt64                  COMMENT 'Clicks by machines and by the sender',
    forwards          UInt64                  COMMENT 'Opens by readers beyond the recipients',
    withheld          UInt64                  COMMENT 'Of how many mails opens or clicks were not told',
    opens_by_verdict  Map(LowCardinality(String), UInt64) COMMENT 'Opens, forwards too, by verdict',
    clicks_by_verdict Map(LowCardinality(String), UInt64) COMMENT 'Clicks by verdict'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, day, tag, retention_days,
    mails, opened, clicked, opens, clicks, machine_opens, machine_clicks, forwards, withheld,
    opens_by_verdict, clicks_by_verdict
FROM sent_days FINAL
WHERE day + toIntervalDay(retention_days + 30) <= toDate(now('UTC'))
COMMENT 'Days of which the mails are gone, as they were counted last; a row is one day of a sender, a tag and a retention';

CREATE OR REPLACE VIEW v_messages
(
    tenant          LowCardinality(String) COMMENT 'The sending organisation',
    user            String COMMENT 'The sender within the tenant; never an address',
    message_id      String COMMENT 'The sent mail, 32 hex digits',
    sent_at         DateTime64(3, 'UTC') COMMENT 'When the mail was handed over',
    tag             LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    mode            LowCardinality(String) COMMENT 'anonymous keeps counts alone; identified keeps recipient, network and agent',
    basis           LowCardinality(String) COMMENT 'What made tracking the mail lawful when it was sent; empty where the sender did not say',
    recipient_count UInt32 COMMENT 'How many recipients the body went to',
    opens_tracked   Bool COMMENT 'Whether opens could be seen',
    clicks_tracked  Bool COMMENT 'Whether clicks could be seen',
    opens_withheld  Bool COMMENT 'A recipient denies opens now: nothing is told of them',
    clicks_withheld Bool COMMENT 'A recipient denies clicks now: nothing is told of them',
    opened          Bool COMMENT 'Whether a person opened it',
    clicked         Bool COMMENT 'Whether a person clicked a link in it',
    opens           UInt64 COMMENT 'Opens by persons, forwards left out',
    clicks          UInt64 COMMENT 'Clicks by persons',
    machine_opens   UInt64 COMMENT 'Opens by machines and by the sender',
    machine_clicks  UInt64 COMMENT 'Clicks by machines and by the sender',
    forwards        UInt64 COMMENT 'Opens by readers beyond the recipients',
    first_open_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'The first open by a person',
    last_open_at    Nullable(DateTime64(3, 'UTC')) COMMENT 'The last open by a person',
    first_click_at  Nullable(DateTime64(3, 'UTC')) COMMENT 'The first click by a person',
    last_click_at   Nullable(DateTime64(3, 'UTC')) COMMENT 'The last click by a person',
    readers_about   Nullable(UInt32) COMMENT 'How many read it, by estimate; NULL where opens or clicks are withheld',
    retention_days  UInt8 COMMENT 'How many days after sent_at it is tracked; thirty days later it leaves this view'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH withheld AS (SELECT tenant, message_id, kind FROM withheld_mails)
SELECT
    tenant, user, message_id, sent_at, tag, mode, basis, recipient_count, opens_tracked, clicks_tracked,
    (tenant, message_id, 'open') IN withheld AS opens_withheld,
    (tenant, message_id, 'click') IN withheld AS clicks_withheld,
    NOT opens_withheld AND t.opens > 0 AS opened,
    NOT clicks_withheld AND t.clicks > 0 AS clicked,
    if(opens_withheld, 0, t.opens) AS opens,
    if(clicks_withheld, 0, t.clicks) AS clicks,
    if(opens_withheld, 0, t.machine_opens) AS machine_opens,
    if(clicks_withheld, 0, t.machine_clicks) AS machine_clicks,
    if(opens_withheld, 0, t.forwards) AS forwards,
    if(opens_withheld, NULL, t.first_open_at) AS first_open_at,
    if(opens_withheld, NULL, t.last_open_at) AS last_open_at,
    if(clicks_withheld, NULL, t.first_click_at) AS first_click_at,
    if(clicks_withheld, NULL, t.last_click_at) AS last_click_at,
    if(opens_withheld OR clicks_withheld, NULL, t.readers_about) AS readers_about,
    retention_days
FROM
(
    SELECT tenant, user, message_id, sent_at, tag, mode, basis, recipient_count,
        opens AS opens_tracked, clicks AS clicks_tracked, retention_days
    FROM sends FINAL
) AS s
LEFT JOIN
(
    SELECT tenant, user, message_id, opens, clicks, machine_opens, machine_clicks, forwards,
        first_open_at, last_open_at, first_click_at, last_click_at, readers_about
    FROM tracks FINAL
) AS t USING (tenant, user, message_id)
COMMENT 'What became of each sent mail; a row is one mail';

CREATE OR REPLACE VIEW v_days
(
    tenant         LowCardinality(String) COMMENT 'The sending organisation',
    user           String COMMENT 'The sender within the tenant; never an address',
    day            Date COMMENT 'The day, UTC, on which the mails were sent',
    tag            LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    mails          UInt64 COMMENT 'How many were sent',
    opened         UInt64 COMMENT 'How many of them a person opened',
    clicked        UInt64 COMMENT 'How many of them a person clicked a link in',
    opens          UInt64 COMMENT 'Opens by persons, forwards left out',
    clicks         UInt64 COMMENT 'Clicks by persons',
    machine_opens  UInt64 COMMENT 'Opens by machines and by the sender',
    machine_clicks UInt64 COMMENT 'Clicks by machines and by the sender',
    forwards       UInt64 COMMENT 'Opens by readers beyond the recipients',
    withheld       UInt64 COMMENT 'Of how many mails opens or clicks are not told'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, day, tag, sum(d.mails) AS mails, sum(d.opened) AS opened, sum(d.clicked) AS clicked,
    sum(d.opens) AS opens, sum(d.clicks) AS clicks, sum(d.machine_opens) AS machine_opens,
    sum(d.machine_clicks) AS machine_clicks, sum(d.forwards) AS forwards, sum(d.withheld) AS withheld
FROM
(
    SELECT tenant, user, toDate(sent_at) AS day, tag, count() AS mails, countIf(m.opened) AS opened,
        countIf(m.clicked) AS clicked, sum(m.opens) AS opens, sum(m.clicks) AS clicks,
        sum(m.machine_opens) AS machine_opens, sum(m.machine_clicks) AS machine_clicks,
        sum(m.forwards) AS forwards, countIf(m.opens_withheld OR m.clicks_withheld) AS withheld
    FROM v_messages AS m
    WHERE (tenant, user, toDate(sent_at), tag, retention_days) NOT IN
        (SELECT tenant, user, day, tag, retention_days FROM v_past_days)
    GROUP BY tenant, user, day, tag
    UNION ALL
    SELECT tenant, user, day, tag, mails, opened, clicked, opens, clicks, machine_opens, machine_clicks,
        forwards, withheld
    FROM v_past_days
) AS d
GROUP BY tenant, user, day, tag
COMMENT 'What the mails of a day came to, also of days whose mails are gone; a row is one day of a sender and a tag';
