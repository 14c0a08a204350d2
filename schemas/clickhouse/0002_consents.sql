-- What recipients have said about open and link tracking, and what of the events may be read since.
--
-- consent_proofs keeps every statement. `consents` and `consented_events` are views: they hold
-- nothing, and say of now. Whoever reads what a recipient did reads consented_events.

ALTER TABLE sends
    ADD COLUMN IF NOT EXISTS basis LowCardinality(String) COMMENT 'What made tracking the mail lawful when it was sent, such as consent or contract; empty where the sender did not say';

CREATE TABLE IF NOT EXISTS consent_proofs
(
    consent_id   String CODEC(ZSTD(1))   COMMENT 'The statement, 32 hex digits; derives from all that it says, so that what is told twice is one',
    tenant       LowCardinality(String)  COMMENT 'The organisation that asked',
    recipient_id String CODEC(ZSTD(1))   COMMENT 'Who said it, 32 hex digits; never an address',
    purpose      LowCardinality(String)  COMMENT 'opens or clicks',
    state        LowCardinality(String)  COMMENT 'granted, denied, or unknown: what was said before does not count any more',
    at           DateTime64(3, 'UTC')    COMMENT 'When it was said',
    method       LowCardinality(String)  COMMENT 'How it was said, such as withdrawal_page, signup_form or import',
    wording      String CODEC(ZSTD(1))   COMMENT 'What the recipient was asked, word for word, or the name and version of that text',
    source       String CODEC(ZSTD(1))   COMMENT 'Where the statement comes from, such as the address of the form',
    CONSTRAINT times_in_range CHECK at < toDateTime64('2200-01-01', 3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, recipient_id, purpose, at, consent_id)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Every statement about consent that was ever recorded; a row is one statement, and none is replaced by another';

-- As mailwake.permission.counts has it. Rows that stand twice change nothing, so no FINAL.
CREATE VIEW IF NOT EXISTS consents
(
    tenant       LowCardinality(String)  COMMENT 'The organisation that asked',
    recipient_id String                  COMMENT 'Who said it',
    purpose      LowCardinality(String)  COMMENT 'opens or clicks',
    state        LowCardinality(String)  COMMENT 'granted, denied or unknown',
    at           DateTime64(3, 'UTC')    COMMENT 'When it was said',
    consent_id   String                  COMMENT 'The statement in consent_proofs'
)
AS SELECT
    tenant,
    recipient_id,
    purpose,
    argMax(proof.state, (proof.at, indexOf(['granted', 'unknown', 'denied'], proof.state), proof.consent_id)) AS state,
    max(proof.at) AS at,
    argMax(proof.consent_id, (proof.at, indexOf(['granted', 'unknown', 'denied'], proof.state), proof.consent_id)) AS consent_id
FROM consent_proofs AS proof
GROUP BY tenant, recipient_id, purpose
COMMENT 'What each recipient says now: the latest statement, of two at the same time the stricter; a row is one recipient and purpose';

-- SELECT … FROM consented_events(tenant = 'acme', user = 'anna')
CREATE VIEW IF NOT EXISTS consented_events
AS WITH denied AS
(
    SELECT recipient_id, if(purpose = 'opens', 'open', 'click') AS kind
    FROM consents
    WHERE tenant = {tenant:String} AND state = 'denied'
)
SELECT *
FROM events FINAL
WHERE tenant = {tenant:String} AND user = {user:String}
    AND (recipient_id, kind) NOT IN denied
    AND (message_id, kind) NOT IN
    (
        SELECT message_id, arrayJoin(['open', 'click']) AS kind
        FROM sends FINAL
        ARRAY JOIN recipients AS recipient_id
        WHERE tenant = {tenant:String} AND user = {user:String} AND (recipient_id, kind) IN denied
    )
COMMENT 'The events of one user without those that somebody has denied now: the recipient or, of a body shared by several, any of them';
