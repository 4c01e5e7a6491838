"""The trust domain of a session: the owners whose tables its statements may touch.

Planning a query on a table runs code of the table's owner with the rights of the session: index
expressions and predicates, statistics expressions, partition bounds. So a session reads the tables
of owners only that trust each other, and has no rights on any other table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from postgres.identifiers import Relation, quote_identifier
from postgres.session import Session, Target
from postgres.statement_file import read_statement

_OWNERS = read_statement("postgres.fencing", "owners")
_LOCKED = read_statement("postgres.fencing", "locked_owners")
_TABLE_OWNERS = read_statement("postgres.fencing", "table_owners")


@dataclass(frozen=True, slots=True)
class TrustDomain:
    """The owners of a session's trust domain; `wrong` says why it has none."""

    owners: frozenset[str] = frozenset()
    wrong: str = ""


def read_trust_domain(session: Session) -> TrustDomain:
    """Return the trust domain of a session, from its rights and the configuration."""
    grants = {"grants": session.login.kind != "owner"}
    return domain_of(
        session.rows(_OWNERS, grants),
        session.target,
        session.login.domain,
        superuser=session.superuser(),
    )


def owners_of_tables(session: Session) -> Sequence[str]:
    """Return every owner of a table."""
    return [row["name"] for row in session.rows(_OWNERS, {"grants": True}) if row["has_tables"]]


def table_owners(session: Session, table: Relation) -> frozenset[str]:
    """Return the owners of a table and of all that inherits from it; empty if there is none."""
    rows = session.rows(_TABLE_OWNERS, (table.schema, table.name))
    return frozenset(row["owner"] for row in rows)


def domain_of(
    owners: Sequence[Mapping[str, Any]], target: Target, declared: str, *, superuser: bool
) -> TrustDomain:
    """Return the domain by the rows of `owners.sql` and the name of the declared domain. Pure."""
    names = frozenset(row["name"] for row in owners)
    if target.allow_privileged_dml:
        return TrustDomain(names)
    superusers = frozenset(row["name"] for row in owners if row["superuser"])
    groups = joined(names, (*target.trust, *target.domains.values(), superusers))
    if superuser:
        return TrustDomain(group_of(groups, superusers))
    reached = frozenset(row["name"] for row in owners if row["reached"])
    own = target.domains[declared] if declared else frozenset([min(reached, default="")])
    domain = group_of(groups, own)
    if beyond := reached - domain:
        return TrustDomain(wrong=_two_domains(target, min(domain, default=""), min(beyond)))
    return TrustDomain(domain)


def joined(names: Iterable[str], trust: Iterable[frozenset[str]]) -> set[frozenset[str]]:
    """Return the owners in groups; sets of `trust` that overlap become one group."""
    groups = {frozenset([name]) for name in names}
    for one in trust:
        touching = {group for group in groups if group & one}
        if touching:
            groups = (groups - touching) | {frozenset().union(*touching)}
    return groups


def is_responsible(session: Session, domain: TrustDomain, owner: str) -> bool:
    """Return whether this session, of those of several domains, reports on tables of an owner."""
    if owner in domain.owners:
        return True
    if any(owner in owners for owners in session.target.domains.values()):
        return False
    logins = [login for login in session.target.logins if login.kind == "data"]
    return session.login == min(logins, default=session.login)


def outside_domain(session: Session, domain: TrustDomain, owner: str) -> str:
    """Return why a session does not work on the tables of an owner."""
    own = min(domain.owners, default="")
    if not session.target.logins:
        return (
            f"it belongs to {quote_identifier(owner)}, whose code would run with the rights of "
            f"{session.facts.user}: configure maintain and data in databases.{session.target.name}"
        )
    if not own:
        return (
            f"{session.facts.user} has rights on no table; run: sereno install "
            f"{session.target.name} --admin DSN"
        )
    cure = join_cure(session.target, own, owner)
    return (
        f"{quote_identifier(owner)} is outside the trust domain of {quote_identifier(own)}: {cure}"
    )


def statement_reason(session: Session, domain: TrustDomain, statement: sql.Composed) -> str:
    """Return why a query may not be planned in this session; empty if it may.

    The server analyses and rewrites it, which locks its relations, those behind views too, and runs
    no code of their owners; only planning does. Raises psycopg.Error for an invalid query.
    """
    with session.transaction(read_only=True):
        session.analyse(statement)
        owners = {row["owner"] for row in session.rows(_LOCKED)}
    beyond = owners - domain.owners
    if beyond and not session.target.allow_privileged_dml:
        return outside_domain(session, domain, min(beyond))
    return ""


def hidden_rows(session: Session) -> str:
    """Return why no statement runs on a table whose row-level policies apply, with the cure."""
    user = quote_identifier(session.facts.user)
    return (
        f"its row-level policies may hide rows from {user}; let it see all of them: "
        f"ALTER ROLE {user} BYPASSRLS"
    )


def join_cure(target: Target, first: str, second: str) -> str:
    """Return the two ways to let a login reach tables of two owners."""
    return (
        f"give each owner a domain (databases.{target.name}.domains), or, if they trust each "
        f'other: databases.{target.name}.trust = [["{first}", "{second}"]]'
    )


def group_of(groups: Iterable[frozenset[str]], names: frozenset[str]) -> frozenset[str]:
    """Return all owners in a group with one of the names."""
    return frozenset().union(*(group for group in groups if group & names))


def _two_domains(target: Target, first: str, second: str) -> str:
    owners = f"{quote_identifier(first)} and {quote_identifier(second)}"
    return (
        f"the login has rights on tables of {owners}, which do not trust each other. To take those "
        f"on other tables away: sereno install {target.name} --admin DSN; or "
        + join_cure(target, first, second)
    )
