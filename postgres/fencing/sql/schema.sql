-- The schema of sereno in a database; every statement may be run again.
CREATE SCHEMA IF NOT EXISTS sereno;

REVOKE ALL ON SCHEMA sereno FROM PUBLIC;

-- The instances that may delete in this database.
CREATE TABLE IF NOT EXISTS sereno.owner (
  instance_id text PRIMARY KEY,
  instance_name text NOT NULL,
  trusted_at timestamptz NOT NULL DEFAULT now());

-- The due runs, each claimed once.
CREATE TABLE IF NOT EXISTS sereno.claim (
  instance text, schedule text, job text, scope text, nominal timestamp,
  state text NOT NULL,
  reason text NOT NULL DEFAULT '',
  steps_left bigint NOT NULL DEFAULT 0,
  taken_by text NOT NULL,
  attempts int NOT NULL DEFAULT 1,
  taken_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz,
  PRIMARY KEY (instance, schedule, job, scope, nominal));

-- The archive ledger: one row per batch.
CREATE TABLE IF NOT EXISTS sereno.archive_batch (
  id uuid PRIMARY KEY,
  instance text NOT NULL,
  "schema" text NOT NULL,
  "table" text NOT NULL,
  destination text NOT NULL,
  file text,
  "position" bigint,
  length bigint,
  sha256 text,
  rows bigint NOT NULL,
  first text NOT NULL,
  last text NOT NULL,
  columns jsonb NOT NULL,
  archived_at timestamptz NOT NULL DEFAULT now(),
  restored_at timestamptz,
  expired_at timestamptz);

ALTER TABLE sereno.archive_batch
  ADD COLUMN IF NOT EXISTS ordinal bigint GENERATED ALWAYS AS IDENTITY;

-- No login may insert it, so a batch counts only for tables that its writer may delete from. Batches
-- of before this column get the data login as their writer.
ALTER TABLE sereno.archive_batch ADD COLUMN IF NOT EXISTS written_by name;

ALTER TABLE sereno.archive_batch ALTER COLUMN written_by SET DEFAULT session_user;

CREATE UNIQUE INDEX IF NOT EXISTS archive_batch_ordinal ON sereno.archive_batch (ordinal);

-- The partitions whose detach has begun, and below those whose detach has ended. As in the ledger, no
-- login may insert written_by, and a row counts only for tables that its writer may delete from.
CREATE TABLE IF NOT EXISTS sereno.detached_partition (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  instance text NOT NULL,
  "schema" text NOT NULL,
  "table" text NOT NULL,
  "oid" oid NOT NULL,
  partition_schema text NOT NULL,
  partition text NOT NULL,
  begun_at timestamptz NOT NULL DEFAULT now(),
  settled_at timestamptz);

ALTER TABLE sereno.detached_partition
  ADD COLUMN IF NOT EXISTS written_by name NOT NULL DEFAULT session_user;

CREATE TABLE IF NOT EXISTS sereno.detached_partition_end (
  id uuid NOT NULL,
  written_by name NOT NULL DEFAULT session_user,
  settled_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (id, written_by));
