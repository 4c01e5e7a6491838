"""The closed list of sereno's own alert kinds. Any other kind is the name of a check."""

from dataclasses import dataclass

CHECK_TYPE = "CHECK_FINDING"
PATCH_UNIT = "sereno-patch.service"
"""The object of SERVICE_FAILED for the unit of minor upgrades."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of alert."""

    name: str
    type: str
    """The type in messages to ticket systems."""
    meaning: str
    action: str
    """The first step of the on-call engineer."""
    is_event: bool = False
    """Whether it is found once, when it happens, so that no later look confirms it."""


DATABASE_UNREACHABLE = Kind(
    "database_unreachable",
    "DATABASE_UNREACHABLE",
    (
        "The server does not answer, or rejects the login. Other findings of the database are "
        "inhibited."
    ),
    (
        "Connect with psql to the address in databases.NAME.dsn; start the server or correct the "
        "login."
    ),
)
SERVER_UNREACHABLE = Kind(
    "server_unreachable",
    "DATABASE_UNREACHABLE",
    (
        "A server with several configured databases does not answer: one alert names them all. "
        "Other findings of its databases are inhibited."
    ),
    "Start the server, or correct its address in the dsn of its databases.",
)
DATABASE_MISSING = Kind(
    "database_missing",
    "DATABASE_UNREACHABLE",
    (
        "A database that `discover` had found was dropped or renamed, or lets nobody connect. Its "
        "alerts end with this one, after retire_after."
    ),
    "Nothing if that is meant; else restore the database.",
    is_event=True,
)
GROUP_EMPTY = Kind(
    "group_empty",
    "CONFIGURATION_FINDING",
    "No database of the server has a name that fits `discover`: the entry stands for none.",
    "Correct databases.NAME.discover; _ and % are the wildcards of LIKE.",
)
WORKER_SILENT = Kind(
    "worker_silent",
    "SERVICE_FAILURE",
    "A worker of the fleet gives no sign of life: its work is given to the others.",
    "Look at its machine and its journal; if it is gone for good: sereno fleet drain NAME.",
)
NOT_INSTALLED = Kind(
    "not_installed",
    "CONFIGURATION_FINDING",
    (
        "Databases that `discover` has found lack the schema sereno: they are checked and "
        "maintained, and their rows are neither deleted nor archived."
    ),
    "sereno install --discover NAME --admin DSN; new databases of a prepared template have it.",
)
LOGIN_CHANGED = Kind(
    "login_changed",
    "SECURITY_FAILURE",
    (
        "A login of sereno has another password or other settings after a run than before: code of "
        "a table's owner may have changed it."
    ),
    (
        "Look for triggers and functions of the owners of its domain; then ALTER ROLE … RESET ALL, "
        "and sereno install NAME sets the password again. Settings that are meant: sereno alerts "
        "resolve N."
    ),
)
TASK_FAILED = Kind(
    "task_failed",
    "MAINTENANCE_FAILURE",
    "A run failed. The alert ends with the next run that finishes.",
    "sereno history RUN shows the failed step and its error.",
)
TASK_SKIPPED = Kind(
    "task_skipped",
    "MAINTENANCE_FAILURE",
    "A run or some of its steps were skipped: a lock, a missing privilege, another sereno at work.",
    "sereno history RUN shows the reason of each step.",
)
TASK_UNFINISHED = Kind(
    "task_unfinished",
    "MAINTENANCE_FAILURE",
    "The window ended, or the governor paused for too long, before all steps were done.",
    "Nothing at night: the next run continues. If it recurs, extend the window.",
)
TASK_INTERRUPTED = Kind(
    "task_interrupted",
    "MAINTENANCE_FAILURE",
    "The process died during a run, or the end of a run could not be recorded; it is retried.",
    "journalctl -u sereno shows how the process ended.",
    is_event=True,
)
TASK_MISSED = Kind(
    "task_missed",
    "MAINTENANCE_FAILURE",
    "A schedule did not run at its due time.",
    "Find out why sereno was down, then: sereno now SCHEDULE",
    is_event=True,
)
WAVE_STOPPED = Kind(
    "wave_stopped",
    "MAINTENANCE_FAILURE",
    "A schedule did not go on to its next databases, since runs failed in those before.",
    "sereno history shows the failed runs; when their cause is mended: sereno now SCHEDULE",
    is_event=True,
)
INEFFECTIVE = Kind(
    "ineffective",
    "MAINTENANCE_FAILURE",
    (
        "A step ran without an error but did not have its effect, for example VACUUM behind an "
        "old snapshot."
    ),
    "Follow the remedy: end the session, slot or transaction that the summary names.",
)
WINDOW_TOO_SMALL = Kind(
    "window_too_small",
    "MAINTENANCE_FAILURE",
    "A step takes longer than the whole window, so it never begins.",
    "Extend the window, or set overrun = true for the table.",
)
DISK_UNSEEN = Kind(
    "disk_unseen",
    CHECK_TYPE,
    "A folder of the server cannot be examined from this host or by this login.",
    "Grant pg_monitor, or run a sereno on the server's host.",
)
CHANNEL_UNDELIVERED = Kind(
    "channel_undelivered",
    "DELIVERY_FAILURE",
    "A channel delivers nothing, or refused a message. The alert is sent on other channels.",
    "Correct channels.NAME, then: sereno alerts test NAME",
    is_event=True,
)
RECIPIENT_REFUSED = Kind(
    "recipient_refused",
    "DELIVERY_FAILURE",
    "A channel reaches some recipients and not this one.",
    "Correct the address in channels.NAME.",
    is_event=True,
)
CONFIGURATION_INVALID = Kind(
    "configuration_invalid",
    "SERVICE_FAILURE",
    "A reload was refused and the old configuration stays in force; or a file of a check cannot "
    "be used, and all other checks run.",
    "sereno config check; then systemctl reload sereno",
    is_event=True,
)
METRICS_UNREACHABLE = Kind(
    "metrics_unreachable",
    "SERVICE_FAILURE",
    "The address of /metrics and /healthz is in use.",
    "Free the address or change daemon.listen, then restart sereno.",
    is_event=True,
)
STATE_UNUSABLE = Kind(
    "state_unusable",
    "SERVICE_FAILURE",
    (
        "The state file cannot be written, or another file is in its place. No run begins; "
        "cheap checks go on, and critical alerts are sent unrecorded."
    ),
    (
        "Free space on its disk, or put the file back as it was; sereno goes on by itself. An "
        "older copy needs a restart."
    ),
)
SERVICE_FAILED = Kind(
    "service_failed",
    "SERVICE_FAILURE",
    "systemd reports that the service has failed.",
    "systemctl status sereno; journalctl -u sereno",
    is_event=True,
)

