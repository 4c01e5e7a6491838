-- The worker of a run: host, boot, number and beginning of its process; empty in runs of earlier versions.

ALTER TABLE run ADD COLUMN worker text COLLATE "C" NOT NULL DEFAULT '';
