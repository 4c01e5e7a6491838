"""The log: one JSON object a line where a machine reads it, coloured lines where a person does. Secrets never."""

import logging
import os
import sys
from typing import Any, TextIO

import structlog

from alerts.scrub import scrub

_HIDDEN = frozenset({"password", "token", "secret", "dsn", "conninfo", "authorization"})


def set_up(stream: TextIO = sys.stderr, *, quiet: bool = False) -> None:
    """Configure structlog once; `quiet` keeps a command's screen to errors."""
    service = "JOURNAL_STREAM" in os.environ or not stream.isatty()
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if service else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL if quiet else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(levelname)s %(name)s %(message)s")


def redact(_logger: object, _method: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own shape
    """Scrub every text of an event, however deep."""
    return _scrubbed(event)


def _scrubbed(value: object) -> object:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: "***" if str(key).lower() in _HIDDEN else _scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
