-- Views with plain names for people who analyse; docs/analysts.md tells each with examples.
--
-- They span all tenants and users, hold what consented_events would show of each, and name no
-- recipient, network or program: `client` is as near as they come. A row stands once, in its last
-- revision, whatever was loaded twice. Whoever may read a view reads what it shows and not the tables
-- under it (SQL SECURITY DEFINER); `mailwake analysts` gives that right, for one tenant at a time.

CREATE VIEW IF NOT EXISTS withheld_mails
(
    tenant     LowCardinality(String) COMMENT 'The sending organisation',
    message_id String COMMENT 'The sent mail, 32 hex digits',
    kind       LowCardinality(String) COMMENT 'open or click'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS WITH denied AS
(
    SELECT tenant, recipient_id, if(purpose = 'opens', 'open', 'click') AS kind
    FROM consents
    WHERE state = 'denied'
)
SELECT DISTINCT tenant, message_id, arrayJoin(['open', 'click']) AS kind
FROM sends FINAL
ARRAY JOIN recipients AS recipient_id
WHERE (tenant, recipient_id, kind) IN denied
COMMENT 'The mails of which opens, or clicks, may not be told, since a recipient denies them now';

CREATE VIEW IF NOT EXISTS v_events
(
    tenant          LowCardinality(String) COMMENT 'The sending organisation',
    user            String COMMENT 'The sender within the tenant; never an address',
    message_id      String COMMENT 'The sent mail, 32 hex digits',
    event_id        String COMMENT 'The event, 32 hex digits',
    kind            LowCardinality(String) COMMENT 'open or click',
    at              DateTime64(3, 'UTC') COMMENT 'When it happened, by the clock of the edge',
    sent_at         DateTime64(3, 'UTC') COMMENT 'When the mail was handed over',
    after_s         Float64 COMMENT 'Seconds from sending until it happened; negative where the clock of the sender is ahead',
    tag             LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    mode            LowCardinality(String) COMMENT 'anonymous keeps counts alone; identified keeps recipient, network and agent',
    recipient_count UInt32 COMMENT 'How many recipients the body went to; of more than one, someone did it',
    verdict         LowCardinality(String) COMMENT 'human, proxy (a person behind an image proxy), prefetch, scanner or self',
    person          Bool COMMENT 'Whether a person did it: the verdict is human or proxy',
    score           UInt8 COMMENT 'How sure the verdict is, 0 to 100',
    reasons         Array(LowCardinality(String)) COMMENT 'Why the verdict is what it is, the strongest first',
    rules_version   UInt32 COMMENT 'The rule set that gave verdict, score and reasons',
    first           Bool COMMENT 'The first open of the mail, or the first click of the link, that a person made',
    implied         Bool COMMENT 'An open that follows from a click, where no open was seen before it',
    forward         Bool COMMENT 'An open by one reader more than the mail has recipients; counts as a forward and as no open',
    link            Nullable(UInt16) COMMENT 'Of a click, the link index, the first is 0',
    target          String COMMENT 'Of a click, where it led',
    client          String COMMENT 'The mail service or program it was read with; unknown where nothing was kept'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    tenant, user, message_id, event_id, kind, at, sent_at,
    dateDiff('millisecond', sent_at, at) / 1000 AS after_s,
    tag, mode, recipient_count, verdict,
    verdict IN ('human', 'proxy') AS person,
    score, reasons, rules_version, first, implied, forward, link, target,
    -- As mailwake_api.clients has it.
    multiIf(
        has(reasons, 'gmail_proxy'), 'Gmail',
        has(reasons, 'yahoo_proxy'), 'Yahoo Mail',
        has(reasons, 'outlook_proxy'), 'Outlook on the web',
        has(reasons, 'apple_prefetch'), 'Apple Mail',
        multiSearchAny(lower(agent), ['outlook-ios', 'outlook-android']), 'Outlook on telephones',
        multiSearchAny(lower(agent), ['microsoft outlook', 'ms-office', 'microsoft office word', 'macoutlook']), 'Outlook',
        multiSearchAny(lower(agent), ['thunderbird/']), 'Thunderbird',
        multiSearchAny(lower(agent), ['samsungemail']), 'Samsung Email',
        multiSearchAny(lower(agent), ['airmail', 'postbox/', 'lotus-notes', 'evolution/', 'kmail', 'emclient', 'mailspring']), 'another mail program',
        multiSearchAny(lower(agent), ['edg/', 'edga/', 'edgios/', 'edge/']), 'Edge',
        multiSearchAny(lower(agent), ['opr/', 'opera']), 'Opera',
        multiSearchAny(lower(agent), ['samsungbrowser/']), 'Samsung Internet',
        multiSearchAny(lower(agent), ['firefox/', 'fxios/']), 'Firefox',
        multiSearchAny(lower(agent), ['; wv)']), 'a program on Android',
        multiSearchAny(lower(agent), ['chrome/', 'crios/', 'chromium/']), 'Chrome',
        multiSearchAny(lower(agent), ['version/']), 'Safari',
        multiSearchAny(lower(agent), ['(khtml, like gecko)']), 'Apple Mail or Outlook',
        agent = '', 'unknown',
        'other'
    ) AS client
FROM events FINAL
WHERE NOT repeat
    AND (tenant, recipient_id, kind) NOT IN
    (
        SELECT tenant, recipient_id, if(purpose = 'opens', 'open', 'click')
        FROM consents
        WHERE state = 'denied'
    )
    AND (tenant, message_id, kind) NOT IN (SELECT tenant, message_id, kind FROM withheld_mails)
COMMENT 'Opens and clicks that may be told; a row is one event';

CREATE VIEW IF NOT EXISTS v_opens
(
    tenant          LowCardinality(String) COMMENT 'The sending organisation',
    user            String COMMENT 'The sender within the tenant; never an address',
    message_id      String COMMENT 'The sent mail, 32 hex digits',
    event_id        String COMMENT 'The event, 32 hex digits',
    at              DateTime64(3, 'UTC') COMMENT 'When it happened, by the clock of the edge',
    sent_at         DateTime64(3, 'UTC') COMMENT 'When the mail was handed over',
    after_s         Float64 COMMENT 'Seconds from sending until it happened; negative where the clock of the sender is ahead',
    tag             LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    recipient_count UInt32 COMMENT 'How many recipients the body went to; of more than one, someone did it',
    verdict         LowCardinality(String) COMMENT 'human, proxy (a person behind an image proxy), prefetch, scanner or self',
    person          Bool COMMENT 'Whether a person did it: the verdict is human or proxy',
    score           UInt8 COMMENT 'How sure the verdict is, 0 to 100',
    first           Bool COMMENT 'The first open of the mail, or the first click of the link, that a person made',
    implied         Bool COMMENT 'An open that follows from a click, where no open was seen before it',
    forward         Bool COMMENT 'An open by one reader more than the mail has recipients; counts as a forward and as no open',
    client          String COMMENT 'The mail service or program it was read with; unknown where nothing was kept'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, message_id, event_id, at, sent_at, after_s, tag, recipient_count, verdict,
    person, score, first, implied, forward, client
FROM v_events
WHERE kind = 'open'
COMMENT 'Opens; persons opened where `person AND NOT forward`; a row is one open';

CREATE VIEW IF NOT EXISTS v_clicks
(
    tenant          LowCardinality(String) COMMENT 'The sending organisation',
    user            String COMMENT 'The sender within the tenant; never an address',
    message_id      String COMMENT 'The sent mail, 32 hex digits',
    event_id        String COMMENT 'The event, 32 hex digits',
    at              DateTime64(3, 'UTC') COMMENT 'When it happened, by the clock of the edge',
    sent_at         DateTime64(3, 'UTC') COMMENT 'When the mail was handed over',
    after_s         Float64 COMMENT 'Seconds from sending until it happened; negative where the clock of the sender is ahead',
    tag             LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    recipient_count UInt32 COMMENT 'How many recipients the body went to; of more than one, someone did it',
    verdict         LowCardinality(String) COMMENT 'human, proxy (a person behind an image proxy), prefetch, scanner or self',
    person          Bool COMMENT 'Whether a person did it: the verdict is human or proxy',
    score           UInt8 COMMENT 'How sure the verdict is, 0 to 100',
    first           Bool COMMENT 'The first open of the mail, or the first click of the link, that a person made',
    link            Nullable(UInt16) COMMENT 'Of a click, the link index, the first is 0',
    target          String COMMENT 'Of a click, where it led',
    client          String COMMENT 'The mail service or program it was read with; unknown where nothing was kept'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, message_id, event_id, at, sent_at, after_s, tag, recipient_count, verdict,
    person, score, first, link, target, client
FROM v_events
WHERE kind = 'click'
COMMENT 'Clicks; persons clicked where `person`; a row is one click';

CREATE VIEW IF NOT EXISTS v_messages
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
    readers_about   Nullable(UInt32) COMMENT 'How many read it, by estimate; NULL where opens or clicks are withheld'
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
    if(opens_withheld OR clicks_withheld, NULL, t.readers_about) AS readers_about
FROM
(
    SELECT tenant, user, message_id, sent_at, tag, mode, basis, recipient_count,
        opens AS opens_tracked, clicks AS clicks_tracked
    FROM sends FINAL
) AS s
LEFT JOIN
(
    SELECT tenant, user, message_id, opens, clicks, machine_opens, machine_clicks, forwards,
        first_open_at, last_open_at, first_click_at, last_click_at, readers_about
    FROM tracks FINAL
) AS t USING (tenant, user, message_id)
COMMENT 'What became of each sent mail; a row is one mail';

CREATE VIEW IF NOT EXISTS v_days
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
AS SELECT tenant, user, toDate(sent_at) AS day, tag, count() AS mails, countIf(m.opened) AS opened,
    countIf(m.clicked) AS clicked, sum(m.opens) AS opens, sum(m.clicks) AS clicks,
    sum(m.machine_opens) AS machine_opens, sum(m.machine_clicks) AS machine_clicks,
    sum(m.forwards) AS forwards, countIf(m.opens_withheld OR m.clicks_withheld) AS withheld
FROM v_messages AS m
GROUP BY tenant, user, day, tag
COMMENT 'What the mails of a day came to; a row is one day of a sender and a tag';

CREATE VIEW IF NOT EXISTS v_link_performance
(
    tenant         LowCardinality(String) COMMENT 'The sending organisation',
    user           String COMMENT 'The sender within the tenant; never an address',
    day            Date COMMENT 'The day, UTC, on which the mails were sent',
    tag            LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    target         String COMMENT 'Where the link leads',
    mails          UInt64 COMMENT 'How many mails carried the link, clicks tracked and not withheld',
    mails_clicked  UInt64 COMMENT 'In how many of them a person followed it',
    clicks         UInt64 COMMENT 'How often persons followed it',
    machine_clicks UInt64 COMMENT 'How often machines and the sender did',
    first_click_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When a person followed it first',
    last_click_at  Nullable(DateTime64(3, 'UTC')) COMMENT 'When a person followed it last'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, day, tag, target, count() AS mails, countIf(c.persons > 0) AS mails_clicked,
    sum(c.persons) AS clicks, sum(c.machines) AS machine_clicks,
    minOrNull(c.first_at) AS first_click_at, maxOrNull(c.last_at) AS last_click_at
FROM
(
    SELECT tenant, user, message_id, toDate(sent_at) AS day, tag, arrayJoin(arrayDistinct(links)) AS target
    FROM sends FINAL
    WHERE clicks AND (tenant, message_id, 'click') NOT IN (SELECT tenant, message_id, kind FROM withheld_mails)
) AS s
LEFT JOIN
(
    SELECT tenant, user, message_id, target, countIf(person) AS persons, countIf(NOT person) AS machines,
        minOrNullIf(at, person) AS first_at, maxOrNullIf(at, person) AS last_at
    FROM v_clicks
    GROUP BY tenant, user, message_id, target
) AS c USING (tenant, user, message_id, target)
GROUP BY tenant, user, day, tag, target
COMMENT 'What a link came to in the mails of a day; a row is one target of a day, a sender and a tag';

CREATE VIEW IF NOT EXISTS v_time_to_open
(
    tenant        LowCardinality(String) COMMENT 'The sending organisation',
    user          String COMMENT 'The sender within the tenant; never an address',
    message_id    String COMMENT 'The sent mail, 32 hex digits',
    sent_at       DateTime64(3, 'UTC') COMMENT 'When the mail was handed over',
    tag           LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    open_after_s  Nullable(Float64) COMMENT 'Seconds from sending to the first open by a person; NULL where none did',
    click_after_s Nullable(Float64) COMMENT 'Seconds from sending to the first click by a person; NULL where none did'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, message_id, sent_at, tag,
    dateDiff('millisecond', sent_at, first_open_at) / 1000 AS open_after_s,
    dateDiff('millisecond', sent_at, first_click_at) / 1000 AS click_after_s
FROM v_messages
WHERE opened OR clicked
COMMENT 'How long it took until a mail was first opened and clicked; a row is one mail that was';

CREATE VIEW IF NOT EXISTS v_clients
(
    tenant   LowCardinality(String) COMMENT 'The sending organisation',
    user     String COMMENT 'The sender within the tenant; never an address',
    day      Date COMMENT 'The day, UTC, on which it happened',
    tag      LowCardinality(String) COMMENT 'The campaign or label of the mail; empty when none',
    client   String COMMENT 'The mail service or program it was read with; unknown where nothing was kept',
    mails    UInt64 COMMENT 'How many mails persons opened or clicked with it that day',
    opens    UInt64 COMMENT 'Opens by persons, implied ones and forwards left out',
    clicks   UInt64 COMMENT 'Clicks by persons',
    machines UInt64 COMMENT 'Opens and clicks by machines and by the sender'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, toDate(at) AS day, tag, client, uniqExactIf(message_id, person) AS mails,
    countIf(person AND kind = 'open' AND NOT forward) AS opens,
    countIf(person AND kind = 'click') AS clicks, countIf(NOT person) AS machines
FROM v_events
WHERE NOT implied
GROUP BY tenant, user, day, tag, client
COMMENT 'What mails were read with, by the day it happened';

CREATE VIEW IF NOT EXISTS v_verdicts
(
    tenant        LowCardinality(String) COMMENT 'The sending organisation',
    user          String COMMENT 'The sender within the tenant; never an address',
    day           Date COMMENT 'The day, UTC, on which it happened',
    kind          LowCardinality(String) COMMENT 'open or click',
    verdict       LowCardinality(String) COMMENT 'human, proxy (a person behind an image proxy), prefetch, scanner or self',
    rules_version UInt32 COMMENT 'The rule set that gave verdict, score and reasons',
    events        UInt64 COMMENT 'How many opens or clicks have the verdict',
    mails         UInt64 COMMENT 'Of how many mails',
    score         Float64 COMMENT 'How sure the verdicts are on the average, 0 to 100'
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT tenant, user, toDate(at) AS day, kind, verdict, rules_version, count() AS events,
    uniqExact(message_id) AS mails, avg(v_events.score) AS score
FROM v_events
GROUP BY tenant, user, day, kind, verdict, rules_version
COMMENT 'How opens and clicks were judged, by the day they happened';