MIGRATION_STATUS = "MIGRATION_STATUS"
MIGRATION_FAILED = Kind(
    "migration_failed",
    MIGRATION_STATUS,
    "A run of a migration failed. The alert ends with its next run that finishes.",
    "sereno migrate status ID names the reason and the command that leads on.",
)
MIGRATION_STALLED = Kind(
    "migration_stalled",
    MIGRATION_STATUS,
    "A run of a migration has made no progress for ten minutes, and has given no reason.",
    "sereno migrate progress ID; sereno migrate pause ID stops it without a loss.",
)
MIGRATION_WAITING = Kind(
    "migration_waiting_gate",
    MIGRATION_STATUS,
    "A migration waits for people before cleanup or purge.",
    "sereno migrate plan ID --until PHASE shows what is missing.",
)
GATE_WAIVED = Kind(
    "gate_waived",
    MIGRATION_STATUS,
    "A gate of a migration was passed by a waiver instead of what it asks for.",
    "Talk to the one who waived it; then: sereno alerts resolve N",
    is_event=True,
)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        DATABASE_UNREACHABLE,
        SERVER_UNREACHABLE,
        DATABASE_MISSING,
        GROUP_EMPTY,
        NOT_INSTALLED,
        WORKER_SILENT,
        LOGIN_CHANGED,
        TASK_FAILED,
        TASK_SKIPPED,
        TASK_UNFINISHED,
        TASK_INTERRUPTED,
        TASK_MISSED,
        WAVE_STOPPED,
        INEFFECTIVE,
        WINDOW_TOO_SMALL,
        DISK_UNSEEN,
        CHANNEL_UNDELIVERED,
        RECIPIENT_REFUSED,
        CONFIGURATION_INVALID,
        METRICS_UNREACHABLE,
        STATE_UNUSABLE,
        SERVICE_FAILED,
        MIGRATION_FAILED,
        MIGRATION_STALLED,
        MIGRATION_WAITING,
        GATE_WAIVED,
    )
}
RESERVED = frozenset({*KINDS, "channel_test", "health_report", "migration_success"})
"""Names that a check may not have: alerts and messages of sereno itself use them."""


def message_type(kind: str) -> str:
    """Return the type of a kind in messages; every other kind is a check."""
    known = KINDS.get(kind)
    if known:
        return known.type
    return CHECK_TYPE


def is_event(kind: str) -> bool:
    """Return whether a kind is found once, when it happens."""
    known = KINDS.get(kind)
    return known is not None and known.is_event
