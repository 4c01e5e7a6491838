"""The effect of a statement that an application may feel, by its tree."""

from collections.abc import Callable
from typing import Any

REMOVES, RENAMES, RETYPES, ROWS = "removes", "renames", "retypes", "rows"

_FELT = frozenset(
    {
        *("OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_TYPE", "OBJECT_DOMAIN"),
        *("OBJECT_SCHEMA", "OBJECT_SEQUENCE", "OBJECT_FUNCTION", "OBJECT_PROCEDURE"),
        *("OBJECT_COLUMN", "OBJECT_FOREIGN_TABLE", "OBJECT_ATTRIBUTE"),
    }
)
"""The objects that statements of an application name."""
_COLUMNS = {
    "AT_DropColumn": REMOVES,
    "AT_AlterColumnType": RETYPES,
    "AT_DetachPartition": REMOVES,
}


def effect_of(kind: str, node: Any) -> str:  # noqa: ANN401 - protobuf's generated classes
    """Return removes, renames, retypes, rows (changes existing ones), or nothing."""
    found = _EFFECTS.get(kind, "")
    return found if isinstance(found, str) else found(node)


def _dropped(node: Any) -> str:  # noqa: ANN401
    return REMOVES if _object_kind(node, "remove_type") in _FELT else ""


def _renamed(node: Any) -> str:  # noqa: ANN401
    return RENAMES if _object_kind(node, "rename_type") in _FELT else ""


def _altered(node: Any) -> str:  # noqa: ANN401
    found = [_COLUMNS.get(_object_kind(one.alter_table_cmd, "subtype"), "") for one in node.cmds]
    return REMOVES if REMOVES in found else next(filter(None, found), "")


_EFFECTS: dict[str, str | Callable[[Any], str]] = {
    "drop_stmt": _dropped,
    "rename_stmt": _renamed,
    "alter_table_stmt": _altered,
    "alter_object_schema_stmt": RENAMES,
    "alter_enum_stmt": lambda node: RENAMES if node.old_val else "",
    "insert_stmt": lambda node: ROWS if node.select_stmt.select_stmt.from_clause else "",
    "truncate_stmt": REMOVES,
    "update_stmt": ROWS,
    "delete_stmt": ROWS,
    "merge_stmt": ROWS,
}


def _object_kind(message: Any, field: str) -> str:  # noqa: ANN401
    number = getattr(message, field)
    kinds = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kinds.values_by_number[number].name)
