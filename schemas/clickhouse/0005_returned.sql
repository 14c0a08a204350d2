-- Whether a person came back to a mail. The view takes all columns of `events` as they stood when it
-- was made, so it is made anew.

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS returned Bool COMMENT 'An open or click by a person after no person had opened or clicked for long (MAILWAKE_RETURN_S), forwards aside';

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
