"""Reads the messages that the sinks received."""

import email
import email.policy
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it arrived."""

    channel: str
    file: Path
    id: str
    severity: str
    title: str
    text: str
    reason: str = ""


def received(folder: Path) -> list[Received]:
    """Return every message by channel, in the order of arrival."""
    return [*_mails(folder / "email"), *_slack(folder / "slack"), *_tickets(folder / "ticket")]


def _mails(folder: Path) -> Iterator[Received]:
    for file in sorted(folder.glob("*.eml")):
        mail = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
        plain = mail.get_body(("plain",))
        yield Received(
            "email",
            file,
            str(mail["Message-ID"]),
            str(mail["X-Sereno-Severity"]),
            str(mail["Subject"]).strip(),
            plain.get_content() if plain else "",
            str(mail["X-Sereno-Reason"]),
        )


def _slack(folder: Path) -> Iterator[Received]:
    for file in sorted(folder.glob("*.http")):
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        if b"application/json" in head.lower():
            values = json.loads(body)
        else:
            values = {name: value[0] for name, value in parse_qs(body.decode()).items()}
        metadata = values.get("metadata", "{}")
        payload = (json.loads(metadata) if isinstance(metadata, str) else metadata).get(
            "event_payload", {}
        )
        text = str(values.get("text", ""))
        severity = next(
            (word for word in ("critical", "high", "warning", "info") if word in text[:20]), ""
        )
        title = text.partition(severity or "resolved")[2].strip()
        reason = ""
        if "resolved" in text[:20]:
            reason = "resolved"
        yield Received(
            "slack",
            file,
            str(payload.get("id", "")),
            severity,
            html.unescape(": ".join(title.split(": ")[:2])),
            html.unescape("\n".join([text, *_shown(values.get("blocks", "[]"))])),
            reason,
        )


def _shown(blocks: str | list[dict[str, Any]]) -> Iterator[str]:
    """Yield the text of a message's blocks."""
    for block in json.loads(blocks) if isinstance(blocks, str) else blocks:
        if "text" in block:
            yield str(block["text"]["text"])


def _tickets(folder: Path) -> Iterator[Received]:
    for file in sorted(folder.glob("*.http")):
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        identity = next(
            (
                line.partition(b":")[2].strip()
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"webhook-id:")
            ),
            b"",
        )
        data = json.loads(body)["data"]
        yield Received(
            "ticket",
            file,
            identity.decode(),
            data["severity"].lower(),
            f"{data['kind']}: {data['object']}",
            data["message"],
            data["reason"],
        )
