-- The workers of a fleet, by name; only a state in a database has any.

CREATE TABLE worker (
  name     TEXT PRIMARY KEY,
  process  TEXT NOT NULL,
  version  TEXT NOT NULL,
  at_once  INTEGER NOT NULL,
  digest   TEXT NOT NULL,
  began_at TEXT NOT NULL,
  seen_at  TEXT NOT NULL,
  draining INTEGER NOT NULL DEFAULT 0
) STRICT;

PRAGMA user_version = 13;
