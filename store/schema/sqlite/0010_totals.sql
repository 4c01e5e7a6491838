-- What the metrics tell, counted as runs end: not read from all runs, and not less when old runs are deleted.

-- The last run that has ended and was not skipped, of each task.
CREATE TABLE last_end (
  job          TEXT NOT NULL,
  scope        TEXT NOT NULL,
  database     TEXT NOT NULL,
  run          INTEGER NOT NULL,
  state        TEXT NOT NULL,
  finished_at  TEXT NOT NULL,
  succeeded_at TEXT,
  PRIMARY KEY (job, scope, database)
) STRICT, WITHOUT ROWID;

-- Runs by state and duration; at_most is the limit of a bucket in seconds, the last one has none.
CREATE TABLE run_total (
  job     TEXT NOT NULL,
  state   TEXT NOT NULL,
  at_most INTEGER NOT NULL,
  runs    INTEGER NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (job, state, at_most)
) STRICT, WITHOUT ROWID;

CREATE TABLE pause_total (
  job     TEXT NOT NULL,
  reason  TEXT NOT NULL,
  seconds REAL NOT NULL,
  PRIMARY KEY (job, reason)
) STRICT, WITHOUT ROWID;

-- The latest measures of whole databases.
CREATE TABLE last_measure (
  name     TEXT NOT NULL,
  database TEXT NOT NULL,
  value    REAL NOT NULL,
  taken_at TEXT NOT NULL,
  PRIMARY KEY (name, database)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_running ON run (id) WHERE state = 'running';
CREATE INDEX run_schedule ON run (schedule, nominal, started_at, finished_at);

CREATE VIEW ended_run AS
SELECT id, job, scope, database, state, ended_at, seconds,
       CASE WHEN seconds <= 1 THEN 1 WHEN seconds <= 5 THEN 5 WHEN seconds <= 15 THEN 15
            WHEN seconds <= 60 THEN 60 WHEN seconds <= 300 THEN 300 WHEN seconds <= 900 THEN 900
            WHEN seconds <= 1800 THEN 1800 WHEN seconds <= 3600 THEN 3600
            WHEN seconds <= 7200 THEN 7200 WHEN seconds <= 14400 THEN 14400
            WHEN seconds <= 28800 THEN 28800 ELSE 2147483647 END AS at_most
FROM (SELECT id, job, scope, database, state,
             coalesce(nullif(finished_at, ''), started_at) AS ended_at,
             max(0.0, coalesce(86400.0 * (julianday(finished_at) - julianday(started_at)), 0.0)) AS seconds
      FROM run WHERE state <> 'running') AS ended;

INSERT INTO last_end
SELECT job, scope, database, max(id), '', '',
       max(CASE WHEN state = 'finished' THEN ended_at END)
FROM ended_run WHERE state <> 'skipped' GROUP BY job, scope, database;
UPDATE last_end
SET state = (SELECT e.state FROM ended_run e WHERE e.id = last_end.run),
    finished_at = (SELECT e.ended_at FROM ended_run e WHERE e.id = last_end.run);
INSERT INTO run_total
SELECT job, state, at_most, count(*), sum(seconds) FROM ended_run GROUP BY job, state, at_most;
INSERT INTO pause_total
SELECT r.job, s.paused_by, sum(s.paused_seconds) FROM step s JOIN ended_run r ON r.id = s.run
WHERE s.paused_seconds > 0 AND s.paused_by <> '' GROUP BY r.job, s.paused_by;

INSERT INTO last_measure
SELECT name, database, value, taken_at FROM measure WHERE object = '' ORDER BY taken_at
ON CONFLICT (name, database) DO UPDATE SET value = excluded.value, taken_at = excluded.taken_at;

CREATE TRIGGER measure_taken AFTER INSERT ON measure WHEN NEW.object = '' BEGIN
  INSERT INTO last_measure VALUES (NEW.name, NEW.database, NEW.value, NEW.taken_at)
  ON CONFLICT (name, database) DO UPDATE SET value = excluded.value, taken_at = excluded.taken_at;
END;
-- A run that was marked interrupted may finish later: its end counts, but it is not counted twice.
CREATE TRIGGER run_state AFTER UPDATE OF state ON run
WHEN NEW.state <> 'running' AND NEW.state <> OLD.state BEGIN
  INSERT INTO last_end
  SELECT job, scope, database, id, state, ended_at, CASE WHEN state = 'finished' THEN ended_at END
  FROM ended_run WHERE id = NEW.id AND state <> 'skipped'
  ON CONFLICT (job, scope, database) DO UPDATE
  SET state = CASE WHEN excluded.run >= run THEN excluded.state ELSE state END,
      finished_at = CASE WHEN excluded.run >= run THEN excluded.finished_at ELSE finished_at END,
      succeeded_at = max(coalesce(excluded.succeeded_at, succeeded_at), coalesce(succeeded_at, excluded.succeeded_at)),
      run = max(run, excluded.run);
END;
CREATE TRIGGER run_ends AFTER UPDATE OF state ON run
WHEN OLD.state = 'running' AND NEW.state <> 'running' BEGIN
  INSERT INTO run_total SELECT job, state, at_most, 1, seconds FROM ended_run WHERE id = NEW.id
  ON CONFLICT (job, state, at_most) DO UPDATE
  SET runs = runs + 1, seconds = seconds + excluded.seconds;
  INSERT INTO pause_total
  SELECT NEW.job, paused_by, sum(paused_seconds) FROM step
  WHERE run = NEW.id AND paused_seconds > 0 AND paused_by <> '' GROUP BY paused_by
  ON CONFLICT (job, reason) DO UPDATE SET seconds = seconds + excluded.seconds;
END;

-- The database that an ignored finding is about; empty for any.
ALTER TABLE ignored ADD COLUMN database TEXT NOT NULL DEFAULT '';

PRAGMA user_version = 10;
