-- What is measured night after night, to see it grow: sizes in bytes, by name and object.

CREATE TABLE measure (
  run      INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  name     TEXT NOT NULL,
  database TEXT NOT NULL,
  object   TEXT NOT NULL,
  value    REAL NOT NULL,
  taken_at TEXT NOT NULL
) STRICT;
CREATE INDEX measure_series ON measure (name, taken_at);
CREATE INDEX measure_run ON measure (run);

-- Of several recipients some may have taken it: those still owed (a JSON list; empty: all), and what was accepted.
ALTER TABLE notification ADD COLUMN recipients TEXT NOT NULL DEFAULT '[]';
ALTER TABLE notification ADD COLUMN receipt TEXT NOT NULL DEFAULT '';
-- To count without reading the messages, of which letters are long.
CREATE INDEX notification_state ON notification (channel, state, created_at);

PRAGMA user_version = 2;
