-- The machine-readable cause of a skipped or failed step or run; names of columns, kinds and reasons
-- as in the code. The fingerprint of an alert contains its kind: open alerts of a renamed kind end here,
-- and the next run opens them under the new name.

ALTER TABLE step ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE alert RENAME COLUMN peak TO peak_severity;
ALTER TABLE alert RENAME COLUMN turns TO transitions;
ALTER TABLE alert RENAME COLUMN withheld TO suppressed_by;
UPDATE alert SET state = 'resolved', resolved_at = last_seen_at
WHERE kind = 'task_orphaned' AND resolved_at IS NULL;
UPDATE alert SET kind = 'task_interrupted' WHERE kind = 'task_orphaned';
UPDATE silence SET matcher = json_set(matcher, '$.check', 'task_interrupted')
WHERE json_extract(matcher, '$.check') = 'task_orphaned';
UPDATE notification SET reason = 'channel_test', message = json_set(message, '$.reason', 'channel_test')
WHERE reason = 'drill';

PRAGMA user_version = 5;
