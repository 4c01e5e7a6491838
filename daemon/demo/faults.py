"""The planted faults; each is made for real and may be left out."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from daemon.demo.names import NAMES

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: the function that plants it, and the finding or job that reveals it."""

    what: str
    plant: Callable[[Connection], object]
    kind: str
    """The check that finds it, or the job that cures it."""
    object: str
    cured: bool = False


def _orphaned_payments(connection: Connection) -> None:
    connection.execute('UPDATE public."Pago" SET factura_id = 900000 + id WHERE id % 2000 = 7')


def _foreign_tenant_user(connection: Connection) -> None:
    connection.execute(
        """
        UPDATE public."Usuario" SET persona_id = (
          SELECT p.id FROM public."Persona" p
            WHERE p.cooperativa_id <> "Usuario".cooperativa_id ORDER BY p.id LIMIT 1)
        WHERE email = 'usuario42@example.org'
        """
    )


def _invalid_index(connection: Connection) -> None:
    """Build a unique index over duplicates concurrently, which fails and leaves it invalid."""
    connection.execute(
        """
        UPDATE public."Persona" SET documento = (SELECT min(documento) FROM public."Persona")
        WHERE nombre = 'Persona 77'
        """
    )
    try:
        connection.execute(
            'CREATE UNIQUE INDEX CONCURRENTLY "Persona_documento_key" ON public."Persona" '
            "(documento)"
        )
    except errors.UniqueViolation:
        # The duplicate is corrected, the invalid index remains: it can be rebuilt.
        connection.execute(
            """
            UPDATE public."Persona" SET documento = 'corregido' WHERE nombre = 'Persona 77'
            """
        )


def _violated_constraint(connection: Connection) -> None:
    connection.execute('UPDATE public."Factura" SET monto = -monto WHERE id IN (11, 222, 3333)')
    connection.execute(
        'ALTER TABLE public."Factura" ADD CONSTRAINT "Factura_monto_positivo" CHECK (monto > '
        "0) NOT VALID"
    )


def _sequence(connection: Connection) -> None:
    connection.execute("""SELECT setval('public."Pago_id_seq"', (2147483647 * 0.92)::bigint)""")


def _unanalyzed_parent(_connection: Connection) -> None:
    """Do nothing: autovacuum never analyzes a partitioned parent."""


def _expired_rows(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO public."AuditLog" (usuario_id, accion, detalle, fecha)
        SELECT NULL, 'antiguo', jsonb_build_object('n', n),
          now() - interval '401 days' - n * interval '1 minute'
        FROM generate_series(1, 25000) n
        """
    )
    connection.execute('ANALYZE public."AuditLog"')


def _dead_rows(connection: Connection) -> None:
    """Delete an import again, on a table with autovacuum switched off."""
    connection.execute('ALTER TABLE public."Pago" SET (autovacuum_enabled = off)')
    connection.execute(
        """
        INSERT INTO public."Pago" (id, factura_id, monto, fecha)
        SELECT 1000000 + n, 1 + n % 15000, 1, current_date FROM generate_series(1, 120000) n
        """
    )
    connection.execute('DELETE FROM public."Pago" WHERE id > 1000000 AND id <= 1120000')


def _duplicate_index(connection: Connection) -> None:
    for name in ("AuditLog_usuario_fecha_idx", "AuditLog_usuario_fecha_idx1"):
        index = sql.SQL('CREATE INDEX {} ON public."AuditLog" (usuario_id, fecha)').format(
            sql.Identifier(name)
        )
        connection.execute(index)


_FAULTS = (
    Fault(
        "7 payments for invoices that do not exist",
        _orphaned_payments,
        "orphans",
        'public."Pago"(factura_id) -> public."Factura"(id)',
    ),
    Fault(
        "a user whose persona belongs to another cooperative",
        _foreign_tenant_user,
        "same_tenant",
        'public."Usuario"(persona_id, cooperativa_id) -> public."Persona"(id, cooperativa_id)',
    ),
    Fault(
        "an invalid index from a failed build",
        _invalid_index,
        "invalid_index",
        'public."Persona_documento_key"',
    ),
    Fault(
        "3 invoices that violate a NOT VALID constraint",
        _violated_constraint,
        "not_valid_constraint",
        'public."Factura"."Factura_monto_positivo"',
    ),
    Fault(
        "a sequence at 92 % of its type", _sequence, "sequence_exhaustion", 'public."Pago_id_seq"'
    ),
    Fault(
        "a partitioned table that was never analyzed",
        _unanalyzed_parent,
        "analyze",
        'public."Evento"',
        cured=True,
    ),
    Fault(
        "25,000 expired audit rows", _expired_rows, "log_cleanup", 'public."AuditLog"', cured=True
    ),
    Fault("a table full of dead rows", _dead_rows, "dead_tuples", 'public."Pago"'),
    Fault(
        "an index that duplicates another one",
        _duplicate_index,
        "duplicate_index",
        'public."AuditLog_usuario_fecha_idx1"',
    ),
)

FAULTS: dict[str, Fault] = dict(zip(NAMES, _FAULTS, strict=True))


def plant(connection: Connection, without: Collection[str]) -> None:
    """Plant all faults except those left out, through the application's connection."""
    if "unanalyzed_parent" in without:
        connection.execute('ANALYZE public."Evento"')
    for name, fault in FAULTS.items():
        if name not in without:
            fault.plant(connection)
