-- Instants are UTC text of fixed width; numbers of seconds are real; evidence is JSON.

CREATE TABLE instance (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

-- Which server each configured database was, the first time: another one behind the same name is refused.
CREATE TABLE target (
  database          TEXT PRIMARY KEY,
  system_identifier TEXT NOT NULL,
  database_oid      INTEGER NOT NULL,
  first_seen        TEXT NOT NULL
) STRICT;

CREATE TABLE run (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  job            TEXT NOT NULL,
  scope          TEXT NOT NULL,
  database       TEXT NOT NULL,
  schedule       TEXT,
  nominal        TEXT,
  started_at     TEXT NOT NULL,
  finished_at    TEXT,
  state          TEXT NOT NULL,
  reason         TEXT NOT NULL DEFAULT '',
  steps_left     INTEGER NOT NULL DEFAULT 0,
  paused_seconds REAL NOT NULL DEFAULT 0,
  process        INTEGER NOT NULL
) STRICT;
CREATE INDEX run_due ON run (schedule, nominal, job, database);
CREATE INDEX run_job ON run (job, database, started_at);

CREATE TABLE step (
  run            INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  ordinal        INTEGER NOT NULL,
  name           TEXT NOT NULL,
  object         TEXT NOT NULL,
  status         TEXT NOT NULL,
  reason         TEXT NOT NULL DEFAULT '',
  rows           INTEGER NOT NULL DEFAULT 0,
  bytes          INTEGER NOT NULL DEFAULT 0,
  seconds        REAL NOT NULL DEFAULT 0,
  paused_seconds REAL NOT NULL DEFAULT 0,
  paused_by      TEXT NOT NULL DEFAULT '',
  finished_at    TEXT NOT NULL,
  PRIMARY KEY (run, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE finding (
  run      INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  kind     TEXT NOT NULL,
  database TEXT NOT NULL,
  object   TEXT NOT NULL,
  severity TEXT NOT NULL,
  summary  TEXT NOT NULL,
  value    REAL,
  remedy   TEXT NOT NULL DEFAULT '',
  evidence TEXT NOT NULL DEFAULT '{}',
  found_at TEXT NOT NULL
) STRICT;
CREATE INDEX finding_run ON finding (run);

CREATE TABLE object_memory (
  job          TEXT NOT NULL,
  database     TEXT NOT NULL,
  object       TEXT NOT NULL,
  last_success TEXT NOT NULL,
  seconds      REAL NOT NULL,
  bytes        INTEGER NOT NULL DEFAULT 0,
  evidence     TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (job, database, object)
) STRICT, WITHOUT ROWID;

CREATE TABLE pause (
  only  INTEGER PRIMARY KEY CHECK (only = 1),
  since TEXT NOT NULL,
  until TEXT,
  reason TEXT NOT NULL
) STRICT;

CREATE TABLE alert (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint    TEXT NOT NULL,
  kind           TEXT NOT NULL,
  cluster        TEXT NOT NULL,
  database       TEXT NOT NULL,
  object         TEXT NOT NULL,
  task           TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('firing', 'acknowledged', 'resolved')),
  severity       TEXT NOT NULL,
  summary        TEXT NOT NULL,
  remedy         TEXT NOT NULL DEFAULT '',
  evidence       TEXT NOT NULL DEFAULT '{}',
  opened_at      TEXT NOT NULL,
  last_seen_at   TEXT NOT NULL,
  occurrences    INTEGER NOT NULL DEFAULT 1,
  next_repeat_at TEXT,
  acknowledged_by TEXT NOT NULL DEFAULT '',
  resolved_at    TEXT
) STRICT;
CREATE UNIQUE INDEX alert_open ON alert (fingerprint) WHERE resolved_at IS NULL;

CREATE TABLE event (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  alert       INTEGER NOT NULL REFERENCES alert (id),
  run         INTEGER,
  reason      TEXT NOT NULL,
  severity    TEXT NOT NULL,
  summary     TEXT NOT NULL,
  evidence    TEXT NOT NULL DEFAULT '{}',
  occurred_at TEXT NOT NULL
) STRICT;
CREATE INDEX event_alert ON event (alert);
CREATE TRIGGER event_stays BEFORE UPDATE ON event BEGIN
  SELECT raise(ABORT, 'an event is never changed');
END;

-- The outbox. The id is the webhook-id, the Message-ID and the Slack metadata of every copy that is ever sent.
CREATE TABLE notification (
  id          TEXT PRIMARY KEY,
  alert       INTEGER REFERENCES alert (id),
  channel     TEXT NOT NULL,
  reason      TEXT NOT NULL,
  severity    TEXT NOT NULL,
  message     TEXT NOT NULL,
  created_at  TEXT NOT NULL,
  not_before  TEXT NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  state       TEXT NOT NULL CHECK (state IN ('pending', 'leased', 'sent', 'dead')),
  lease_until TEXT,
  last_error  TEXT NOT NULL DEFAULT '',
  remote      TEXT NOT NULL DEFAULT '',
  sent_at     TEXT
) STRICT;
CREATE INDEX notification_due ON notification (channel, state, not_before);
CREATE INDEX notification_alert ON notification (alert, channel);

PRAGMA user_version = 1;
