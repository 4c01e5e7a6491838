"""The log files that the servers are writing to; they are never deleted."""

import os
from collections.abc import Iterator

import psycopg
from psycopg import sql

from jobs.job import JobInputs
from postgres.session import TargetError
from retention.files.open_files import Inode

_CURRENT = sql.SQL(
    """
    SELECT CASE WHEN f LIKE '/%' THEN f
                ELSE current_setting('data_directory', true) || '/' || f END AS path
    FROM (VALUES ('stderr'), ('csvlog'), ('jsonlog')) k (kind)
    CROSS JOIN LATERAL (
      SELECT CASE WHEN k.kind <> 'jsonlog' OR current_setting('server_version_num')::int >= 150000
                  THEN pg_current_logfile(k.kind) END AS f) l
    WHERE f IS NOT NULL
    """
)


def current_log_files(inputs: JobInputs) -> Iterator[Inode]:
    """Yield the inodes of the local current log files; an unreachable server is skipped."""
    for name in inputs.settings.databases():
        try:
            with inputs.open(name) as session:
                paths = [str(row["path"]) for row in session.rows(_CURRENT)]
        except (TargetError, psycopg.Error):
            continue
        for path in paths:
            try:
                entry = os.stat(path)  # noqa: PTH116 - device and inode are all that is wanted
            except OSError:
                continue
            yield entry.st_dev, entry.st_ino
