-- `mailwake retention` deletes the hits of a mail some days before its other rows go; of no mail that it
-- knows, they go by their age (docs/decisions/0021-retention.md).

ALTER TABLE hits
    MODIFY COMMENT 'Raw requests for pixels and links as the edge saw them; a row is one request, kept as long as its mail, and for 180 days at the most';
