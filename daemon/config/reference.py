"""Generates the reference configuration: every option, its default, its description."""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from alerts.channels.registry import CHANNELS
from checks.registry import PAIRED, load
from daemon.config import alerting, jobs, model
from domain.units import format_duration
from postgres.identifiers import Columns, Relation

_EXAMPLES: dict[str, dict[str, str]] = {
    "databases.main": {
        "dsn": '"host=/run/postgresql dbname=coop"',
        "maintain": '{ user = "sereno_maintain", password = { credential = "maintain" } }',
        "data": '{ user = "sereno_data", password = { credential = "data" } }',
    },
    "schedules.daily": {
        "cron": '"0 2 * * *"',
        "jobs": '["log_cleanup", "analyze", "disk_check", "integrity_check", "self_cleanup"]',
    },
    "schedules.weekly": {
        "cron": '"0 3 * * sun"',
        "window": '"4h"',
        "jobs": '["archive", "vacuum", "health_report"]',
    },
    "jobs.analyze.schedule": {"cron": '"*/30 * * * *"', "window": '"30m"'},
    "[jobs.log_cleanup.tables]": {
        "table": "'public.\"AuditLog\"'",
        "column": '"fecha"',
        "keep": '"400 days"',
    },
    "[jobs.archive.tables]": {
        "table": "'public.\"Evento\"'",
        "column": '"fecha"',
        "older_than": '"365 days"',
        "to": '"file:///var/lib/sereno/archive"',
    },
    "[jobs.analyze.tables]": {"table": "'public.log_*'"},
    "[jobs.vacuum.tables]": {"table": "'public.\"Asiento\"'"},
    "[jobs.log_cleanup.files]": {"path": '"/var/log/coop/*.log*"', "keep": '"30 days"'},
    "routes": {
        "info": '["slack"]',
        "warning": '["slack"]',
        "high": '["slack", "email", "webhook"]',
        "critical": '["slack", "email", "webhook"]',
    },
}
_PAIR_EXAMPLES = {
    "orphans": ('\'public."Pago"("factura_id")\'', '\'public."Factura"("id")\''),
    "same_tenant": (
        '\'public."Usuario"("persona_id", "cooperativa_id")\'',
        '\'public."Persona"("id", "cooperativa_id")\'',
    ),
}


def reference() -> str:
    """Return the file. Lines without `#` are examples or have no default."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# sereno: every option with its default. Made by `sereno config reference`."
    yield '# Durations: "500ms", "90s", "15m", "2h", "30 days". Identifiers are written as in SQL, quotes and all.'
    yield "# Secrets: { file = … }, { env = … } or { credential = … } (systemd LoadCredential=)."
    yield from _section("daemon", model.Daemon)
    yield from _section("databases.main", model.Database)
    yield from _section("schedules.daily", model.Schedule)
    yield from _section("schedules.weekly", model.Schedule)
    yield from _section("governor", model.GovernorLimits)
    for name, job_options in jobs.MODELS.items():
        yield from _nested(f"jobs.{name}", job_options)
    yield from _checks()
    for kind, (options, _) in CHANNELS.items():
        yield from _section(f"channels.{kind}", options)
    yield from _section("routes", model.Routes)
    yield from _section("repeat", model.Repeat)
    yield from _nested("alerts", alerting.Alerting)
    yield from _nested("escalation", alerting.Escalation)
    yield from _section("heartbeat", model.Heartbeat)


def _nested(name: str, model: type[BaseModel]) -> Iterator[str]:
    """Yield a section and those below it; a schedule is shown for one job only."""
    below = {
        key: found for key, one in model.model_fields.items() if (found := _model(one.annotation))
    }
    yield from _section(name, model, skip=below.keys())
    for key, (kind, listed) in below.items():
        path = f"{name}.{key}"
        if key != "schedule" or path in _EXAMPLES:
            yield from _section(f"[{path}]" if listed else path, kind)


def _model(annotation: Any) -> tuple[type[BaseModel], bool] | None:  # noqa: ANN401 - a type, or what typing makes of one
    """Return the model of a field, and whether the field is a list of it."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind, get_origin(annotation) is tuple
    return None


def _section(path: str, kind: type[BaseModel], skip: Collection[str] = ()) -> Iterator[str]:
    yield ""
    yield f"# {' '.join((kind.__doc__ or '').split())}"
    yield f"[{path}]"
    examples = _EXAMPLES.get(path, {})
    for name, field in kind.model_fields.items():
        if name in skip:
            continue
        if field.description:
            yield f"# {field.description}"
        default = field.get_default(call_default_factory=False)
        example = examples.get(name) or next(iter(field.examples or ()), None) or _only(field)
        if example is not None:
            yield f"{name} = {example}"
        elif default is None or default is PydanticUndefined:
            yield f"# {name} ="
        else:
            yield f"# {name} = {_toml(default)}"


def _only(field: FieldInfo) -> str | None:
    """Return the only value that a required field accepts, such as a channel's type."""
    allowed = get_args(field.annotation) if field.is_required() else ()
    return _toml(allowed[0]) if len(allowed) == 1 and isinstance(allowed[0], str) else None


def _checks() -> Iterator[str]:
    for name, check in sorted(load().items()):
        yield ""
        yield f"# {check.header.title}."
        if name in PAIRED:
            child, parent = _PAIR_EXAMPLES[name]
            yield f"[[checks.{name}]]"
            yield f"child = {child}"
            yield f"parent = {parent}"
            continue
        yield f"[checks.{name}]"
        for option, declared in check.header.options.items():
            if declared.help:
                yield f"# {declared.help}"
            yield f"# {option} = {_toml(declared.default)}"


def _toml(value: Any) -> str:  # noqa: ANN401 - whatever a default may be
    if isinstance(value, timedelta):
        return json.dumps(format_duration(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path | Relation | Columns):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return str(value)
