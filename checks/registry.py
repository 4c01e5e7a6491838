"""All checks: the SQL files of this package, its modules, and the operator's folder."""

import os
from collections.abc import Mapping, Sequence
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
from checks.broken_check import BrokenCheck, broken
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

    A file of the folder that cannot be used is a BrokenCheck; it prevents no other. Raises
    BadCheckError if the folder cannot be read.
    """
    known: Known = {check.header.name: check for check in MODULES}
    known.update(
        (check.header.name, check) for check in read(_texts(resources.files("checks") / "sql"))
    )
    if folder is not None and folder.is_dir():
        for name, paths in _files(folder).items():
            check = _of_operator(name, paths, known)
            known[check.header.name] = check
    return known


def headers_of(known: Mapping[str, Check]) -> Mapping[str, Header]:
    """Return the header of each kind of finding, those of the jobs included."""
    return FROM_JOBS | {name: check.header for name, check in known.items()}


def broken_checks(known: Known) -> list[BrokenCheck]:
    """Return the users' files that cannot be used."""
    return [check for check in known.values() if isinstance(check, BrokenCheck)]


def _files(folder: Path) -> Mapping[str, Sequence[Path]]:
    """Return the files of a folder by the name of their check."""
    files: dict[str, list[Path]] = {}
    try:
        names = sorted(one.name for one in os.scandir(folder))  # unlike glob it tells what fails
        for path in (folder / name for name in names if _is_check(name)):
            files.setdefault(path.name.partition(".")[0], []).append(path)
    except OSError as error:
        raise BadCheckError(f"{folder}: {error.strerror}") from None
    return files


def _is_check(name: str) -> bool:
    """Return whether a file is meant as a check; a hidden one is an editor's."""
    return name.endswith(".sql") and not name.startswith(".")


def _of_operator(name: str, paths: Sequence[Path], known: Known) -> Check:
    """Return the check of the users' files of one name.

    If they cannot be used it is broken; a name that is taken is then that of the file.
    """
    if name in RESERVED | FROM_JOBS.keys():
        problem = f"{paths[0]}: the name is reserved for an alert of sereno itself; rename the file"
        return broken(paths[0].name, problem)
    if name in known:
        problem = f"{paths[0]}: a check of this name exists already; rename the file"
        return broken(paths[0].name, problem)
    try:
        texts = {str(path): path.read_text("utf-8") for path in paths}
        (check,) = read(texts, reads="rows", cost="scan", built_in=False)
    except OSError as error:
        return broken(name, f"{error.filename}: {error.strerror}")
    except UnicodeDecodeError:
        return broken(name, f"{paths[0]}: is not UTF-8 text")
    except BadCheckError as error:
        return broken(name, "; ".join(str(error).splitlines()))
    return check


def _texts(folder: Traversable) -> dict[str, str]:
    return {
        file.name: file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }
