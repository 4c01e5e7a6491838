"""The effect of a statement that an application may feel, by its tree."""

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
_COLUMNS = {"AT_DropColumn": REMOVES, "AT_AlterColumnType": RETYPES}


def effect_of(kind: str, node: Any) -> str:  # noqa: ANN401 - protobuf's generated classes
    """Return removes, renames, retypes, rows (changes existing ones), or nothing."""
    if kind == "drop_stmt":
        return REMOVES if _object_kind(node, "remove_type") in _FELT else ""
    if kind == "rename_stmt":
        return RENAMES if _object_kind(node, "rename_type") in _FELT else ""
    if kind == "alter_table_stmt":
        found = [
            _COLUMNS.get(_object_kind(one.alter_table_cmd, "subtype"), "") for one in node.cmds
        ]
        return REMOVES if REMOVES in found else next(filter(None, found), "")
    if kind == "insert_stmt":
        return ROWS if node.select_stmt.select_stmt.from_clause else ""
    return {"truncate_stmt": REMOVES}.get(kind) or (
        ROWS if kind in {"update_stmt", "delete_stmt", "merge_stmt"} else ""
    )


def _object_kind(message: Any, field: str) -> str:  # noqa: ANN401
    number = getattr(message, field)
    kinds = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kinds.values_by_number[number].name)
