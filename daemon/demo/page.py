"""The demo's result page: planted faults, work done, findings, and messages received."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.demo.received import Received

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2733; --soft: #667085; --line: #e3e7ee;
  --paper: #fff; --back: #f5f6f9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #98a2b3; --line: #2c3443; --paper: #171c26; --back: #0f131b; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--back); }
main { max-width: 1080px; margin: 0 auto; padding: 28px 18px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 34px 0 10px; }
p.lead { color: var(--soft); margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; }
.card b { display: block; font-size: 24px; line-height: 1.2; } .card span { color: var(--soft);
  font-size: 13px; }
.scroll { overflow-x: auto; background: var(--paper); border: 1px solid var(--line);
  border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 12.5px; }
th, td { padding: 8px 12px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; } td.number { text-align: right;
  font-variant-numeric: tabular-nums; }
td.name { overflow-wrap: anywhere; min-width: 9em; font-family: ui-monospace, monospace;
  font-size: 13px; }
@media (max-width: 640px) {
  th { display: none; } tr { display: block; padding: 8px 0; border-bottom: 1px solid var(--line); }
  td, td.number { display: block; border: 0; padding: 2px 12px; text-align: left; } }
a { color: inherit; }
.tag { display: inline-block; border-radius: 99px; padding: 1px 9px; font-size: 12px;
  font-weight: 600;
  white-space: nowrap; background: #e7ebf3; color: #344054; }
.critical { background: #fbd5d5; color: #8a0d1a; } .high { background: #fde2cc; color: #8f3b0d; }
.warning { background: #fdf0c4; color: #7a5200; } .info { background: #d9e9fb; color: #17497f; }
.finished, .done, .yes { background: #d7f2de; color: #14592b; }
  .failed, .no { background: #fbd5d5; color: #8a0d1a; }
"""


def page(night: Mapping[str, Any]) -> str:
    """Return the page for the values of `night`."""
    body = _lead(night) + _cards(night) + "".join(_tables(night))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<title>sereno: one night</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


def _cards(night: Mapping[str, Any]) -> str:
    steps = [step for run in night["runs"] for step in run["steps"]]
    cards = (
        (len(night["runs"]), "runs"),
        (sum(step["status"] == "done" for step in steps), "steps done"),
        (sum(step["rows"] for step in steps if step["name"] == "delete"), "expired rows deleted"),
        (sum(len(run["findings"]) for run in night["runs"]), "findings"),
        (len(night["messages"]), "messages received"),
    )
    drawn = "".join(
        f"<div class=card><b>{number:,}</b><span>{_text(what)}</span></div>"
        for number, what in cards
    )
    return f"<div class=cards>{drawn}</div>"


def _tables(night: Mapping[str, Any]) -> Iterator[str]:
    runs: Sequence[Mapping[str, Any]] = night["runs"]
    yield _table(
        "Planted faults",
        ("fault", "noticed", "how", "notified"),
        [_fault(row) for row in night["faults"]],
    )
    yield _table("Runs", ("run", "job", "place", "state", "reason"), [_run(run) for run in runs])
    done = [_step(run["job"], step) for run in runs for step in run["steps"]]
    yield _table("Steps", ("job", "step", "object", "status", "rows", "seconds"), done)
    found = [_finding(finding) for run in runs for finding in run["findings"]]
    yield _table("Findings", ("severity", "check", "object", "summary", "remedy"), found)
    messages = [_message(row, night["folder"]) for row in night["messages"]]
    yield _table(
        "Messages received by each channel",
        ("channel", "severity", "message", "id", "raw"),
        messages,
    )


def _lead(night: Mapping[str, Any]) -> str:
    lead = f"PostgreSQL {_text(night['version'])}, {night['seconds']:.1f} seconds in all."
    report = night["report"].relative_to(night["folder"])
    link = f'<a href="{html.escape(str(report))}">The health report, as sent by mail</a>'
    return f"<h1>One night and one week in a sample database</h1><p class=lead>{lead} {link}.</p>"


def _table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(rows) or f"<tr><td colspan={len(columns)}>none</td></tr>"
    return f"<h2>{_text(title)}</h2><div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _row(*cells: str) -> str:
    return (
        "<tr>"
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _fault(row: Mapping[str, Any]) -> str:
    return _row(
        _text(row["what"]),
        _tag("yes" if row["noticed"] else "no"),
        _text(row["how"]),
        _text(row["notified"]),
    )


def _run(run: Mapping[str, Any]) -> str:
    return _row(
        str(run["id"]),
        _text(run["job"]),
        _text(run["database"] or "host"),
        _tag(run["state"]),
        _text(run["reason"]),
    )


def _step(job: str, step: Mapping[str, Any]) -> str:
    return _row(
        _text(job), _text(step["name"]), _name(step["object"]), _tag(step["status"]),
        f"<td class=number>{step['rows']:,}</td>", f"<td class=number>{step['seconds']:.2f}</td>",
    )  # fmt: skip


def _finding(row: Mapping[str, Any]) -> str:
    return _row(
        _tag(row["severity"]),
        _text(row["kind"]),
        _name(row["object"]),
        _text(row["summary"]),
        _text(row["remedy"]),
    )


def _message(row: Received, folder: Path) -> str:
    link = f'<a href="{html.escape(str(row.file.relative_to(folder)))}">{_text(row.file.name)}</a>'
    return _row(
        _text(row.channel),
        _tag(row.severity),
        _text(row.title),
        _name(row.id.strip("<>").partition("@")[0][:8]),
        link,
    )


def _name(text: str) -> str:
    return f"<td class=name>{_text(text)}</td>"


def _tag(word: str) -> str:
    return f'<span class="tag {html.escape(word)}">{_text(word)}</span>'


def _text(value: object) -> str:
    return html.escape(str(value))
