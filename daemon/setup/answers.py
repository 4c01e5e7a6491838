"""The answers that `sereno init` needs from a person, and their validation. Pure."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from alerts.channels.http import check_url

SLACK = "https://hooks.slack.com/"
SLACKS = (SLACK, "https://hooks.slack-gov.com/")
LAST_PORT = 65_535
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@<>\"(),:;\\\[\]]+")
_SEPARATORS = re.compile(r"[,\s]+")


@dataclass(frozen=True, slots=True)
class Receivers:
    """The places that alerts go to."""

    emails: Sequence[str] = ()
    slack: str = field(default="", repr=False)
    """URL of an incoming webhook of Slack; it is a secret."""
    webhook: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of a person, or the defaults."""

    databases: Sequence[str]
    receivers: Receivers
    smtp: str
    """Host of the mail server, or host:port."""
    timezone: str
    archive: str
    """An absolute folder."""


def parse_receivers(text: str) -> Receivers:
    """Parse mail addresses and URLs, separated by commas or spaces. Raises ValueError."""
    emails: list[str] = []
    urls = {"slack": "", "webhook": ""}
    for part in filter(None, _SEPARATORS.split(text.strip())):
        if _ADDRESS.fullmatch(part):
            emails.append(part)
            continue
        kind = "slack" if part.startswith(SLACKS) else "webhook"
        if not _is_url(part):
            raise ValueError(
                f"{part!r} is neither a mail address (guardia@example.org) nor a URL "
                f"({SLACK}… for Slack, else https://… for tickets)"
            )
        if urls[kind]:
            raise ValueError(f"give one URL for {kind}; more can be added to the configuration")
        urls[kind] = part
    return Receivers(emails, urls["slack"], urls["webhook"])


def parse_smtp(text: str) -> str:
    """Parse a mail server, as host or host:port. Raises ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = port, "25"
    number = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host) or not 0 < number <= LAST_PORT:
        raise ValueError(f"{text!r} is not a host or host:port, like smtp.example.org")
    return text.strip()


def parse_names(text: str, known: Sequence[str]) -> Sequence[str]:
    """Parse names of databases, separated by commas; `all` is all of them. Raises ValueError."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if not wanted:
        raise ValueError("name at least one database, or all")
    if wanted == ["all"] and "all" not in known:
        return list(known)
    for name in wanted:
        if name not in known:
            raise ValueError(f"there is no database {name!r}; there are: {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def parse_folder(text: str) -> str:
    """Parse the absolute folder of the archive. Raises ValueError."""
    folder = text.strip().removeprefix("file://")
    if not folder.startswith("/") or not folder.isprintable() or folder.rstrip("/") == "":
        raise ValueError(f"{text!r} is not an absolute folder, like /var/lib/sereno/archive")
    return folder.rstrip("/")


def is_local_mail(smtp: str) -> bool:
    """Return whether a mail server is on this machine, which needs no encryption."""
    host = smtp.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_url(text: str) -> bool:
    """Return whether a text is a URL to which a webhook may be sent: https, without a password."""
    try:
        check_url(text)
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.username is None and text.isprintable()
    except ValueError:
        return False
