-- What a person asked a run for: a migration, who asked, and why.

ALTER TABLE run ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN principal TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN request_reason TEXT NOT NULL DEFAULT '';

-- The runs that a person asked to stop.
CREATE TABLE stop_request (
  run          INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
  principal    TEXT NOT NULL,
  requested_at TEXT NOT NULL
) STRICT;

-- The evidence of rehearsals, newest last.
CREATE TABLE migration_evidence (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  migration   TEXT NOT NULL,
  checksum    TEXT NOT NULL,
  environment TEXT NOT NULL,
  ok          INTEGER NOT NULL,
  evidence    TEXT NOT NULL,
  recorded_at TEXT NOT NULL
) STRICT;
CREATE INDEX migration_evidence_of ON migration_evidence (migration, checksum, id);

PRAGMA user_version = 7;
