"""`sereno history`: the recorded runs, or one run with its steps and findings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import LARGEST, ConfigOption, JsonOption, fail, print_json
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from store.store import Row


def history(
    run: Annotated[
        int | None,
        typer.Argument(
            min=1, max=LARGEST, metavar="RUN", help="A run to show in full.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=LARGEST, metavar="N", help="Number of runs.")
    ] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show recorded runs and how they ended."""
    from daemon.cli.overview import open_overview
    from daemon.history import history as stored

    with open_overview(config) as overview:
        if run is None:
            with overview.store.reading() as transaction:
                runs = stored.load_runs(transaction, limit)
            print_json(runs) if as_json else _show_runs(runs, overview.zone)
            return
        with overview.store.reading() as transaction:
            found = stored.load_run(transaction, run)
            steps = stored.load_steps(transaction, run)
            findings = stored.load_findings(transaction, run)
        if found is None:
            fail(f"there is no run {run}", Exit.CANNOT)
        if as_json:
            print_json({**found, "steps": steps, "findings": findings})
        else:
            _show_run(found, steps, findings, overview.zone)


def _show_runs(runs: "Sequence[Row]", zone: str) -> None:
    from daemon.cli.output import columns, line, local_minute, prose, zone_name

    rows = [
        (
            run["id"],
            local_minute(run["started_at"], zone),
            run["job"],
            run["database"] or run["scope"],
            run["state"],
        )
        for run in runs
    ]
    for text, run in zip(columns(rows, frozenset({0})), runs, strict=True):
        line(text)
        if run["reason"]:
            prose(run["reason"], indent=6)
    line(f"(times: {zone_name(zone)})  One run: sereno history RUN" if runs else "no run yet")


def _show_run(run: "Row", steps: "Sequence[Row]", findings: "Sequence[Row]", zone: str) -> None:
    from daemon.cli.finding_lines import print_findings
    from daemon.cli.output import line, local_minute, prose, zone_name

    started = local_minute(run["started_at"], zone)
    finished = local_minute(run["finished_at"], zone) or "not finished"
    by = "by hand"
    if run["schedule"]:
        by = f"schedule {run['schedule']} of {run['nominal']}"
    place = run["database"] or run["scope"]
    line(f"run {run['id']}: {run['job']} in {place}, {by}   {run['state']}")
    line(f"{started} to {finished} (times: {zone_name(zone)})", indent=2)
    if run["reason"]:
        prose(run["reason"], indent=2)
    print_steps(steps)
    print_findings(findings)


def print_steps(steps: "Sequence[Row]", place: str = "") -> None:
    """Print one line per step: status, name, object, rows, duration, reason."""
    from daemon.cli.output import columns, line, prose
    from domain.units import format_seconds

    rows = [
        (
            step["status"],
            f"{place} {step['name']}".strip(),
            step["object"],
            f"{step['rows']:,}" if step["rows"] else "",
            format_seconds(step["seconds"]),
        )
        for step in steps
    ]
    for text, step in zip(columns(rows, frozenset({3, 4})), steps, strict=True):
        line(text, indent=2)
        reason = step["reason"]
        if step["paused_by"]:
            reason += f" (paused {step['paused_seconds']:.1f} s: {step['paused_by']})"
        if reason:
            prose(reason.strip(), indent=6)
