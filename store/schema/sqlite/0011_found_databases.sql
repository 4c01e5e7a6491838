-- The databases that exist on the servers of [databases.<name>] with `discover`.

CREATE TABLE found_database (
  origin        TEXT NOT NULL,
  name          TEXT NOT NULL,
  oid           INTEGER NOT NULL,
  absent_at     TEXT NOT NULL,
  first_seen    TEXT NOT NULL,
  missing_since TEXT,
  prepared      INTEGER,
  PRIMARY KEY (origin, name)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 11;
