-- The id that a requested run has in the ledger and in the HTTP interface.
ALTER TABLE run ADD COLUMN request TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN request_action TEXT NOT NULL DEFAULT '';
CREATE INDEX run_request ON run (request) WHERE request <> '';

-- The database on whose schema a rehearsal was held; empty in rows of earlier versions.
ALTER TABLE migration_evidence ADD COLUMN database TEXT NOT NULL DEFAULT '';

-- Requests through the HTTP interface; `body` is the canonical JSON, `answer` the result as JSON.
CREATE TABLE web_request (
  id              TEXT PRIMARY KEY,
  action          TEXT NOT NULL,
  database        TEXT NOT NULL,
  subject         TEXT NOT NULL,
  principal       TEXT NOT NULL,
  body            TEXT NOT NULL,
  idempotency_key TEXT NOT NULL DEFAULT '',
  state           TEXT NOT NULL,
  answer          TEXT NOT NULL DEFAULT '',
  error           TEXT NOT NULL DEFAULT '',
  created_at      TEXT NOT NULL,
  finished_at     TEXT
) STRICT;
CREATE UNIQUE INDEX web_request_key ON web_request (principal, idempotency_key)
  WHERE idempotency_key <> '';
CREATE INDEX web_request_state ON web_request (state, created_at);

-- How far each requested run has come; `moved_at` is the last time that anything changed.
CREATE TABLE run_progress (
  run               INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
  step              TEXT NOT NULL,
  number            INTEGER NOT NULL,
  steps             INTEGER NOT NULL,
  done              INTEGER NOT NULL,
  total             INTEGER NOT NULL,
  rate              REAL NOT NULL,
  batch             INTEGER NOT NULL,
  reason            TEXT NOT NULL,
  throttled_seconds REAL NOT NULL,
  attempts          INTEGER NOT NULL,
  rung_ms           INTEGER NOT NULL,
  blockers          TEXT NOT NULL,
  moved_at          TEXT NOT NULL
) STRICT;

-- A copy of the ledgers, for the page and the metrics, which read nothing but this file.
CREATE TABLE migration_state (
  database TEXT NOT NULL,
  migration TEXT NOT NULL,
  title    TEXT NOT NULL,
  checksum TEXT NOT NULL,
  phase    TEXT NOT NULL,
  state    TEXT NOT NULL,
  reason   TEXT NOT NULL,
  next     TEXT NOT NULL,
  problem  TEXT NOT NULL,
  gates    TEXT NOT NULL,
  waivers  INTEGER NOT NULL,
  since    TEXT,
  as_of    TEXT NOT NULL,
  PRIMARY KEY (database, migration)
) STRICT, WITHOUT ROWID;

-- The most keys of a batch, as a person set it.
CREATE TABLE batch_limit (
  database  TEXT NOT NULL,
  migration TEXT NOT NULL,
  keys      INTEGER NOT NULL,
  principal TEXT NOT NULL,
  set_at    TEXT NOT NULL,
  PRIMARY KEY (database, migration)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 8;
