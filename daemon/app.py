"""The composition root: a configuration in, wired parts out. The only place that constructs."""

from pathlib import Path

from alerts.channels.channel import Sender
from alerts.channels.registry import build
from alerts.courier import now
from alerts.secret import SecretError
from checks.registry import load
from daemon.config.model import Config, Database, Login
from daemon.parts import Parts
from daemon.rules import policy
from postgres import connection
from postgres.connection import Target, TargetError
from store.store import open_store


def assemble(config: Config) -> Parts:
    """Open the store and wire everything to it. StoreError as the store says."""
    sender = Sender(config.daemon.name)
    channels = {name: build(options, sender) for name, options in config.channels.items()}
    return Parts(
        config=config,
        store=open_store(config.daemon.state),
        checks=load(Path(config.daemon.checks)),
        policy=policy(config, channels, now()),
        channels=channels,
        target=lambda name: target(config, name),
        clock=now,
    )


def target(config: Config, name: str) -> Target:
    """Return a database's ways in. TargetError: a password is not where the configuration says."""
    database = config.databases[name]
    try:
        return Target(
            name=name,
            conninfo=database.dsn,
            logins=_logins(database),
            timezone=config.daemon.timezone,
            allow_privileged_dml=database.allow_privileged_dml,
        )
    except SecretError as error:
        raise TargetError(f"{name}: {error}") from None


def _logins(database: Database) -> dict[connection.Login, connection.Credentials]:
    roles: dict[connection.Login, Login | None] = {"maintain": database.maintain, "data": database.data}
    return {
        login: connection.Credentials(role.user, role.password.reveal() if role.password else None)
        for login, role in roles.items()
        if role is not None
    }
