"""`sereno alerts`: open alerts, acknowledgements and silences."""

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli import channel_test, outbox, service_failed
from daemon.cli.command_group import CommandGroup
from daemon.cli.options import (
    LARGEST,
    ConfigOption,
    DatabaseOption,
    JsonOption,
    fail,
    open_alert_context,
    open_context,
    print_answer,
    print_json,
    unknown_name,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alerts.alert import Alert
    from alerts.rules import Matcher
    from daemon.cli.overview import Overview
    from daemon.context import AlertContext, Context

app = typer.Typer(
    cls=CommandGroup,
    help="List, acknowledge, resolve and silence alerts; test channels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
MOST_LISTED = 500
MOST_EVENTS = 50
MOST_MESSAGES = 200
Number = Annotated[
    int, typer.Argument(min=1, max=LARGEST, metavar="NUMBER", help="The alert's number.")
]
Numbers = Annotated[
    list[int], typer.Argument(min=1, max=LARGEST, metavar="NUMBER...", help="Their numbers.")
]
Name = Annotated[str, typer.Option("--as", metavar="NAME", help="Your name.", show_default=False)]
Pattern = Annotated[list[str] | None, typer.Option(help="A shell pattern.", show_default=False)]
ObjectPattern = Annotated[
    list[str] | None, typer.Option("--object", help="A shell pattern.", show_default=False)
]
KindPattern = Annotated[
    list[str] | None,
    typer.Option(
        help="A shell pattern on the kind: a check's name, task_failed, ...", show_default=False
    ),
]
TagOption = Annotated[
    list[str] | None, typer.Option(help="A tag of the database.", show_default=False)
]
SeverityOption = Annotated[
    list[str] | None, typer.Option(help="May be repeated.", show_default=False)
]


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """List open alerts, the highest severity first."""
    from alerts import alert_store
    from daemon.alert_views import alert_row
    from daemon.cli.overview import open_overview
    from daemon.history.chosen_databases import show_only

    with open_overview(config) as whole:
        overview = whole.only(database, tag or ()) if database or tag else whole
        with overview.store.reading() as transaction:
            if overview.chosen is not None:
                show_only(transaction, overview.chosen, overview.addresses())
            if everything:
                alerts = alert_store.load_latest(transaction, MOST_LISTED)
            else:
                alerts = alert_store.load_open(transaction)
        suppressed = _suppressed(overview, alerts, config)
        if as_json:
            print_json([alert_row(alert, suppressed.get(alert.id or 0, "")) for alert in alerts])
            return
        if not everything:
            alerts.sort(key=lambda alert: (-alert.severity.rank, alert.id or 0))
        _show_list(overview, alerts, suppressed)


def _suppressed(
    overview: "Overview",
    alerts: "Sequence[Alert]",
    config: Any,  # noqa: ANN401 - typer's Path
) -> "Mapping[int, str]":
    """Return the suppression of each alert; the policy is loaded only if there may be one."""
    from alerts import silences

    stored = {alert.id or 0: alert.suppressed_by for alert in alerts if alert.suppressed_by}
    now = overview.now()
    with overview.store.reading() as transaction:
        if not silences.any_active(transaction, now) and not overview.has_maintenance:
            return stored
        active = silences.active(transaction, now)
    with open_context(config) as context:
        silenced = {alert.id or 0: context.policy.silenced(alert, active, now) for alert in alerts}
    return {**silenced, **stored}


def _show_list(
    overview: "Overview", alerts: "Sequence[Alert]", suppressed: "Mapping[int, str]"
) -> None:
    from daemon.alert_views import place_of
    from daemon.cli.alert_rows import print_alert
    from daemon.cli.output import line, local_minute, prose, zone_name
    from daemon.history import statistics
    from domain.redaction import redact

    now, zone = overview.now(), overview.zone
    with overview.store.reading() as transaction:
        clusters = statistics.load_clusters(transaction)
    for alert in alerts:
        since = local_minute(alert.opened_at, zone, now)
        state = f"{alert.state.value} since {since}"
        if alert.resolved_at:
            state = f"resolved {local_minute(alert.resolved_at, zone, now)}"
        print_alert(alert, place_of(alert, clusters), state)
        prose(redact(alert.summary), indent=6)
        if reason := suppressed.get(alert.id or 0):
            prose(f"not notified: {reason}", indent=6)
    if alerts:
        line(f"(times: {zone_name(zone)})  One alert: sereno alerts show NUMBER")
    else:
        line("no open alert")


@app.command()
def show(alert: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one alert: its state, its events, and the notifications sent."""
    with open_context(config) as context:
        from daemon.alert_views import alert_details
        from daemon.cli.alert_details import print_alert_details

        story = alert_details(context, alert)
        if story is None:
            fail(f"there is no alert {alert}", Exit.CANNOT)
        if as_json:
            print_json(story)
        else:
            print_alert_details(story, context.config.daemon.timezone)


@app.command()
def ack(
    alert: Numbers,
    who: Name = "",
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            help="Acknowledge for this long (8h), then notify again; default: until resolved.",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Acknowledge alerts: no repeats and no escalation until it worsens or recurs.

    The running service notifies the channels; without one, the next `sereno now` does.
    """
    with open_alert_context(config) as context:
        from alerts.processor import Acknowledged
        from daemon.cli.arguments import parse_after
        from daemon.cli.output import local_minute, zone_name

        until = None if duration is None else parse_after(context.clock(), duration)
        zone = context.config.daemon.timezone
        end = f" until {local_minute(until, zone)} ({zone_name(zone)})" if until else ""
        done = []
        for number in alert:
            result = context.acknowledge(number, who or getpass.getuser(), until)
            if result is Acknowledged.NOT_OPEN:
                fail(_not_open(context, number), Exit.CANNOT)
            if result is Acknowledged.PENDING:
                fail(f"alert {number} is pending: nobody was notified of it yet", Exit.CANNOT)
            done.append({"alert": number, "state": "acknowledged"})
            if not as_json:
                typer.echo(f"alert {number} {result.value}{end}")
        if as_json:
            print_json(done[0] if len(done) == 1 else done)


def _not_open(context: "AlertContext", number: int) -> str:
    from alerts import alert_store

    with context.store.reading() as transaction:
        if alert_store.load_alert(transaction, number) is None:
            return f"there is no alert {number}; see: sereno alerts list"
    return f"alert {number} is already resolved"


@app.command()
def resolve(alert: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Resolve an alert manually, for example when its database no longer exists."""
    with open_context(config) as context:
        from alerts import alert_store
        from daemon.cli.delivery import deliver_pending
        from domain.coverage import Coverage

        with context.store.reading() as transaction:
            found = alert_store.load_alert(transaction, alert)
        if found is None or found.resolved_at is not None:
            fail(_not_open(context, alert), Exit.CANNOT)
        area = Coverage(
            found.kind, found.database, found.object, found.task, found.cluster, final=True
        )
        context.process_findings([], [area])
        deliver_pending(context, 10)
        value = {"alert": alert, "state": "resolved"}
        print_answer(f"alert {alert} resolved", value, as_json=as_json)


@app.command()
def silence(
    reason: Annotated[str, typer.Option("--reason", help="Shown to everyone who asks.")],
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long (2h, 3 days).")
    ],
    database: Pattern = None,
    job: Pattern = None,
    check: KindPattern = None,
    object_: ObjectPattern = None,
    tag: TagOption = None,
    severity: SeverityOption = None,
    who: Name = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suppress notifications for matching alerts.

    Resolutions are still sent; alerts still firing at the end are notified then.
    """
    with open_context(config) as context:
        from alerts import alert_store
        from alerts.policy import Silence
        from daemon.cli.arguments import parse_after
        from daemon.cli.output import counted, local_minute, zone_name

        if not reason.strip():
            fail("--reason: give the reason of the silence", Exit.CANNOT)
        now, zone = context.clock(), context.config.daemon.timezone
        given = {"database": database, "job": job, "check": check, "object": object_, "tag": tag}
        matcher = _matcher(context, given, severity or ())
        ends_at = parse_after(now, duration)
        made = Silence(matcher, who or getpass.getuser(), reason, now, ends_at)
        with context.store.transaction() as transaction:
            number = context.processor(transaction).silence(made)
            alerts = alert_store.load_open(transaction)
            matching = sum(context.policy.matches_silence(made, one, now) for one in alerts)
        until = f"{local_minute(ends_at, zone)} ({zone_name(zone)})"
        value = {"silence": number, "until": ends_at.isoformat(), "open": matching}
        sentence = f"silence {number} until {until}; it matches {counted(matching, 'open alert')}"
        print_answer(sentence, value, as_json=as_json)


def _matcher(
    context: "Context", given: "Mapping[str, list[str] | None]", severities: "Sequence[str]"
) -> "Matcher":
    from alerts.rules import Matcher
    from daemon.cli.arguments import parse_severity

    patterns = {name: _single(name, values) for name, values in given.items() if values}
    if not patterns and not severities:
        fail("give a pattern: --check, --database, --object, ... ('*' matches all)", Exit.CANNOT)
    parsed = tuple(parse_severity(one, "--severity") for one in severities)
    matcher = Matcher(severity=parsed, **patterns)
    _require_known(context, matcher)
    return matcher


def _require_known(context: "Context", matcher: "Matcher") -> None:
    """Refuse a name without wildcards that nothing has: it would silence nothing."""
    from daemon.registry import JOB_NAMES
    from domain.kinds import KINDS

    config = context.config
    tags = {tag for one in context.policy.tags.values() for tag in one}
    for kind, name, known in (
        ("check or alert kind", matcher.check, {*context.checks, *KINDS}),
        ("database", matcher.database, {*config.databases, *context.written.databases}),
        ("tag", matcher.tag, tags),
        ("job or schedule", matcher.job, {*JOB_NAMES, *config.timetable}),
    ):
        if name and name not in known and not set(name) & set("*?["):
            fail(unknown_name(kind, name, sorted(known)), Exit.CANNOT)


def _single(name: str, values: list[str]) -> str:
    if len(values) > 1:
        fail(f"--{name}: one pattern per silence; make another for {values[1]!r}", Exit.CANNOT)
    return values[0]


@app.command("silences")
def list_silences(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List active silences and open maintenance windows."""
    with open_context(config) as context:
        from alerts import silences
        from daemon.alert_views import silence_row, silence_text
        from daemon.cli.output import line, local_minute, zone_name

        now, zone = context.clock(), context.config.daemon.timezone
        with context.store.reading() as transaction:
            active = [*silences.active(transaction, now), *context.policy.windows(now)]
        if as_json:
            print_json([silence_row(one) for one in active])
            return
        for one in active:
            name = "maintenance window"
            if one.id:
                name = f"silence {one.id}"
            line(f"{name}  {silence_text(one)}")
            line(
                f"until {local_minute(one.ends_at, zone, now)}, {one.author}: {one.reason}",
                indent=4,
            )
        line(f"(times: {zone_name(zone)})" if active else "no silence is active")


@app.command()
def unsilence(
    number: Annotated[
        int, typer.Argument(min=1, max=LARGEST, metavar="NUMBER", help="The silence's number.")
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a silence now."""
    with open_context(config) as context:
        from alerts import silences

        with context.store.transaction() as transaction:
            if not silences.end(transaction, number, context.clock()):
                fail(f"there is no active silence {number}", Exit.CANNOT)
        value = {"silence": number, "state": "ended"}
        print_answer(f"silence {number} ended", value, as_json=as_json)


app.command("outbox")(outbox.outbox)
app.command("test")(channel_test.test)
app.command("service-failed")(service_failed.service_failed)
