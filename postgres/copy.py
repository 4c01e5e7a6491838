"""COPY ... TO STDOUT as a stream of pieces, read by libpq itself.

psycopg's own reader runs its event loop once per row, which doubles the total time.
"""

import contextlib
import selectors
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

CANCEL_SECONDS = 5.0

PIECE_BYTES = 256 * 1024

Write = Callable[[bytes], object]


def copy_out(connection: psycopg.Connection[Any], statement: bytes, write: Write) -> int:
    """Pass the rows to `write` in pieces of whole rows; return their number.

    An exception of `write` ends the COPY. Raises psycopg.Error like any statement.
    """
    with connection.lock, selectors.DefaultSelector() as selector:
        pgconn = connection.pgconn
        selector.register(pgconn.socket, selectors.EVENT_READ)
        pgconn.send_query(statement)
        begun = _result(pgconn, selector)
        if begun is None or begun.status != ExecStatus.COPY_OUT:
            raise _failed(pgconn, selector, begun)
        try:
            _pump(pgconn, selector, write)
        except psycopg.Error:
            raise
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_SECONDS)
                _pump(pgconn, selector, lambda _: None)
                _drain(pgconn, selector)
            raise
        ended = _result(pgconn, selector)
        if ended is None or ended.status != ExecStatus.COMMAND_OK:
            raise _failed(pgconn, selector, ended)
        _drain(pgconn, selector)
        return ended.command_tuples or 0


def _pump(pgconn: PGconn, selector: selectors.BaseSelector, write: Write) -> None:
    """Collect rows into pieces; the loop runs once per row and determines the speed."""
    receive, pending, gathered = pgconn.get_copy_data, [], 0
    while True:
        size, data = receive(1)
        if size > 0:
            pending.append(data)
            gathered += size
            if gathered < PIECE_BYTES:
                continue
        elif size == 0:
            _wait(pgconn, selector)
            continue
        if pending:
            write(b"".join(pending))
            pending, gathered = [], 0
        if size < 0:
            return


def _result(pgconn: PGconn, selector: selectors.BaseSelector) -> PGresult | None:
    pgconn.flush()
    while pgconn.is_busy():
        _wait(pgconn, selector)
    return pgconn.get_result()


def _drain(pgconn: PGconn, selector: selectors.BaseSelector) -> None:
    while _result(pgconn, selector) is not None:
        pass


def _failed(
    pgconn: PGconn, selector: selectors.BaseSelector, result: PGresult | None
) -> psycopg.Error:
    _drain(pgconn, selector)
    if result is not None:
        return error_from_result(result)
    return psycopg.OperationalError("the server gave no reason")


def _wait(pgconn: PGconn, selector: selectors.BaseSelector) -> None:
    pgconn.flush()
    selector.select()
    pgconn.consume_input()
