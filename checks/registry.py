"""All checks: the SQL files of this package, its modules, and the operator's folder."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from checks import (
    backup_age,
    corruption,
    disk,
    foreign_keys,
    index_bloat,
    not_valid_constraint,
    orphans,
    password_weak,
    patches,
    same_tenant,
    statement_regression,
    tls_certificate,
)
from checks.check import Check, Header
from checks.sql_check import BadCheckError, read
from domain.kinds import RESERVED

MODULES: tuple[Check, ...] = (
    orphans.CHECK,
    same_tenant.CHECK,
    foreign_keys.CHECK,
    not_valid_constraint.CHECK,
    index_bloat.CHECK,
    backup_age.CHECK,
    password_weak.CHECK,
    tls_certificate.CHECK,
    statement_regression.CHECK,
    disk.CHECK,
)

SAME_TENANT = same_tenant.CHECK.header.name
TENANT_RLS = "tenant_rls"
PAIRED = frozenset({orphans.CHECK.header.name, SAME_TENANT})
"""The checks whose options are a list of pairs."""

BY_JOB: dict[str, tuple[Header, ...]] = {
    "corruption_check": (*corruption.HEADERS.values(), corruption.OVERDUE),
    "security_patches": tuple(patches.HEADERS.values()),
}
"""The headers of findings that jobs make without a check."""
FROM_JOBS: dict[str, Header] = {
    header.name: header for headers in BY_JOB.values() for header in headers
}
"""The same by name."""

Known = dict[str, Check]


def load(folder: Path | None = None) -> Known:
    """Return every check by name.

    Raises BadCheckError for an unusable file, and for a reserved or duplicate name.
    """
    known: Known = {check.header.name: check for check in MODULES}
    known.update(
        (check.header.name, check) for check in read(_texts(resources.files("checks") / "sql"))
    )
    if folder is not None and folder.is_dir():
        try:
            texts = {str(path): path.read_text("utf-8") for path in sorted(folder.glob("*.sql"))}
        except (OSError, UnicodeDecodeError) as error:
            raise BadCheckError(f"{folder}: {error}") from None
        for check in read(texts, reads="rows", cost="scan", built_in=False):
            if check.header.name in RESERVED | FROM_JOBS.keys():
                raise BadCheckError(
                    f"{folder}/{check.header.name}.sql: the name is reserved for an alert of "
                    "sereno itself; rename the file"
                )
            if check.header.name in known:
                raise BadCheckError(
                    f"{folder}/{check.header.name}.sql: a check of this name exists already; "
                    "rename the file"
                )
            known[check.header.name] = check
    return known


def _texts(folder: Traversable) -> dict[str, str]:
    return {
        file.name: file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }
