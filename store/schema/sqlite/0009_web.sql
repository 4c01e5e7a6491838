-- What people did through the HTTP interface, and attempts to sign in that failed.
CREATE TABLE audit (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  at        TEXT NOT NULL,
  principal TEXT NOT NULL,
  address   TEXT NOT NULL,
  action    TEXT NOT NULL,
  subject   TEXT NOT NULL,
  detail    TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit BEGIN
  SELECT raise(ABORT, 'an entry of the audit log is never changed');
END;

-- Findings that a person has had ignored, beside those of the configuration.
CREATE TABLE ignored (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  name       TEXT NOT NULL,
  object     TEXT NOT NULL,
  reason     TEXT NOT NULL,
  principal  TEXT NOT NULL,
  created_at TEXT NOT NULL,
  until      TEXT NOT NULL
) STRICT;
CREATE INDEX ignored_until ON ignored (until);

PRAGMA user_version = 9;
