"""The composition root: builds the context of a sereno from its configuration."""

import getpass
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from alerts.alert import Alert
from alerts.channels.channel import Sender
from alerts.channels.registry import build
from alerts.courier import now
from alerts.policy import Policy
from checks.registry import Known, headers_of, load
from checks.sql_check import BadCheckError
from daemon.alert_texts import Headers, in_spanish
from daemon.alert_views import server_of
from daemon.config.alert_policy import build_policy
from daemon.config.groups import Found, groups_of, member_name, with_found
from daemon.config.model import Config, Database, Login, MigrateLogin
from daemon.context import AlertContext, Context
from daemon.history import found_databases, statistics
from daemon.registry import build_jobs
from domain.place import SEPARATOR
from domain.secret import SecretError
from postgres import session
from postgres.identifiers import split_names
from postgres.session import Target, TargetError
from store.opening import open_store
from store.store import Store
from store.timestamps import from_text


def build_alert_context(config: Config) -> AlertContext:
    """Open the store and build the policy; no channel, check or job. Raises StoreError."""
    store = open_store(config.daemon.state, config.daemon.local_folder)
    written = config
    config, missing = _with_found(written, store)
    tagged = _tagged(written, config, missing)
    policy = _policy(config, store, cache(partial(_headers, config)), tagged)
    return AlertContext(config, store, policy, now)


def build_context(config: Config, *, with_checks: bool = True) -> Context:
    """Open the store and build everything on it. Raises StoreError.

    Raises BadCheckError for an unreadable folder of checks, unless checks are left out.
    """
    sender = Sender(config.daemon.name, _place())
    channels = {name: build(options, sender) for name, options in config.channels.items()}
    store = open_store(config.daemon.state, config.daemon.local_folder)
    checks = load(Path(config.daemon.checks)) if with_checks else {}
    return Context(
        **_of_databases(config, store, checks if with_checks else None),
        store=store,
        checks=checks,
        channels=channels,
        clock=now,
    )


def renewed(context: Context) -> Context:
    """Return the context with the databases that exist now. Raises StoreError."""
    return replace(context, **_of_databases(context.written, context.store, context.checks))


def _of_databases(written: Config, store: Store, checks: Known | None) -> dict[str, Any]:
    """Return the parts of a context that depend on which databases exist."""
    config, missing = _with_found(written, store)
    known = partial(_headers, config) if checks is None else partial(headers_of, checks)

    def target(name: str) -> Target:
        return connection_target(config if name in config.databases else written, name)

    return {
        "config": config,
        "written": written,
        "missing": missing,
        "jobs": build_jobs(config, store),
        "policy": _policy(config, store, cache(known), _tagged(written, config, missing)),
        "target": target,
    }


def _with_found(config: Config, store: Store) -> tuple[Config, frozenset[str]]:
    """Return the configuration with the databases of its groups, and those that are missing."""
    if not groups_of(config):
        return config, frozenset()
    with store.reading() as transaction:
        rows = found_databases.load_all(transaction)
    there = [
        Found(
            row["origin"],
            row["name"],
            from_text(row["absent_at"]),
            None if row["prepared"] is None else bool(row["prepared"]),
        )
        for row in rows
        if not row["missing_since"]
    ]
    gone = (
        member_name(row["origin"], row["name"])
        for row in rows
        if row["missing_since"] and row["origin"] in groups_of(config)
    )
    return with_found(config, there), frozenset(gone)


def _tagged(written: Config, config: Config, missing: Iterable[str]) -> dict[str, Database]:
    """Return the entries of all names that alerts may have: those that are not there now too."""
    absent = {name: written.databases[name.partition(SEPARATOR)[0]] for name in missing}
    return {**written.databases, **config.databases, **absent}


def _policy(
    config: Config,
    store: Store,
    headers: Callable[[], Headers],
    tagged: Mapping[str, Database],
) -> Policy:
    """Return the policy with the texts of checks and the names of servers."""

    def server(alert: Alert) -> str:
        if alert.database or not alert.cluster:
            return ""
        with store.reading() as transaction:
            return server_of(alert, statistics.load_clusters(transaction))

    return replace(
        build_policy(config, now(), tagged), spanish=in_spanish(headers), server_of=server
    )


def _headers(config: Config) -> Headers:
    """Return the headers of all checks; without the operator's if they cannot be read."""
    try:
        return headers_of(load(Path(config.daemon.checks)))
    except BadCheckError:
        return headers_of(load())


def _place() -> str:
    """Return the user and host of this process, where an alert may be acknowledged."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in some containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def connection_target(config: Config, name: str, *, with_passwords: bool = True) -> Target:
    """Return the connection target of a database. Raises TargetError for an unreadable password.

    Without passwords it can only be printed: an empty one stands for each that is configured.
    """
    database = config.databases[name]
    try:
        return Target(
            name=name,
            conninfo=database.dsn,
            logins=_logins(database, with_passwords=with_passwords),
            timezone=config.daemon.timezone,
            allow_privileged_dml=database.allow_privileged_dml,
            domains={key: frozenset(one.owners) for key, one in database.domains.items()},
            trust=tuple(map(frozenset, database.trust)),
            application_roles=config.migrations.application_roles,
            **_migrate_settings(database.migrate),
        )
    except SecretError as error:
        raise TargetError(f"{name}: {error}") from None


def _migrate_settings(login: MigrateLogin | None) -> dict[str, Any]:
    if login is None:
        return {}
    return {"migrate_role": login.role, "migrate_path": split_names(login.search_path)}


def _logins(
    database: Database, *, with_passwords: bool
) -> dict[session.Login, session.Credentials]:
    roles: dict[session.Login, Login | None] = {
        session.MAINTAIN: database.maintain,
        session.Login("data"): database.data,
        session.Login("owner"): database.owner,
        session.MIGRATE: database.migrate,
    }
    for name, domain in database.domains.items():
        roles |= {
            session.Login("data", name): domain.data,
            session.Login("owner", name): domain.owner,
        }

    def password(role: Login) -> str | None:
        if role.password is None:
            return None
        return role.password.reveal() if with_passwords else ""

    return {
        login: session.Credentials(role.user, password(role))
        for login, role in roles.items()
        if role is not None
    }
