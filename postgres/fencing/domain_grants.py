"""The grants of the logins of one trust domain.

`data` has SELECT on the tables of the domain's owners, those made later too, DELETE on the listed
ones, and is a member of no role. `owner` is a member of the owners.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from psycopg import sql

from postgres.identifiers import Relation
from postgres.session import Credentials

_INHERIT_OPTION_SINCE = 160000
_ROWS = ("SELECT ON TABLES", "SELECT ON SEQUENCES")
_BEGUN = sql.SQL('instance, "schema", "table", "oid", partition_schema, partition')
_DEFAULT = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} TO {}")


@dataclass(frozen=True, slots=True)
class TableGrant:
    """A table or sequence, its owner, and the roles with a grant on it."""

    relation: Relation
    owner: str
    superuser: bool
    """Whether its owner is a superuser."""
    kind: str
    """TABLE or SEQUENCE."""
    may: bool
    """Whether the administrator is a member of its owner, and so may grant rights on it."""
    grantees: frozenset[str]


@dataclass(frozen=True, slots=True)
class DomainGrant:
    """A trust domain to prepare: its logins, and the tables of its owners."""

    data: Credentials | None
    owner: Credentials | None
    owners: frozenset[str]
    tables: Sequence[TableGrant] = field(repr=False)

    @property
    def superusers(self) -> frozenset[str]:
        """Return the owners that are superusers."""
        return frozenset(table.owner for table in self.tables if table.superuser)


def table_grant(row: Mapping[str, Any]) -> TableGrant:
    """Return the table of a row of `table_grants.sql`."""
    return TableGrant(
        Relation(row["schema"], row["name"]),
        row["owner"],
        row["superuser"],
        "SEQUENCE" if row["is_sequence"] else "TABLE",
        row["may"],
        frozenset(row["grantees"]),
    )


def data_grants(
    domain: DomainGrant,
    tables: Sequence[TableGrant],
    deleted: Collection[Relation],
    received: Collection[Relation],
    former_roles: Collection[str] = (),
) -> Iterator[sql.Composed]:
    """Yield the grants of the `data` login; rights on tables of other domains end first.

    Rows are deleted from the tables `deleted`, and moved to `received`; `former_roles` are those
    that the login is a member of.
    """
    if domain.data is None:
        return
    user, role = domain.data.user, sql.Identifier(domain.data.user)
    for former in former_roles:
        yield sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(former), role)
    yield from _revoked(domain, tables, user)
    yield from schema_grants(domain.tables, user)
    own = {table.relation: table.kind for table in domain.tables}
    for kind in ("TABLE", "SEQUENCE"):
        yield from _grant("SELECT", kind, [one for one in own if own[one] == kind], role)
    for owner, default in product(sorted(domain.owners), _ROWS):
        yield _DEFAULT.format(sql.Identifier(owner), sql.SQL(default), role)
    yield from _grant("DELETE", "TABLE", [table for table in deleted if table in own], role)
    yield from _grant("INSERT", "TABLE", [table for table in received if table in own], role)


def _revoked(
    domain: DomainGrant, tables: Sequence[TableGrant], user: str
) -> Iterator[sql.Composed]:
    for table in tables:
        if user in table.grantees and table.owner not in domain.owners:
            yield sql.SQL("REVOKE ALL ON {} {} FROM {}").format(
                sql.SQL(table.kind), table.relation.identifier(), sql.Identifier(user)
            )


def schema_grants(tables: Sequence[TableGrant], user: str) -> Iterator[sql.Composed]:
    """Yield USAGE on the schemas of the tables, and on those that their owners make later."""
    role, usage = sql.Identifier(user), sql.SQL("USAGE ON SCHEMAS")
    tables = [table for table in tables if table.may]
    for schema in sorted({table.relation.schema for table in tables}):
        yield sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role)
    for owner in sorted({table.owner for table in tables}):
        yield _DEFAULT.format(sql.Identifier(owner), usage, role)


def owner_grants(domain: DomainGrant, version: int) -> Iterator[sql.Composed]:
    """Yield the memberships of the `owner` login, on a server of a version."""
    if domain.owner is None:
        return
    for owner in sorted(domain.owners):
        yield membership(owner, domain.owner.user, version)
    role = sql.Identifier(domain.owner.user)
    yield sql.SQL("GRANT INSERT ({}) ON sereno.detached_partition TO {}").format(_BEGUN, role)
    yield sql.SQL("GRANT INSERT (id) ON sereno.detached_partition_end TO {}").format(role)


def membership(owner: str, user: str, version: int) -> sql.Composed:
    """Return the grant of an owner's rights, without SET ROLE where the server knows that."""
    options = sql.SQL(" WITH INHERIT TRUE, SET FALSE" if version >= _INHERIT_OPTION_SINCE else "")
    return sql.SQL("GRANT {} TO {}{}").format(sql.Identifier(owner), sql.Identifier(user), options)


def roles(users: Iterable[str]) -> sql.Composed:
    """Return a list of roles."""
    return sql.SQL(", ").join(map(sql.Identifier, users))


def _grant(
    right: str, kind: str, relations: Sequence[Relation], role: sql.Identifier
) -> Iterator[sql.Composed]:
    if relations:
        names = sql.SQL(", ").join(relation.identifier() for relation in relations)
        yield sql.SQL("GRANT {} ON {} {} TO {}").format(sql.SQL(right), sql.SQL(kind), names, role)
