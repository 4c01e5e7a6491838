"""Configured tables, each read as the `data` login of its trust domain."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from domain.place import means
from domain.units import format_duration
from jobs.job import JobInputs
from postgres.identifiers import Relation
from postgres.session import MAINTAIN
from postgres.statement_file import read_statement
from retention.expiring_table import ExpiringTable, TableRequest, add_partitions, read_table
from retention.partitions.expired import Partition

_RELATED = read_statement("jobs", "related_tables")


def read_in_domain(inputs: JobInputs, request: TableRequest) -> ExpiringTable:
    """Return a table with its partitions; `wrong` says why no login may work on it."""
    domain = inputs.trust_domains.of_table(request.table)
    if domain.domain.wrong:
        return ExpiringTable(request, wrong=domain.domain.wrong)
    source = read_table(domain.opened, request, domain.domain.owners)
    source = add_partitions(source, domain.opened, inputs.instance)
    owners = domain.domain.owners
    parts = [_with_owner_login(inputs, part, owners) for part in source.partitions]
    return replace(source, login=domain.login, partitions=parts)


def _with_owner_login(inputs: JobInputs, part: Partition, owners: frozenset[str]) -> Partition:
    """Add the login that may detach a partition, or the reason why none may.

    `owners` are those of the table's trust domain: a record of a detach may name any table.
    """
    if part.wrong:
        return part
    if part.owner and part.owner not in owners:
        return replace(part, wrong=f"it belongs to {part.owner}, outside the table's trust domain")
    login, wrong = inputs.trust_domains.owner_login(part.owner)
    return replace(part, owner_login=login if not wrong else MAINTAIN, wrong=wrong)


def archived_elsewhere(inputs: JobInputs, request: TableRequest, archived: Iterable[Any]) -> str:
    """Return that rows would be deleted before their archive takes them; empty if none would.

    A partition shares its rows with its parents; `archived` are the entries of the job `archive`.
    """
    listed = {
        table: one.older_than
        for one in archived
        if means(one.database, inputs.database)
        for table in (one.table, *one.children)
        if table != request.table and request.age <= one.older_than
    }
    if not listed:
        return ""
    names = {"schema": request.table.schema, "name": request.table.name}
    for row in inputs.opened.rows(_RELATED, names):
        table = Relation(row["schema"], row["name"])
        if table in listed:
            return (
                f"its rows are rows of {table} too, which jobs.archive takes after "
                f"{format_duration(listed[table])}: they would be deleted before; make keep longer"
            )
    return ""
