"""The check `orphans`: rows whose parent is missing, where no foreign key is declared."""

from checks.check import Header
from checks.pair_check import pair_check
from checks.references import unmatched_rows
from domain.finding import Severity

CHECK = pair_check(
    Header(
        name="orphans",
        title="Rows refer to rows that do not exist",
        remedy="restore the missing rows of {parent}, or remove these; then declare the foreign "
        "key",
        es={
            "title": "Hay filas que apuntan a filas que no existen",
            "summary": "{rows} filas de {child} sin su fila en {parent}",
            "remedy": "restaurar las filas que faltan de {parent}, o quitar estas; después "
            "declarar la clave foránea",
        },
        source="the configured pairs [[checks.orphans]]",
        reads="rows",
        cost="scan",
    ),
    unmatched_rows,
    Severity.HIGH,
    "{rows} of {child} without their row in {parent}",
)
