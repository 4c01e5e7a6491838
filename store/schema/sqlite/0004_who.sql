-- Who has acknowledged: the alert says who looks after it now, an event who took it then.

ALTER TABLE event ADD COLUMN who TEXT NOT NULL DEFAULT '';

PRAGMA user_version = 4;
