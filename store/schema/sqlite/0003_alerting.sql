-- Alerts that may be pending, come back, flap, be kept quiet and escalate; messages that stand for several of them.

CREATE TABLE alert_new (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint    TEXT NOT NULL,
  kind           TEXT NOT NULL,
  cluster        TEXT NOT NULL,
  database       TEXT NOT NULL,
  object         TEXT NOT NULL,
  task           TEXT NOT NULL,
  state          TEXT NOT NULL CHECK (state IN ('pending', 'firing', 'acknowledged', 'resolved')),
  severity       TEXT NOT NULL,
  summary        TEXT NOT NULL,
  remedy         TEXT NOT NULL DEFAULT '',
  evidence       TEXT NOT NULL DEFAULT '{}',
  opened_at      TEXT NOT NULL,
  last_seen_at   TEXT NOT NULL,
  occurrences    INTEGER NOT NULL DEFAULT 1,
  next_repeat_at TEXT,
  acknowledged_by TEXT NOT NULL DEFAULT '',
  resolved_at    TEXT,
  failures       INTEGER NOT NULL DEFAULT 1,
  passes         INTEGER NOT NULL DEFAULT 0,
  generation     INTEGER NOT NULL DEFAULT 1,
  fired_at       TEXT,
  turns          TEXT NOT NULL DEFAULT '[]',
  flapping       INTEGER NOT NULL DEFAULT 0,
  withheld       TEXT NOT NULL DEFAULT '',
  escalation     INTEGER NOT NULL DEFAULT 0,
  peak           TEXT NOT NULL DEFAULT 'info',
  acknowledged_until TEXT,
  CHECK ((state = 'resolved') = (resolved_at IS NOT NULL))
) STRICT;
INSERT INTO alert_new (id, fingerprint, kind, cluster, database, object, task, state, severity, summary, remedy, evidence,
                       opened_at, last_seen_at, occurrences, next_repeat_at, acknowledged_by, resolved_at, fired_at, peak)
SELECT id, fingerprint, kind, cluster, database, object, task, state, severity, summary, remedy, evidence,
       opened_at, last_seen_at, occurrences, next_repeat_at, acknowledged_by, resolved_at, opened_at, severity FROM alert;
-- a number that was once an alert's is never another's
INSERT INTO sqlite_sequence (name, seq) SELECT 'alert_new', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'alert_new');
UPDATE sqlite_sequence SET seq = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'alert'), 0) WHERE name = 'alert_new';
DROP TABLE alert;
ALTER TABLE alert_new RENAME TO alert;
CREATE UNIQUE INDEX alert_open ON alert (fingerprint) WHERE resolved_at IS NULL;
CREATE INDEX alert_kind ON alert (kind) WHERE resolved_at IS NULL;
CREATE INDEX alert_ended ON alert (fingerprint, resolved_at) WHERE resolved_at IS NOT NULL;

ALTER TABLE notification ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE notification ADD COLUMN run INTEGER;
ALTER TABLE notification ADD COLUMN urgency INTEGER NOT NULL DEFAULT 3;
-- The copy that a row was, or may have been, sent in: those of one copy stay together until it is known what became of it.
ALTER TABLE notification ADD COLUMN bundle TEXT NOT NULL DEFAULT '';
UPDATE notification SET urgency = CASE severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END;
DROP INDEX notification_due;
CREATE INDEX notification_due ON notification (channel, state, urgency, created_at);
CREATE INDEX notification_run ON notification (run, channel, sent_at) WHERE state = 'sent';
CREATE INDEX notification_bundle ON notification (bundle) WHERE bundle <> '';

-- What a channel calls its first message about an alert (a ticket, a thread), and the title that it had.
CREATE TABLE conversation (
  alert   INTEGER NOT NULL REFERENCES alert (id) ON DELETE CASCADE,
  channel TEXT NOT NULL,
  remote  TEXT NOT NULL,
  subject TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (alert, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversation_remote ON conversation (channel, remote);
INSERT OR IGNORE INTO conversation (alert, channel, remote)
SELECT alert, channel, remote FROM notification WHERE alert IS NOT NULL AND state = 'sent' AND remote <> '' ORDER BY sent_at;

-- What a channel is owed, with the thread of its alert, and may be sent: a resolve overtakes nothing of its alert, and
-- nothing overtakes a resolve, for the last word has to be true. What was, or may have been, sent is what stands in the way.
CREATE VIEW ready AS
SELECT n.*, n.rowid AS place, coalesce(v.remote, '') AS thread, coalesce(v.subject, '') AS subject
FROM notification n LEFT JOIN conversation v ON v.alert = n.alert AND v.channel = n.channel
WHERE n.state = 'pending' AND NOT EXISTS (
  SELECT 1 FROM notification e
  JOIN notification r ON r.alert = e.alert AND r.channel = e.channel AND r.rowid BETWEEN e.rowid AND n.rowid
  WHERE e.alert = n.alert AND e.channel = n.channel AND e.rowid < n.rowid AND e.state IN ('pending', 'leased')
    AND e.bundle <> '' AND e.bundle <> n.bundle AND e.recipients = '[]'
    AND r.reason = 'resolved' AND r.state IN ('pending', 'leased'));

CREATE TABLE silence (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  matcher   TEXT NOT NULL,
  author    TEXT NOT NULL,
  reason    TEXT NOT NULL,
  starts_at TEXT NOT NULL,
  ends_at   TEXT NOT NULL
) STRICT;

PRAGMA user_version = 3;
