-- The machine-readable cause of a skipped or failed step or run; columns of alerts in the words of the code.

ALTER TABLE step ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN cause TEXT NOT NULL DEFAULT '';
ALTER TABLE alert RENAME COLUMN peak TO peak_severity;
ALTER TABLE alert RENAME COLUMN turns TO transitions;
ALTER TABLE alert RENAME COLUMN withheld TO suppressed_by;
UPDATE alert SET kind = 'task_interrupted' WHERE kind = 'task_orphaned';

PRAGMA user_version = 5;
