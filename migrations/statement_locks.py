"""The locks and the kind of a statement, by its tree (manual, 13.3 Explicit Locking).

What a function or a trigger of the statement does is not in its tree: the rehearsal sees it.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypedDict

from google.protobuf.message import Message

from migrations.statement_effects import effect_of

ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"
SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
SHARE = "SHARE"
SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
ROW_EXCLUSIVE = "ROW EXCLUSIVE"
ACCESS_SHARE = "ACCESS SHARE"
STRENGTH = (
    ACCESS_SHARE,
    "ROW SHARE",
    ROW_EXCLUSIVE,
    SHARE_UPDATE_EXCLUSIVE,
    SHARE,
    SHARE_ROW_EXCLUSIVE,
    "EXCLUSIVE",
    ACCESS_EXCLUSIVE,
)
"""The lock modes of tables, the weakest first; the position is the server's number less one."""

Lock = tuple[str, str, str]
"""Schema (empty if none is written), table and mode."""


class Described(TypedDict, total=False):
    """What is known of a statement; nothing if its tree could not be had."""

    kind: str
    locks: list[Lock]
    outside: str
    """Why it cannot run in a transaction, in one word: create, drop, reindex, vacuum or detach."""
    names: list[list[str]]
    """The indexes of `outside`, as schema (may be empty) and name; the partition of a detach."""
    refused: str
    """Why no file may contain it."""
    drops: list[list[str]]
    """The tables that it drops, as schema (may be empty) and name."""
    effect: str
    """Its effect on applications, in one word."""


_Handler = Callable[[Any], Iterator[Lock]]


def describe_tree(tree: Any) -> Described:  # noqa: ANN401 - protobuf's generated classes
    """Return kind, locks and refusal of the statement of a tree."""
    kind = tree.WhichOneof("node")
    node = getattr(tree, kind)
    handler = _LOCKS.get(kind, _all_shared if kind == "select_stmt" else _named_exclusively)
    described = Described(kind=kind, locks=list(handler(node)))
    if why := _refused(kind, node):
        described["refused"] = why
    if dropped := _dropped(kind, node):
        described["drops"] = dropped
    if effect := effect_of(kind, node):
        described["effect"] = effect
    if found := _outside(kind, node):
        described["outside"], described["names"] = found
    return described


def _table(relation: Any, mode: str) -> Lock:  # noqa: ANN401
    return relation.schemaname, relation.relname, mode


def _relations(message: Message) -> Iterator[Any]:
    """Yield every table that a tree names."""
    if message.DESCRIPTOR.name == "RangeVar":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        repeated = not isinstance(value, Message)
        for one in value if repeated else (value,):
            yield from _relations(one)


