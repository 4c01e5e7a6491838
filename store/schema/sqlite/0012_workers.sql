-- The worker of a run: host, boot, number and beginning of its process; empty in runs of earlier versions.

ALTER TABLE run ADD COLUMN worker TEXT NOT NULL DEFAULT '';

PRAGMA user_version = 12;
