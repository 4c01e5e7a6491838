-- The highest timeline seen on the server of each database: an older one is a former primary.

ALTER TABLE target ADD COLUMN timeline INTEGER NOT NULL DEFAULT 0;

PRAGMA user_version = 6;
