-- What verdicts rest on and what they say: who the network of a hit belongs to, what a mail was sent
-- from, for how long it is tracked, how sure an event is and by which rules, and how many have read it.
--
-- Raw hits are kept for 180 days, as long as tracking lives: after that no rules judge them again.

ALTER TABLE sends
    ADD COLUMN IF NOT EXISTS sender_network String CODEC(ZSTD(1)) COMMENT 'The network the mail was sent from, /24 or /48, which tells the opens of the sender; empty when unknown and in mode anonymous',
    ADD COLUMN IF NOT EXISTS sender_agent LowCardinality(String) COMMENT 'The program the mail was sent with, as its User-Agent; empty when unknown and in mode anonymous',
    ADD COLUMN IF NOT EXISTS retention_days UInt8 DEFAULT 180 COMMENT 'How many days after sent_at it is tracked; later hits give no event';

ALTER TABLE hits
    ADD COLUMN IF NOT EXISTS asn UInt32 COMMENT 'The number of the autonomous system the address of the client is in; 0 when unknown';

-- By the day, so that a part is rewritten once a day at most when its rows expire.
ALTER TABLE hits
    MODIFY TTL toDate(at) + INTERVAL 180 DAY DELETE;

ALTER TABLE hits
    MODIFY COMMENT 'Raw requests for pixels and links as the edge saw them; a row is one request, kept for 180 days';

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS score UInt8 COMMENT 'How sure the verdict is, 0 to 100',
    ADD COLUMN IF NOT EXISTS rules_version UInt32 COMMENT 'The rule set that gave verdict, score and reasons',
    ADD COLUMN IF NOT EXISTS repeat Bool COMMENT 'Another event tells of the same act; this one counts for nothing',
    ADD COLUMN IF NOT EXISTS implied Bool COMMENT 'An open that follows from a click, where no open was seen before it',
    ADD COLUMN IF NOT EXISTS forward Bool COMMENT 'An open by one reader more than the mail has recipients, so likely a forward; no open by a recipient';

ALTER TABLE tracks
    ADD COLUMN IF NOT EXISTS forwards UInt32 COMMENT 'Opens by readers beyond the recipients, not among opens',
    ADD COLUMN IF NOT EXISTS readers_about UInt32 COMMENT 'How many read it, by estimate: networks and families of programs',
    ADD COLUMN IF NOT EXISTS readers_least UInt32 COMMENT 'How many people read it at the least, as far as is known';

ALTER TABLE tracks
    MODIFY COLUMN opens COMMENT 'Opens by persons, implied ones too; repeats and forwards left out';

-- SELECT … FROM consented_events(tenant = 'acme', user = 'anna')
CREATE OR REPLACE VIEW consented_events
AS WITH denied AS
(
    SELECT recipient_id, if(purpose = 'opens', 'open', 'click') AS kind
    FROM consents
    WHERE tenant = {tenant:String} AND state = 'denied'
)
SELECT *
FROM events FINAL
WHERE tenant = {tenant:String} AND user = {user:String} AND NOT repeat
    AND (recipient_id, kind) NOT IN denied
    AND (message_id, kind) NOT IN
    (
        SELECT message_id, arrayJoin(['open', 'click']) AS kind
        FROM sends FINAL
        ARRAY JOIN recipients AS recipient_id
        WHERE tenant = {tenant:String} AND user = {user:String} AND (recipient_id, kind) IN denied
    )
COMMENT 'The events of one user without repeats, which count for nothing, and without those that somebody has denied now: the recipient or, of a body shared by several, any of them';