def _named_exclusively(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    for relation in _relations(node):
        yield _table(relation, ACCESS_EXCLUSIVE)


def _all_shared(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    for relation in _relations(node):
        yield _table(relation, ACCESS_SHARE)


_WEAK_COMMANDS = {
    "AT_ValidateConstraint": SHARE_UPDATE_EXCLUSIVE,
    "AT_SetStatistics": SHARE_UPDATE_EXCLUSIVE,
    "AT_SetOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_ResetOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_ClusterOn": SHARE_UPDATE_EXCLUSIVE,
    "AT_SetRelOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_ResetRelOptions": SHARE_UPDATE_EXCLUSIVE,
    "AT_AttachPartition": SHARE_UPDATE_EXCLUSIVE,
    "AT_EnableTrig": SHARE_ROW_EXCLUSIVE,
    "AT_DisableTrig": SHARE_ROW_EXCLUSIVE,
}


def _alter_table(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    for one in node.cmds:
        command = one.alter_table_cmd
        subtype = _enum_name(command, "subtype")
        mode = _WEAK_COMMANDS.get(subtype, ACCESS_EXCLUSIVE)
        constraint = getattr(command, "def")
        if subtype == "AT_AddConstraint" and constraint.constraint.HasField("pktable"):
            mode = SHARE_ROW_EXCLUSIVE
        if subtype == "AT_DetachPartition" and _concurrent_detach(command):
            mode = SHARE_UPDATE_EXCLUSIVE
        yield _table(node.relation, mode)
        yield from _referenced(constraint)
        if subtype in {"AT_AttachPartition", "AT_DetachPartition"}:
            yield _table(constraint.partition_cmd.name, ACCESS_EXCLUSIVE)


def _referenced(node: Message) -> Iterator[Lock]:
    """Yield the tables that foreign keys of a tree refer to."""
    if node.DESCRIPTOR.name == "Constraint":
        if node.HasField("pktable"):
            yield _table(node.pktable, SHARE_ROW_EXCLUSIVE)
        return
    for field, value in node.ListFields():
        if field.message_type is None:
            continue
        for one in value if not isinstance(value, Message) else (value,):
            yield from _referenced(one)


def _create_table(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    yield from _referenced(node)
    for parent in node.inh_relations:
        mode = ACCESS_EXCLUSIVE if node.HasField("partbound") else SHARE_UPDATE_EXCLUSIVE
        yield _table(parent.range_var, mode)


def _index(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    yield _table(node.relation, SHARE_UPDATE_EXCLUSIVE if node.concurrent else SHARE)


def _trigger(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    yield _table(node.relation, SHARE_ROW_EXCLUSIVE)


_ON_TABLE = {"OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE", "OBJECT_TABCONSTRAINT"}
_TABLES = {"OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_FOREIGN_TABLE"}


def _drop(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    kind = _enum_name(node, "remove_type")
    for one in node.objects:
        parts = [item.string.sval for item in one.list.items]
        if kind in _ON_TABLE:
            parts = parts[:-1]
        if kind in _TABLES | _ON_TABLE and parts:
            yield (parts[-2] if len(parts) > 1 else "", parts[-1], ACCESS_EXCLUSIVE)


def _written(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    target = node.relation
    for relation in _relations(node):
        written = relation.relname == target.relname and relation.schemaname == target.schemaname
        yield _table(relation, ROW_EXCLUSIVE if written else ACCESS_SHARE)


def _lock(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    for one in node.relations:
        yield _table(one.range_var, STRENGTH[node.mode - 1])


def _weakly(node: Any) -> Iterator[Lock]:  # noqa: ANN401
    for relation in _relations(node):
        yield _table(relation, SHARE_UPDATE_EXCLUSIVE)


def _none(_node: Any) -> Iterator[Lock]:  # noqa: ANN401
    return iter(())


_LOCKS: dict[str, _Handler] = {
    "alter_table_stmt": _alter_table,
    "create_stmt": _create_table,
    "index_stmt": _index,
    "create_trig_stmt": _trigger,
    "drop_stmt": _drop,
    "insert_stmt": _written,
    "update_stmt": _written,
    "delete_stmt": _written,
    "merge_stmt": _written,
    "lock_stmt": _lock,
    "vacuum_stmt": _weakly,
    "create_stats_stmt": _weakly,
    "view_stmt": lambda node: _all_shared(node.query),
    "create_table_as_stmt": lambda node: _all_shared(node.query),
    "create_seq_stmt": _none,
    "create_function_stmt": _none,
    "alter_function_stmt": _none,
    "create_enum_stmt": _none,
    "create_domain_stmt": _none,
    "grant_stmt": _none,
    "comment_stmt": _none,
    "variable_set_stmt": _none,
    "transaction_stmt": _none,
}
"""How to tell the locks of a statement; of every other the named tables, exclusively."""


_Outside = tuple[str, list[list[str]]]


def _outside(kind: str, node: Any) -> _Outside | None:  # noqa: ANN401
    """Return why a statement cannot run in a transaction, and the objects that show its end."""
    if kind == "index_stmt" and node.concurrent:
        return "create", [[node.relation.schemaname, node.idxname]]
    if kind == "drop_stmt" and node.concurrent:
        return "drop", _object_names(node)
    if kind == "reindex_stmt" and _has_option(node.params, "concurrently"):
        return "reindex", []
    if kind == "vacuum_stmt" and node.is_vacuumcmd:
        return "vacuum", []
    return _detached(node) if kind == "alter_table_stmt" else None


def _detached(node: Any) -> _Outside | None:  # noqa: ANN401
    command = node.cmds[0].alter_table_cmd
    if _enum_name(command, "subtype") != "AT_DetachPartition" or not _concurrent_detach(command):
        return None
    partition = getattr(command, "def").partition_cmd.name
    return "detach", [[partition.schemaname, partition.relname]]


def _object_names(node: Any) -> list[list[str]]:  # noqa: ANN401
    """Return the objects of a DROP, as schema (empty if none is written) and name."""
    names = [[item.string.sval for item in one.list.items] for one in node.objects]
    return [["", *one][-2:] for one in names]


def _has_option(options: Any, name: str) -> bool:  # noqa: ANN401
    return any(one.def_elem.defname == name for one in options)


def _dropped(kind: str, node: Any) -> list[list[str]]:  # noqa: ANN401
    if kind != "drop_stmt" or _enum_name(node, "remove_type") != "OBJECT_TABLE":
        return []
    return _object_names(node)


def _concurrent_detach(command: Any) -> bool:  # noqa: ANN401
    return bool(getattr(command, "def").partition_cmd.concurrent)


_NEVER = {
    "transaction_stmt": "sereno begins and ends the transactions",
    "variable_show_stmt": "its answer goes nowhere",
    "prepare_stmt": "nothing of the session outlives the file",
    "execute_stmt": "nothing of the session outlives the file",
    "listen_stmt": "nothing of the session outlives the file",
    "discard_stmt": "it would change sereno's own session",
    "deallocate_stmt": "it would change sereno's own session",
    "declare_cursor_stmt": "nothing of the session outlives the file",
    "fetch_stmt": "its answer goes nowhere",
    "close_portal_stmt": "it would change sereno's own session",
    "createdb_stmt": "it is not part of this database",
    "dropdb_stmt": "it is not part of this database",
    "alter_system_stmt": "it is not part of this database",
    "create_table_space_stmt": "it is not part of this database",
    "drop_table_space_stmt": "it is not part of this database",
    "create_subscription_stmt": "it cannot run in a transaction, nor be continued",
    "drop_subscription_stmt": "it cannot run in a transaction, nor be continued",
    "cluster_stmt": "it locks the table for as long as it copies it",
}
_KEPT_SETTINGS = {
    "role",
    "session_authorization",
    "search_path",
    "lock_timeout",
    "statement_timeout",
    "row_security",
    "timezone",
    "client_encoding",
    "default_transaction_read_only",
    "transaction_read_only",
    "application_name",
}


def _refused(kind: str, node: Any) -> str:  # noqa: ANN401
    """Return why no file may contain a statement; empty if one may."""
    if kind == "variable_set_stmt":
        if node.name.lower() in _KEPT_SETTINGS or not node.is_local:
            return (
                f"SET {node.name.lower()}: sereno sets it; only SET LOCAL of other settings may be"
            )
        return ""
    if kind == "vacuum_stmt" and _has_option(node.options, "full"):
        return "VACUUM FULL locks the table for as long as it copies it"
    if kind == "copy_stmt":
        if not node.filename and not node.is_program:
            return "COPY … STDIN or STDOUT: a file has no data behind its statements"
        return "COPY with a file or program of the server"
    return _NEVER.get(kind, "")


def _enum_name(message: Any, field: str) -> str:  # noqa: ANN401
    number = getattr(message, field)
    kinds = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kinds.values_by_number[number].name)
