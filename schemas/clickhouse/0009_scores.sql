-- How sure a mail's opens and clicks are, in its track: so a list need not read the events. Of a track
-- that stood before, `mailwake reclassify` tells it, or the mail's next hit.

ALTER TABLE tracks
    ADD COLUMN IF NOT EXISTS open_score UInt8 COMMENT 'How sure the surest of the opens by persons is, 1 to 100; 0 where there is none',
    ADD COLUMN IF NOT EXISTS click_score UInt8 COMMENT 'How sure the surest of the clicks by persons is, 1 to 100; 0 where there is none';
