"""The child process that reads SQL with the server's grammar (postgast).

It reads a request from standard input and writes one JSON line per text or statement. Its parser
can crash the process: a tree of 60,000 nested operators exhausts the stack.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import postgast
from google.protobuf.message import DecodeError, Message

from migrations.statement_locks import Described, describe_tree

_COMMENTS = {"SQL_COMMENT", "C_COMMENT"}


def main() -> None:
    """Answer one request: `["split", texts]` or `["describe", statements]`."""
    task, texts = json.load(sys.stdin)
    answer = _split if task == "split" else _described
    for text in texts:
        sys.stdout.write(json.dumps(answer(text)) + "\n")
        sys.stdout.flush()


def _split(text: str) -> dict[str, Any]:
    """Return the statements of a text, each with its position, and the hash of its tokens."""
    try:
        parts = postgast.split(text)
        tokens = hashlib.sha256("\0".join(_tokens(text)).encode()).hexdigest()
    except postgast.PgQueryError as error:
        before = text.encode()[: max(0, error.cursorpos - 1)].decode(errors="ignore")
        return {"error": error.message, "at": len(before)}
    return {"statements": list(_placed(text, parts)), "tokens": tokens}


def _placed(text: str, parts: Sequence[str]) -> Iterator[tuple[int, str]]:
    end = 0
    for part in parts:
        start = text.index(part, end)
        end = start + len(part)
        yield start, part


def _tokens(text: str) -> Iterator[str]:
    """Yield the tokens without comments, as they are written."""
    raw = text.encode()
    scanned: Message = postgast.scan(text)
    kinds = scanned.DESCRIPTOR.fields_by_name["tokens"].message_type.fields_by_name["token"]
    names = kinds.enum_type.values_by_number
    for token in scanned.tokens:
        if names[token.token].name not in _COMMENTS:
            yield raw[token.start : token.end].decode()


def _described(statement: str) -> Described:
    try:
        tree = postgast.parse(statement).stmts[0].stmt
    except (postgast.PgQueryError, DecodeError, IndexError):
        return Described()
    return describe_tree(tree)


if __name__ == "__main__":
    main()
