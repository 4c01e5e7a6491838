-- The ledger of migrations. Rows are only inserted; time, order and writer are set by the server.
-- The states of each migration, the last one in force; `phase` is the last phase that is complete.
CREATE TABLE IF NOT EXISTS sereno.migration (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  migration text NOT NULL,
  format int NOT NULL,
  title text NOT NULL,
  type text NOT NULL,
  checksum text NOT NULL,
  phase text NOT NULL,
  state text NOT NULL,
  run text NOT NULL,
  reason text NOT NULL DEFAULT '');

CREATE TABLE IF NOT EXISTS sereno.migration_run (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  action text NOT NULL,
  environment text NOT NULL,
  until text NOT NULL,
  plan_hash text NOT NULL,
  principal text NOT NULL,
  reason text NOT NULL,
  version text NOT NULL);

CREATE TABLE IF NOT EXISTS sereno.migration_step (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  phase text NOT NULL,
  file text NOT NULL,
  checksum text NOT NULL,
  statement int NOT NULL,
  state text NOT NULL,
  attempts int NOT NULL,
  milliseconds bigint NOT NULL,
  rows bigint NOT NULL,
  reason text NOT NULL DEFAULT '');

CREATE TABLE IF NOT EXISTS sereno.migration_batch (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  file text NOT NULL,
  checksum text NOT NULL,
  lo text NOT NULL,
  hi text NOT NULL,
  keys bigint NOT NULL,
  milliseconds bigint NOT NULL);

CREATE INDEX IF NOT EXISTS migration_batch_file
  ON sereno.migration_batch (migration, file, ordinal DESC);

CREATE TABLE IF NOT EXISTS sereno.migration_check (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  phase text NOT NULL,
  name text NOT NULL,
  kind text NOT NULL,
  ok boolean NOT NULL,
  violations bigint NOT NULL,
  sample jsonb NOT NULL,
  milliseconds bigint NOT NULL);

CREATE TABLE IF NOT EXISTS sereno.migration_gate (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  migration text NOT NULL,
  checksum text NOT NULL,
  environment text NOT NULL,
  gate text NOT NULL,
  state text NOT NULL,
  principal text NOT NULL,
  note text NOT NULL,
  evidence jsonb NOT NULL);

-- The text of every file at apply: rollback needs no folder.
CREATE TABLE IF NOT EXISTS sereno.migration_file (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  checksum text NOT NULL,
  file text NOT NULL,
  content text NOT NULL);

-- The catalog before each phase, with which a rollback is compared.
CREATE TABLE IF NOT EXISTS sereno.migration_snapshot (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  written_by name NOT NULL DEFAULT session_user,
  written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run text NOT NULL,
  migration text NOT NULL,
  phase text NOT NULL,
  catalog jsonb NOT NULL);

-- Maintenance mode, which applications read; it is void after `until`.
CREATE TABLE IF NOT EXISTS sereno.maintenance (
  ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  until timestamptz NOT NULL,
  reason text NOT NULL);
