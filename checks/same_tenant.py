"""The check `same_tenant`: rows tied to a row of another tenant; the last column is the tenant."""

from checks.check import Header
from checks.pair_check import pair_check
from checks.references import crossed_rows
from domain.finding import Severity

CHECK = pair_check(
    Header(
        name="same_tenant",
        title="Rows are tied across tenants: one tenant may see another's data",
        remedy="find out which side is right, correct {child}, and find out who has read it since",
        es={
            "title": "Hay filas ligadas entre inquilinos: uno puede ver datos de otro",
            "summary": "{rows} filas de {child} ligadas a la fila de otro inquilino en {parent}",
            "remedy": "averiguar qué lado es el correcto, corregir {child} y averiguar quién la "
            "leyó",
        },
        source="the configured pairs [[checks.same_tenant]]",
        reads="rows",
        cost="scan",
    ),
    crossed_rows,
    Severity.CRITICAL,
    "{rows} of {child} tied to another tenant's row in {parent}",
)
