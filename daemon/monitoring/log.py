"""The log: JSON lines for machines, coloured lines for terminals; secrets are redacted."""

import contextlib
import io
import logging
import os
import sys
from typing import Any, TextIO

import structlog

from domain.redaction import redact

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4}
_HIDDEN = frozenset({"password", "token", "secret", "dsn", "conninfo", "authorization"})


def set_up(stream: TextIO | None = None, *, quiet: bool = False) -> None:
    """Configure structlog for a stream, or standard error.

    `quiet` limits a command's output to critical errors.
    """
    stream = stream or sys.stderr
    journal, lasting = _is_journal(stream), _Lasting(stream)
    renderer: Any = structlog.dev.ConsoleRenderer()
    if journal or not stream.isatty():
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            redact_event,
            *([_with_priority(renderer)] if journal else [renderer]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.CRITICAL if quiet else logging.INFO
        ),
        logger_factory=structlog.WriteLoggerFactory(lasting),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=lasting, format="%(levelname)s %(name)s %(message)s"
    )


class _Lasting(io.TextIOBase):
    """A stream whose reader may go away: a log that nobody reads ends no work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop the text if the stream is broken."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do nothing if the stream is broken."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _is_journal(stream: TextIO) -> bool:
    """Return whether a stream is connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _with_priority(renderer: Any) -> Any:  # noqa: ANN401 - structlog's own shape
    """Prefix each line with its priority, as sd-daemon(3) defines it."""

    def render(logger: object, method: str, event: Any) -> str:  # noqa: ANN401
        return f"<{_PRIORITIES.get(event.get('level'), 6)}>{renderer(logger, method, event)}"

    return render


def redact_event(_logger: object, _method: str, event: Any) -> Any:  # noqa: ANN401 - structlog's own shape
    """Redact every text of an event."""
    return _scrubbed(event)


def _scrubbed(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {
            key: "***" if str(key).lower() in _HIDDEN else _scrubbed(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_scrubbed(item) for item in value]
    return value
